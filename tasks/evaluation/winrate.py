"""Win rate: candidate against parent on the exam, each couple of answers in both orders, by the frozen judge.

A comparison is both orders together, so that a judge who always prefers the first one gives a tie. Judges like length:
the length-controlled rate is what would be left at equal length.
"""

from collections.abc import Sequence
from statistics import fmean

from schemas.ids import content_id
from schemas.tables import REFERENCE
from tasks.asking.asker import Asker
from tasks.engine.protocol import Engine
from tasks.evaluation.bench import Bench, Measure, Tables
from tasks.evaluation.heldout import NotRun, answers_of, exam
from tasks.evaluation.statistics import bootstrap, length_controlled
from tasks.judging.case import Case
from tasks.judging.compare import both_orders
from tasks.judging.pairwise import points_of
from tasks.storage.store import Row

Game = tuple[float, float]  # win of the candidate in [0, 1], and by how many words its answer is the longer one


async def winrate(bench: Bench) -> list[Measure]:
    """`rate`, `length_controlled`, and both as `…difference` from one half.

    Raises:
        NotRun: there is no parent, or no comparison is valid in both orders.
    """
    if bench.parent is None:
        raise NotRun("there is no parent to compare with")
    test, settings = await exam(bench), bench.config.evaluation
    ours, theirs = [_by_rollout(await answers_of(bench, test, subject)) for subject in bench.subjects]
    cases = [_case(row, test.problems, ours, theirs) for row in test.rubrics]

    async def work(engine: Engine) -> Tables:
        asker = Asker(bench.examiner, "rate", engine)
        rows = [await both_orders(asker, case, "pairwise", couples) for case, couples in cases]
        return {"comparisons": [row for many in rows for row in many]}

    couples = [[a["answer_id"], b["answer_id"]] for _, many in cases for a, b in many]
    made = await bench.kept(
        "compare", content_id("couple", bench.candidate.file, bench.parent.file)[:12],
        [test.identity, bench.examiner.keys["rate"], couples], bench.examiner.model_of("rate"), work,
    )  # fmt: skip
    games = games_of(made["comparisons"], cases)
    if not games:
        raise NotRun(f"no comparison of {len(couples)} is valid in both orders")
    note = f"{len(games)} of {len(cases)} problems have valid comparisons" if len(games) < len(cases) else None
    found = []
    for name, statistic in (("rate", _rate), ("length_controlled", length_controlled)):
        value, interval = statistic(games), bootstrap(games, statistic, settings.bootstrap_samples, settings.seed)
        difference = "difference" if name == "rate" else f"{name}_difference"
        for metric, shift in ((name, 0.0), (difference, 0.5)):
            low, high = (None if end is None else end - shift for end in interval)
            shifted = None if value is None else value - shift
            found.append(Measure(bench.candidate.model_id, metric, shifted, low, high, len(games), reason=note))
    return found


def _rate(games: Sequence[Game]) -> float | None:
    return fmean(win for win, _ in games) if games else None


def _by_rollout(answers: list[Row]) -> dict[tuple[str, int], Row]:
    usable = (row for row in answers if row["status"] == "ok" and row["rollout"] != REFERENCE)
    return {(row["problem_id"], row["rollout"]): row for row in usable}


def _case(
    rubric: Row, problems: list[Row], ours: dict[tuple[str, int], Row], theirs: dict[tuple[str, int], Row]
) -> tuple[Case, list[tuple[Row, Row]]]:  # fmt: skip
    """The case of a problem and its couples: the two models' answers of the same rollout."""
    problem = next(row for row in problems if row["problem_id"] == rubric["problem_id"])
    keys = sorted(key for key in ours.keys() & theirs.keys() if key[0] == rubric["problem_id"])
    couples = [(ours[key], theirs[key]) for key in keys]
    return Case(problem["problem"], rubric, [row for couple in couples for row in couple]), couples


def games_of(comparisons: list[Row], cases: Sequence[tuple[Case, list[tuple[Row, Row]]]]) -> list[Game]:
    """One game a problem: the mean over its couples that are valid in both orders."""
    rows = {(row["first_answer_id"], row["second_answer_id"]): row for row in comparisons}
    games = []
    for _, couples in cases:
        found = []
        for a, b in couples:
            forth, back = rows[a["answer_id"], b["answer_id"]], rows[b["answer_id"], a["answer_id"]]
            if (points := points_of(forth, back)) is not None:
                found.append((points / 2, float(a["words"] - b["words"])))
        if found:
            games.append((fmean(win for win, _ in found), fmean(gap for _, gap in found)))
    return games
