"""What the tests of training share: pairs, and the arguments of the trainer."""

import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.training import openrlhf
from tasks.training.arguments import dpo_arguments
from tasks.training.job import Prepared, TrainingJob, Workdir

SCRIPTS = Path(openrlhf.__file__).parent
PREPARED = Prepared(kept=16, evaluation=0, too_long=[], longest_tokens=90, template_ok=True, end_of_turn="<|im_end|>")


def write_pairs(path: Path, answers: dict[str, tuple[str, str]]) -> Path:
    """A preferences file: pair_id to chosen and rejected text."""
    message = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    schema = pa.schema([("pair_id", pa.string()), *((name, message) for name in ("prompt", "chosen", "rejected"))])
    rows = [
        {
            "pair_id": pair_id,
            "prompt": [{"role": "user", "content": f"What is {pair_id}?"}],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
        }
        for pair_id, (chosen, rejected) in answers.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def stated(job: TrainingJob, prepared: Prepared = PREPARED, resume: bool = False) -> dict[str, list[str]]:
    """The argument list as a mapping from option to its values."""
    found: dict[str, list[str]] = {}
    for text in dpo_arguments(job, prepared, Workdir(job.workdir), resume):
        if text.startswith("--"):
            found[text[2:]] = []
        else:
            found[list(found)[-1]].append(text)
    return found


def in_runtime(python: Path, *arguments: str | Path) -> None:
    """Run a script in the runtime environment, offline; it must end well."""
    env = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    command = [str(python), *map(str, arguments)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
