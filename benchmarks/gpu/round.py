"""The smoke preset end to end on this machine's GPU: seconds a stage, rows, the trained model's loss.

    python benchmarks/gpu/round.py --model ~/models/smollm2-135m-instruct
    python benchmarks/gpu/round.py --model M --preset demo          # the curve to compare with a CPU's

Prints one JSON line. Runs in the controller's environment; `POP_RUNTIME` names the other one where it lies elsewhere.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.gpu.watch import Peak, machine
from tasks.storage.db import connect, rows_of
from tasks.storage.store import Store

CALLS = """
    SELECT role, count(*) AS calls, sum(completion_tokens)::BIGINT AS tokens, sum(seconds) AS seconds_waited
    FROM generations GROUP BY role ORDER BY role
"""


def run(model: Path, preset: str, settings: list[str], root: Path) -> dict[str, Any]:
    """One round, and what its tables say of it."""
    command = [sys.executable, "-m", "flows.cli", "round", preset, "--root", str(root), "--run", "gpu"]
    command += [word for one in (f"models.policy.path={model}", *settings) for word in ("--set", one)]
    started = time.monotonic()
    with Peak() as peak:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"pop round ended with {done.returncode}:\n{done.stderr[-3000:]}")
    con = connect(Store(str(root), "gpu"))
    losses = [row["loss"] for row in rows_of(con, "SELECT loss FROM training_steps ORDER BY step")]
    return {
        "benchmark": "round", "preset": preset, "seconds": round(time.monotonic() - started, 1),
        "funnel": {row["stage"]: row["ok"] for row in rows_of(con, "SELECT stage, ok FROM funnel")},
        "calls": rows_of(con, CALLS), "losses": losses, **peak.figures(), "machine": machine(),
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """One JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--preset", default="smoke")
    parser.add_argument("--set", action="append", default=[], help="as of `pop round`")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="pop-gpu-") as folder:
        print(json.dumps(run(given.model, given.preset, given.set, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
