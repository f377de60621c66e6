"""How often does the gate err? Null candidates (the parent with another seed) that it promotes, and gains that it sees.

    python -m benchmarks.gate [--candidates 1000] [--run ROOT/RUN] [--only false|repeated|power]

`gate_scores.json` has 60 problems with a dozen scores each: SmolLM2-135M's own answers under its own rubrics, rated by
likelihood (preset `demo` on 64 documents of a health corpus). A candidate's and its parent's answers are drawn from the
same dozen without repetition, and the gate itself decides: `evaluation.answers` of 2, threshold 0.
For more problems than 60, problems are drawn with repetition. `--run` takes the scores of a run of yours instead.
"""

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import fmean, stdev

from benchmarks import frame
from benchmarks.frame import Figure, note
from schemas.gating import GateConfig
from tasks.evaluation.statistics import difference_interval, wilson
from tasks.models.gate import decide, gain_seen
from tasks.storage.db import connect
from tasks.storage.store import Store

Pool = Sequence[Sequence[float]]
ANSWERS = 2
PROBLEMS = (8, 16, 32, 64, 128)
GAINS = (0.05, 0.1, 0.2)
GATE = GateConfig(guards={}, min_problems=2)


def pool_of(run: str | None) -> Pool:
    """Scores by problem, of those that have enough of them for both models."""
    if run is None:
        return list(json.loads((Path(__file__).parent / "gate_scores.json").read_text()))
    root, _, name = run.rstrip("/").rpartition("/")
    query = (
        "SELECT list(score) FROM ratings t JOIN answers USING (run, round, answer_id) "
        "WHERE rollout >= 0 AND score IS NOT NULL GROUP BY t.run, t.round, t.problem_id"
    )
    rows = connect(Store(root or ".", name)).execute(query).fetchall()
    return [scores for (scores,) in rows if len(scores) >= 2 * ANSWERS]


def exam(pool: Pool, problems: int, draw: random.Random) -> list[list[float]]:
    """The problems of an exam, each with its scores in an order drawn by lot: the parent's are the first ones."""
    chosen = draw.sample(pool, problems) if problems <= len(pool) else draw.choices(pool, k=problems)
    return [draw.sample(scores, len(scores)) for scores in chosen]


def promoted(
    test: list[list[float]], gain: float, draw: random.Random, gate: GateConfig = GATE, asked: int = 1
) -> bool:
    """What the gate says of a candidate whose answers are those of its parent with another seed, and `gain` better."""
    gaps = [fmean(draw.sample(s[ANSWERS:], ANSWERS)) + gain - fmean(s[:ANSWERS]) for s in test]
    value, low, high = difference_interval(gaps)
    row = {"model_id": "m", "suite": "heldout", "metric": "difference", "status": "ok", "reason": None, "n": len(gaps)}
    return decide(gate, "m", [row | {"value": value, "low": low, "high": high}], asked).decision == "promote"


def one(pool: Pool, problems: int, gain: float, seed: int) -> bool:
    """A candidate with problems of its own."""
    draw = random.Random(f"{problems} {gain} {seed}")
    return promoted(exam(pool, problems, draw), gain, draw)


def first_error(pool: Pool, problems: int, rounds: int, correct: bool, seed: int) -> int:
    """The round in which a null candidate is promoted, problems and parent's answers staying the same; 0 for none."""
    draw, gate = random.Random(f"rounds {problems} {seed}"), GATE.model_copy(update={"correct_rounds": correct})
    test = exam(pool, problems, draw)
    return next((number for number in range(1, rounds + 1) if promoted(test, 0.0, draw, gate, number)), 0)


def share(hits: int, n: int) -> str:
    """In per cent, with Wilson's interval."""
    value, low, high = (100 * (part or 0.0) for part in wilson(hits, n))
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"


def counted(workers: ProcessPoolExecutor, work: Callable[[int], int], n: int) -> list[int]:
    """The work's results for the seeds up to n."""
    return list(workers.map(work, range(n), chunksize=max(1, n // 16)))


def false_alarms(workers: ProcessPoolExecutor, pool: Pool, candidates: int) -> list[Figure]:
    """Null candidates that are promoted, by the number of problems."""
    note("| problems | null candidates promoted |\n| --- | --- |")
    figures = []
    for problems in PROBLEMS:
        hits = sum(counted(workers, partial(one, pool, problems, 0.0), candidates))
        note(f"| {problems} | {share(hits, candidates)} |")
        figures.append(Figure(f"null candidates promoted, {problems} problems", 100 * hits / candidates, "%"))
    return figures


def repeated(workers: ProcessPoolExecutor, pool: Pool, runs: int, rounds: int) -> list[Figure]:
    """Runs of null candidates in which one is promoted."""
    note(f"\n| problems | gate.correct_rounds | an error within 3 rounds | within {rounds} |\n{'| --- ' * 4}|")
    figures = []
    for problems, correct in ((16, False), (16, True), (64, False), (64, True)):
        at = counted(workers, partial(first_error, pool, problems, rounds, correct), runs)
        early, all_ = sum(0 < number <= 3 for number in at), sum(map(bool, at))
        note(f"| {problems} | {str(correct).lower()} | {share(early, runs)} | {share(all_, runs)} |")
        name = f"an error in {rounds} rounds, {problems} problems, correct_rounds={str(correct).lower()}"
        figures.append(Figure(name, 100 * all_ / runs, "%"))
    return figures


def power(workers: ProcessPoolExecutor, pool: Pool, n: int, deviation: float) -> list[Figure]:
    """Candidates better by a fixed gain that are promoted."""
    gains = " | ".join(f"+{gain:g} promoted" for gain in GAINS)
    note(f"\n| problems | {gains} | seen 4 times in 5, by formula |\n{'| --- ' * (len(GAINS) + 2)}|")
    figures = []
    for problems in PROBLEMS:
        hits = [sum(counted(workers, partial(one, pool, problems, gain), n)) for gain in GAINS]
        cells = " | ".join(share(hit, n) for hit in hits)
        note(f"| {problems} | {cells} | +{gain_seen(problems, deviation):.3f} |")
        figures.append(Figure(f"a gain of {GAINS[1]:g} promoted, {problems} problems", 100 * hits[1] / n, "%"))
    return figures


def measure(given: argparse.Namespace) -> list[Figure]:
    """The three tables, as Markdown among the progress, and their main figures."""
    pool = pool_of(given.run)
    draw = random.Random(0)
    gaps = [
        fmean(s[:ANSWERS]) - fmean(s[ANSWERS : 2 * ANSWERS]) for _ in range(200) for s in exam(pool, len(pool), draw)
    ]
    note(f"{len(pool)} problems; deviation of a problem's difference under no change: {stdev(gaps):.3f}\n")
    figures: list[Figure] = []
    with ProcessPoolExecutor(2) as workers:
        if given.only in (None, "false"):
            figures += false_alarms(workers, pool, given.candidates)
        if given.only in (None, "repeated"):
            figures += repeated(workers, pool, max(50, given.candidates // 5), given.rounds)
        if given.only in (None, "power"):
            figures += power(workers, pool, given.candidates // 4, stdev(gaps))
    return figures


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--run", help="folder of a run whose scores are drawn from")
    parser.add_argument("--only", choices=("false", "repeated", "power"))


main = partial(frame.main, __doc__, measure, options, 1)

if __name__ == "__main__":
    sys.exit(main())
