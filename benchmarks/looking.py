"""Looking at 300 runs: `pop status` and `pop sql --all` as a person types them, each as a process, twice. Promise: 2 s
and 5 s on two quiet cores.

    python -m benchmarks.looking [--count 300]

The runs are copies of one round of the stand-in server under names of their own, in a new folder: 8 documents in two
shards, some 40 files a run. Beside the seconds stand those of the CPU, since the clock's depend on what else goes on.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks import frame
from benchmarks.frame import Figure
from schemas.load import PROJECT

ROUND = (
    "round", "demo", "--run", "run-000", "--set", "engine.kind=fake", "--set", "corpus.documents=8",
    "--set", "corpus.documents_per_shard=4", "--set", "training.enabled=false", "--set", "gate.audits=off",
)  # fmt: skip
LOOKS: tuple[tuple[str, float, tuple[str, ...]], ...] = (
    ("status", 2.0, ("status",)),
    ("the gap of each run", 5.0,
     ("sql", "--all", "select run, avg(reference_score) - avg(mean_score) as gap from gap group by run order by run")),
    ("a setting of each run", 5.0, ("sql", "--all", "from settings where name = 'pairing.min_margin'")),
    ("what fell out", 5.0,
     ("sql", "--all", "select run, stage, status, sum(count) from rejections group by all order by all")),
    ("rows and pairs", 5.0, ("sql", "--all", "select run, pairs, last_loss from rounds order by run")),
    ("tokens of each role", 5.0, ("sql", "--all", "select run, role, prompt_tokens from costs order by all")),
)  # fmt: skip


def pop(root: Path, *arguments: str) -> tuple[float, float]:
    """Seconds on the clock and of the CPU that a command took."""
    env = os.environ | {"POP_ROOT": str(root), "COLUMNS": "200"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments], env=env, cwd=PROJECT, capture_output=True, check=False
    )
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(done.stderr.decode())
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def make_runs(root: Path, count: int) -> None:
    """One round, and copies of it; the manifest of each was written a second later than the one before."""
    pop(root, *ROUND)
    first = root / "run-000"
    for number in range(1, count):
        copy = root / f"run-{number:03d}"
        shutil.copytree(first, copy, ignore=shutil.ignore_patterns("journal", "*.lock"))
        path = copy / "manifests/round=000/round.json"
        manifest = json.loads(path.read_text())
        manifest["written"] = f"2026-01-01T{number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}+00:00"
        path.write_text(json.dumps(manifest, indent=1))


def measure(given: argparse.Namespace) -> list[Figure]:
    """Every look twice."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_runs(root, given.count)
        frame.note(f"{given.count} runs, {sum(1 for path in root.rglob('*') if path.is_file())} files")
        for name, allowed, arguments in LOOKS:
            for when in ("first", "again"):
                seconds, cpu = pop(root, *arguments)
                figures.append(Figure(f"{name}, {when}", seconds, "s", f"<= {allowed:g}"))
                figures.append(Figure(f"{name}, {when}: CPU", cpu, "s"))
    return figures


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--count", type=int, default=300, help="runs to look at")


main = partial(frame.main, __doc__, measure, options, runs=1)

if __name__ == "__main__":
    sys.exit(main())
