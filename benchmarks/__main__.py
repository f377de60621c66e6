"""All benchmarks, one after the other, into the table of `RESULTS.md`.

    python -m benchmarks [NAME ...] [--runs 3] [--with trainer=--trl=PYTHON]

A named one replaces its own rows and leaves the others. What needs the runtime environment (`real`, `trainer`, `modes`)
needs `pop setup` first. Exit code 1 where a goal is missed or a benchmark fails; the others are run all the same.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.frame import ROOT, Row, note, shown

RESULTS = Path(__file__).with_name("RESULTS.md")
NAMES = (
    "controller", "sampler", "busy", "linear", "pairing", "audits", "resume", "looking", "corpus", "index", "memory",
    "gate", "real", "trainer", "modes",
)  # fmt: skip
MODULES = {"controller": "cases"}
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
HEAD = "| benchmark | figure | median | goal | | of | date, commit, load before | machine |\n" + "| --- " * 8 + "|"


def rows_of(name: str, found: Row) -> list[str]:
    """The table's rows of one benchmark's JSON."""
    machine = found["machine"]
    where = f"{machine['cores']} × {machine['cpu']}, {machine['memory_gib']} GiB"
    when = f"{found['date']}, {found['commit']}, {found['load']:g}"
    verdicts = {True: "met", False: "**missed**", None: ""}
    cells = (
        (name, row["name"], f"{shown(row['value'])} {row['unit']}", row["goal"] or "", verdicts[row["met"]],
         ", ".join(map(shown, row["values"])), when, where) for row in found["figures"]
    )  # fmt: skip
    return [f"| {' | '.join(cell)} |" for cell in cells]


def placed(text: str, name: str, rows: Sequence[str]) -> str:
    """`RESULTS.md` with these rows in place of the benchmark's old ones, in the order of `NAMES`."""
    before, _, rest = text.partition(BEGIN)
    table, _, after = rest.partition(END)
    others = [
        line for line in table.splitlines() if re.match(r"\| [a-z]", line) and not line.startswith("| benchmark ")
    ]
    kept = [line for line in others if not line.startswith(f"| {name} |")]
    ordered = sorted([*kept, *rows], key=lambda line: NAMES.index(line.split(" ")[1]))
    return f"{before}{BEGIN}\n{HEAD}\n" + "\n".join(ordered) + f"\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them; 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--runs", type=int, help="of each; default: its own")
    parser.add_argument(
        "--with", dest="more", action="append", default=[], metavar="NAME=OPTION", help="for one of them"
    )
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    code = 0
    for name in given.names or NAMES:
        note(f"== {name}")
        options = [one.partition("=")[2] for one in given.more if one.startswith(f"{name}=")]
        options += [f"--runs={given.runs}"] if given.runs else []
        command = [sys.executable, "-m", f"benchmarks.{MODULES.get(name, name)}", "--json", *options]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        code = code or done.returncode
        try:
            found = json.loads(done.stdout.strip().splitlines()[-1])
        except (IndexError, ValueError):
            note(f"{name} ended with {done.returncode} and no figures")
            continue
        rows = rows_of(name, found)
        print("\n".join(rows), flush=True)
        RESULTS.write_text(placed(RESULTS.read_text(), name, rows))
    return code


if __name__ == "__main__":
    sys.exit(main())
