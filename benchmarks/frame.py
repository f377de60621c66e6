"""What every benchmark shares: its options, medians of several runs, goals, a table for people and JSON for programs.

A benchmark is a module with `measure(given) -> list[Figure]` and `main`, a partial of `frame.main`;
`python -m benchmarks` runs them all and writes `RESULTS.md`.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
Row = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """One number of one run.

    Attributes:
        goal: such as "<= 1.05" or ">= 3"; none where it is only told.
    """

    name: str
    value: float
    unit: str
    goal: str | None = None

    def met(self) -> bool | None:
        """Whether the goal is reached."""
        return meets(self.value, self.goal)


def meets(value: float, goal: str | None) -> bool | None:
    """Whether a value reaches a goal; None where there is none."""
    if goal is None:
        return None
    sign, _, bound = goal.partition(" ")
    return value <= float(bound) if sign == "<=" else value >= float(bound)


def medians(runs: Sequence[Sequence[Figure]]) -> list[Row]:
    """A row a figure: the median over the runs that have it, their values, and whether that reaches the goal."""
    rows: list[Row] = []
    for name in dict.fromkeys(figure.name for run in runs for figure in run):
        found = [figure for run in runs for figure in run if figure.name == name]
        value = median(figure.value for figure in found)
        rows.append(asdict(found[0]) | {
            "value": value, "values": [figure.value for figure in found], "met": meets(value, found[0].goal),
        })  # fmt: skip
    return rows


def machine() -> Row:
    """What it ran on, without a name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = round(psutil.virtual_memory().total / 2**30)
    return {"cpu": named or platform.machine(), "cores": cores, "memory_gib": memory}


def stamp() -> Row:
    """Date, commit (with a + where files differ from it, the results aside), machine, and how busy it was before."""
    commit = _git("rev-parse", "--short", "HEAD") or "unknown"
    changed = "+" if _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/RESULTS.md") else ""
    load = round(os.getloadavg()[0], 1)
    return {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit + changed, "load": load, "machine": machine()}


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def shown(value: float) -> str:
    """Three significant digits, and no fewer than all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def peak_mib() -> float:
    """The most memory that this process has had. What `getrusage` tells begins with that of the process before exec."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def note(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def table(rows: Sequence[Row]) -> str:
    """The figures for a terminal."""
    lines = []
    for row in rows:
        goal = f"goal {row['goal']}: {'met' if row['met'] else 'NOT met'}" if row["goal"] else ""
        values = " ".join(shown(value) for value in row["values"]) if len(row["values"]) > 1 else ""
        lines.append(f"{row['name']:44} {shown(row['value']):>10} {row['unit']:16} {goal:24} {values}".rstrip())
    return "\n".join(lines)


def main(
    about: str | None, measure: Callable[[argparse.Namespace], list[Figure]],
    options: Callable[[argparse.ArgumentParser], None] = lambda _: None, runs: int = 3,
    arguments: Sequence[str] | None = None,
) -> int:  # fmt: skip
    """Run a benchmark as a command; 1 where a goal is missed.

    Args:
        runs: how often it is measured where `--runs` does not say.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--runs", type=int, default=runs, help="the medians of so many are told")
    options(parser)
    given = parser.parse_args(arguments)
    stamped = stamp()
    found = []
    for number in range(given.runs):
        found.append(measure(given))
        if given.runs > 1:
            note(f"run {number + 1}: " + ", ".join(f"{f.name} {shown(f.value)} {f.unit}" for f in found[-1]))
    rows = medians(found)
    print(json.dumps(stamped | {"figures": rows}) if given.json else table(rows), flush=True)
    return int(any(row["met"] is False for row in rows))
