"""Does it learn what it is told?

    make learning [QUICK=1] [ARGS="--arms truth reversed --seeds 0 1 2"]

A judge endpoint that is right by construction marks the answers; policy, server, pairs and trainer are the real ones.
Every arm has the same answers, ratings, problems, number of steps and exam in its first round, and differs in its pairs
alone (`pairing.control`); but `hints` has answers of its own, and `reference_nll` another loss. `--self`: the model
judges itself, by the likelihood of its rubric's facts. Runs lie under `--root`, one an arm and seed; the same command
again goes on where it was stopped. Figures: RESULTS.md.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from benchmarks.learning.arms import ARMS, CURVE, Size
from benchmarks.learning.judge import judging
from benchmarks.learning.run import run_now
from benchmarks.learning.table import apart, results, table, write
from flows.cli.running import leave
from schemas.errors import PopError
from tasks.processes.guarded import stop_all

# too few pairs for the score to show much: look at the margins
QUICK = Size(problems_per_document=4, answers=4, heldout_documents=8, rounds=1, arms=("truth", "shuffled", "reversed"))


def main() -> None:
    """Run what is asked for, then print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learning", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one round of three arms: a quarter of an hour")
    parser.add_argument("--self", action="store_true", dest="own", help="the model as its own judge")
    parser.add_argument("--curve", action="store_true", help="one round each with 0 to 50 %% of the pairs flipped")
    parser.add_argument(
        "--margins-only", action="store_true", help="no new answers: only how held-out pairs became likelier"
    )
    parser.add_argument("--arms", nargs="+", choices=sorted(ARMS), help="only these")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--root", type=Path, help="folder of the runs (default: data/learning, with --self -self)")
    parser.add_argument("--source", help="corpus; default: the sample corpus health_care")
    for name in (
        "documents",
        "problems-per-document",
        "answers",
        "heldout-documents",
        "rounds",
        "epochs",
        "batch-size",
    ):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--heldout-share", type=float)
    parser.add_argument("--set", nargs="+", default=[], dest="extra", help="further settings: key.sub=value")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    given = parser.parse_args()
    root = given.root or Path("data/learning-self" if given.own else "data/learning")
    root = root.absolute()
    try:
        if not given.table:
            _run(given, root)
        write(root)
    except PopError as error:
        _ended(error)
    found = results(root)
    print(table(found) + apart(found, root))
    leave(0)


def _run(given: argparse.Namespace, root: Path) -> None:
    named = ("source", "documents", "problems_per_document", "answers", "heldout_documents", "heldout_share", "rounds",
             "epochs", "batch_size")  # fmt: skip
    size = replace(QUICK if given.quick else Size(), extra=tuple(given.extra), margins_only=given.margins_only)
    size = replace(size, **{name: getattr(given, name) for name in named if getattr(given, name) is not None})
    size = replace(size, rounds=1, arms=CURVE) if given.curve else size
    size = replace(size, once=() if given.arms else size.once)
    names = tuple(given.arms or size.arms)
    root.mkdir(parents=True, exist_ok=True)
    with judging() as url:
        run_now(size, given.seeds, names, None if given.own else url, root)


def _ended(error: PopError) -> NoReturn:
    """As `pop` ends: one line, its exit code, and nobody waited for."""
    stop_all()
    print(f"learning: {error}", file=sys.stderr)
    leave(error.exit_code)


if __name__ == "__main__":
    main()
