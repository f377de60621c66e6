"""`benchmarks.controller` in every rating mode, at 256 and 1,024 requests in flight, and its memory by documents.

    python -m benchmarks.cases [--modes likelihood logprob ...] [--memory]

`--memory` adds rounds of 256 and of 4,096 documents with 32 answers each, which takes long.
"""

import argparse
import json
import subprocess
import sys
from functools import partial
from typing import Any

from benchmarks import frame
from benchmarks.frame import ROOT, Figure
from tasks.judging import MODES

IN_FLIGHT = (256, 1024)


def controller(**options: object) -> dict[str, Any]:
    """What one run of it prints.

    Raises:
        RuntimeError: it failed; with its last words.
    """
    given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "benchmarks.controller", "--json", *given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise RuntimeError(f"benchmarks.controller ended with {done.returncode}: {done.stderr[-2000:]}") from None
    return found


def measure(given: argparse.Namespace) -> list[Figure]:
    """Every mode once."""
    figures = []
    for mode in given.modes:
        for in_flight in IN_FLIGHT:
            found = controller(mode=mode, in_flight=in_flight, documents=given.documents, answers=given.answers)
            case = f"{mode}, {in_flight} in flight"
            figures += [
                Figure(f"{case}: CPU", found["ms_a_call"], "ms a call", "<= 1"),
                Figure(f"{case}: longest pause", found["longest_pause_cpu_ms"], "ms of CPU", "<= 50"),
                Figure(f"{case}: calls", found["calls_a_sec"], "a second"),
                Figure(f"{case}: peak memory", found["peak_mib"], "MiB"),
            ]
    if given.memory:
        small, large = (controller(mode="logprob", documents=n, answers=32)["peak_mib"] for n in (256, 4096))
        figures.append(Figure("peak memory, 4,096 x 32 against 256 x 32", large / small, "x", "<= 1.2"))
    return figures


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--documents", type=int, default=128)
    parser.add_argument("--answers", type=int, default=16)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--memory", action="store_true")


main = partial(frame.main, __doc__, measure, options)

if __name__ == "__main__":
    sys.exit(main())
