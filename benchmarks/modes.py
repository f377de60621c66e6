"""The rating modes on one round's answers and rubrics: tokens, seconds, agreement. A real model judges.

    python -m benchmarks.modes [--documents 8] [--answers 4]

A round of the preset demo's model is made; each mode then rates the very same answers by the very same rubrics
(`reuse.answers`, `reuse.rubrics`), on an empty prefix cache. Told are the tokens that the server read (cached ones
included) and wrote, the seconds in which it did, in how many problems the reference is above the mean answer (it was
written with the document in view, so it should be), and how well a mode ranks a problem's answers as the others do: the
mean Spearman correlation with each of them over the problems.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import defaultdict
from functools import partial
from pathlib import Path
from statistics import correlation, fmean

from benchmarks import frame, real
from benchmarks.frame import Figure
from tasks.judging import MODES
from tasks.runtime.default_model import default_model
from tasks.storage.db import connect
from tasks.storage.store import Store

Scores = dict[str, dict[str, float]]  # by problem, then answer
ROOM = "sampling.judge.max_tokens=300"  # the paper's 4,096 fill the whole context of a model this small
RATED = """
    SELECT problem_id, answer_id, rollout, score FROM ratings JOIN answers USING (run, round, answer_id, problem_id)
    WHERE score IS NOT NULL
"""


def scores_of(store: Store) -> tuple[Scores, list[bool]]:
    """Of a round's own answers; and for each problem whether the reference is above their mean."""
    found: Scores = defaultdict(dict)
    references: dict[str, float] = {}
    for problem, answer, rollout, score in connect(store).execute(RATED).fetchall():
        if rollout < 0:
            references[problem] = score
        else:
            found[problem][answer] = score
    return found, [references[p] > fmean(found[p].values()) for p in references if found.get(p)]


def agreement(one: Scores, other: Scores) -> float | None:
    """Mean rank correlation over the problems of three answers or more that both tell apart; None where none is."""
    values = []
    for problem in one.keys() & other.keys():
        both = sorted(one[problem].keys() & other[problem].keys())
        first, second = ([scores[problem][answer] for answer in both] for scores in (one, other))
        if len(both) >= 3 and len(set(first)) > 1 and len(set(second)) > 1:
            values.append(correlation(ranks(first), ranks(second)))
    return fmean(values) if values else None


def ranks(values: list[float]) -> list[float]:
    """From 1 on; equal values share the mean of theirs."""
    return [sum(other < value for other in values) + (values.count(value) + 1) / 2 for value in values]


async def rated(given: argparse.Namespace, folder: Path) -> list[Figure]:
    """Every mode once."""
    figures: list[Figure] = []
    scores: dict[str, Scores] = {}
    async with real.served(default_model(frame.note), folder) as server:
        source = ["rating.mode=likelihood"]
        await real.pipeline(server.urls[0], folder, given, source, run="source")
        for mode in MODES:
            await real.forget(server.urls[0])
            reused = [f"rating.mode={mode}", "reuse.answers=source/0", "reuse.rubrics=source/0", ROOM]
            ran, (seconds, read, written) = await real.pipeline(server.urls[0], folder, given, reused, run=mode)
            scores[mode], above = scores_of(ran.store)
            answers = sum(map(len, scores[mode].values())) + len(above)
            figures += [
                Figure(f"{mode}: tokens read an answer", read / answers, ""),
                Figure(f"{mode}: tokens written an answer", written / answers, ""),
                Figure(f"{mode}: an answer", seconds / answers, "s"),
                Figure(f"{mode}: reference above the mean", 100 * fmean(above), f"% of {len(above)}"),
            ]
    for mode in MODES:
        with_others = [agreement(scores[mode], scores[other]) for other in MODES if other != mode]
        known = [value for value in with_others if value is not None]
        figures += [Figure(f"{mode}: rank correlation with the others", fmean(known), "")] if known else []
    return figures


def measure(given: argparse.Namespace) -> list[Figure]:
    """All modes on one server."""
    with tempfile.TemporaryDirectory(prefix="pop-bench-") as folder:
        return asyncio.run(rated(given, given.folder or Path(folder)))


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    real.options(parser)
    parser.set_defaults(documents=8, answers=4)
    parser.add_argument("--folder", type=Path, help="where the rounds are kept")


main = partial(frame.main, __doc__, measure, options, 1)

if __name__ == "__main__":
    sys.exit(main())
