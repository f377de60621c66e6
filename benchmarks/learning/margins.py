"""How much likelier has a training made the better of two held-out answers? A measure that needs no new answers.

The pairs are the untrained policy's own answers to the exam, two of a problem that the judge scores differently; the
figure is the change of log p(better) - log p(worse) in nats, a pair at a time (`likelier.py`). It sees small effects: a
score sees them only where an answer turns out another one, this in every pair. It says what was learned, not how it
shows.
"""

import json
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.learning import likelier
from benchmarks.learning.arms import BASE, run_name
from schemas.config import Config
from schemas.errors import DependencyError
from schemas.tables import MESSAGES
from tasks.answer import prompt_messages
from tasks.evaluation.bench import NESTED
from tasks.runtime import runtime_python
from tasks.staging.plan import make_plan
from tasks.storage.db import connect, rows_of
from tasks.storage.store import Store, publish_local

# threads that spin while they wait take the core that they wait for (`tasks/training/launcher.py`)
OFFLINE = {
    "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_WAIT_POLICY": "passive", "PATH": "/usr/bin:/bin"
}  # fmt: skip
_ANSWERS = """
SELECT p.problem, list({'final': a.final, 'score': r.score} ORDER BY r.score DESC, a.answer_id) AS answers
FROM ratings r JOIN answers a USING (answer_id) JOIN problems p ON p.problem_id = a.problem_id
WHERE a.rollout >= 0 AND r.status = 'ok' GROUP BY p.problem_id, p.problem ORDER BY p.problem_id
"""
_SCHEMA = pa.schema([(name, MESSAGES) for name in ("prompt", "chosen", "rejected")])


def margins_file(root: Path, run: str, number: int) -> Path:
    """Where the margins of a round's model are kept."""
    return root / run / f"margins-{number:03d}.json"


def heldout_pairs(root: Path, seed: int, config: Config) -> Path:
    """The file of the pairs, made of the base's exam where it is not there yet."""
    path = root / run_name(BASE, seed) / "heldout_pairs.parquet"
    if not path.exists():
        plan = make_plan(config, "margins", 0, dict.fromkeys(config.models, "any"))
        rows = []
        with connect(Store(str(root / run_name(BASE, seed)), NESTED)) as con:
            for row in rows_of(con, _ANSWERS, []):
                best, worst = row["answers"][0], row["answers"][-1]
                if best["score"] > worst["score"]:
                    rows.append({"prompt": list(prompt_messages(plan, row["problem"])), "chosen": _said(best["final"]),
                                 "rejected": _said(worst["final"])})  # fmt: skip
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), sink)
        publish_local(path, sink.getvalue().to_pybytes())
    return path


def _said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def margins(parent: Path, trained: Path, pairs: Path, target: Path) -> list[float]:
    """The change of each pair's margin; kept in `target`, and read there the next time.

    Raises:
        DependencyError: the models cannot be asked.
    """
    if not target.exists():
        command = [str(runtime_python()), likelier.__file__, str(parent), str(trained), str(pairs)]
        done = subprocess.run(command, env=OFFLINE, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DependencyError(f"the margins of {trained} could not be had: {done.stderr.strip()[-300:]}")
        publish_local(target, done.stdout.splitlines()[-1].encode())
    return [float(value) for value in json.loads(target.read_text())]
