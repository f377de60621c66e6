"""Looking at 300 runs: `pop status` and `pop sql --all` as a person types them, each as a process, twice. Promise: 2 s
and 5 s on two quiet cores.

    python -m benchmarks.looking [RUNS]

The runs are copies of one round of the stand-in server under names of their own, in a new folder: 8 documents in two
shards, some 40 files a run. Beside the seconds stand those of the CPU, since the clock's depend on what else goes on.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def main() -> None:
    """Print a table, and exit with 1 where a promise is broken."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    broken = False
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_runs(root, count)
        files = sum(1 for path in root.rglob("*") if path.is_file())
        print(f"{count} runs, {files} files; load {os.getloadavg()[0]:.1f}", flush=True)
        print("| look | allowed | first | CPU | again | CPU |\n| --- | --- | --- | --- | --- | --- |")
        for name, allowed, arguments in LOOKS:
            (first, first_cpu), (again, again_cpu) = pop(root, *arguments), pop(root, *arguments)
            print(
                f"| {name} | {allowed:.0f} s | {first:.1f} s | {first_cpu:.1f} s | {again:.1f} s | {again_cpu:.1f} s |",
                flush=True,
            )
            broken = broken or max(first, again) > allowed
    sys.exit(broken)


if __name__ == "__main__":
    main()
