"""Seconds an optimizer step of the project's training, against the same OpenRLHF run by hand, and against TRL.

    python -m benchmarks.trainer [--pairs 20] [--trl PYTHON]

The same model and pairs (made-up conversations), batches and settings, one after the other. `by hand` is OpenRLHF's
`train_dpo` with its own dataset; on a machine without CUDA it gets the patches without which it does not start there.
TRL's DPOTrainer is measured where `--trl` names an interpreter that has it. On the runtime environment's packages:

    python3.11 -m venv trl && trl/bin/pip install --no-deps trl
    echo "$PWD/.venv-runtime/lib/python3.11/site-packages" > trl/lib/python3.11/site-packages/runtime.pth

The first step, which warms up, is not counted. OpenRLHF keeps 32-bit master weights, TRL trains the weights as loaded.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import frame
from benchmarks.frame import ROOT, Figure
from schemas.tables import MESSAGES
from tasks.engine.fake.words import LEXICON
from tasks.runtime import runtime_device, runtime_python
from tasks.runtime.default_model import default_model
from tasks.training import openrlhf
from tasks.training.arguments import dpo_arguments
from tasks.training.job import TrainingJob, Workdir, claim, read_rows
from tasks.training.launcher import environment

HERE = Path(__file__).parent / "trainers"
SCHEMA = pa.schema([("pair_id", pa.string()), *((name, MESSAGES) for name in ("prompt", "chosen", "rejected"))])


def pairs(count: int, prompt_words: int = 40, answer_words: int = 120) -> list[dict[str, Any]]:
    """Conversations of English-looking words, the same for the same numbers."""
    draw = random.Random(0)

    def said(role: str, length: int) -> list[dict[str, str]]:
        return [{"role": role, "content": " ".join(draw.choice(LEXICON) for _ in range(length)) + "."}]

    return [
        {"pair_id": f"{n:06d}", "prompt": said("user", prompt_words), "chosen": said("assistant", answer_words),
         "rejected": said("assistant", answer_words)} for n in range(count)
    ]  # fmt: skip


def a_step(times: Sequence[float]) -> float:
    """Seconds a step, out of the times at which steps ended; the first is the start."""
    return (times[-1] - times[0]) / (len(times) - 1)


def by_project(job: TrainingJob, paths: Workdir) -> tuple[float, list[str]]:
    """Seconds a step as the project trains, and OpenRLHF's arguments."""
    prepared = openrlhf._prepare(job, paths)
    openrlhf._launch(job, prepared, paths, lambda: None)
    return a_step([row["seconds"] for row in read_rows(paths.metrics)]), dpo_arguments(job, prepared, paths, False)


def by_hand(job: TrainingJob, folder: Path, rows: list[dict[str, Any]], arguments: list[str]) -> float:
    """Seconds a step of OpenRLHF by itself, with its own reading of the pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = {"--data.dataset": data, "--ckpt.output_dir": folder / "out", "--ckpt.path": folder / "ckpt",
           "--logger.tensorboard_dir": folder / "events"}  # fmt: skip
    given = [str(own.get(before, word)) for before, word in zip(["", *arguments], arguments, strict=False)]
    given += ["--data.apply_chat_template"]
    given += [f"--data.{name}_key={name}" for name in ("prompt", "chosen", "rejected")]
    script(job.python, "by_hand.py", job, folder, given)
    return a_step(json.loads(script(job.python, "event_times.py", job, folder, [str(folder / "events")])))


def by_trl(python: Path, job: TrainingJob, folder: Path) -> float:
    """Seconds a step of TRL's DPOTrainer."""
    settings = {
        "model": str(job.model), "pairs": str(job.preferences), "out": str(folder / "out"), "beta": job.beta,
        "rate": job.learning_rate, "batch": job.batch_size, "micro": job.micro_batch_size, "tokens": job.max_tokens,
        "seed": job.seed, "device": job.device,
    }  # fmt: skip
    return a_step(json.loads(script(python, "trl_dpo.py", job, folder, [json.dumps(settings)])))


def script(python: Path, name: str, job: TrainingJob, folder: Path, arguments: Sequence[str]) -> str:
    """The last line that one of the scripts beside this file prints, run as the project runs its trainer.

    Raises:
        RuntimeError: it failed; with its last words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    env = environment(job, Workdir(folder))
    command = [str(python), str(HERE / name), *arguments]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr[-3000:]}")
    return done.stdout.strip().rpartition("\n")[2]


def measure(given: argparse.Namespace) -> list[Figure]:
    """All trainers, one after the other."""
    found: dict[str, float] = {}
    rows = pairs(given.pairs)
    with tempfile.TemporaryDirectory(prefix="pop-bench-") as temporary:
        folder = Path(temporary)
        file = folder / "pairs.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), file)
        job = TrainingJob(
            runtime_python(), given.model or default_model(frame.note), file, folder / "work", runtime_device(),
            beta=0.05, learning_rate=5e-5, batch_size=given.batch, micro_batch_size=given.micro, max_tokens=512,
            zero_stage=1, eval_share=0.0,
        )  # fmt: skip
        found["project"], arguments = by_project(job, claim(job))
        ways: dict[str, Callable[[], float]] = {"hand": lambda: by_hand(job, folder / "hand", rows, arguments)}
        if given.trl:
            ways["trl"] = lambda: by_trl(given.trl, job, folder / "trl")
        for name, way in ways.items():
            found[name] = way()
    figures = [Figure(f"{name}, a step of {given.batch} pairs", seconds, "s") for name, seconds in found.items()]
    figures.append(Figure("speed, of by hand", found["hand"] / found["project"], "x", ">= 0.95"))
    if "trl" in found:
        figures.append(Figure("speed, of TRL's", found["trl"] / found["project"], "x"))
    return figures


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--model", type=Path, help="a model folder (default: the preset demo's)")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--micro", type=int, default=2)
    parser.add_argument("--trl", type=Path, help="an interpreter that has trl")


main = partial(frame.main, __doc__, measure, options)

if __name__ == "__main__":
    sys.exit(main())
