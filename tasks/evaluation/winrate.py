"""Win rate: candidate against parent on the exam, each couple of answers in both orders, by the frozen judge.

A comparison is both orders together, so that a judge who prefers the first one gives a tie; one who does (almost)
nothing else cannot tell, and then there is no rate. No answer loses to an answer; where both are missing there is no
comparison. Judges like length: the length-controlled rate is what would be left at equal length.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from schemas.ids import content_id
from schemas.tables import REFERENCE
from tasks.asking.asker import Asker
from tasks.engine.protocol import Engine
from tasks.evaluation.bench import Bench, Measure, Tables
from tasks.evaluation.heldout import Exam, NotRun, answers_of, exam, scores_of
from tasks.evaluation.shares import Marks
from tasks.evaluation.statistics import bootstrap, length_controlled, wilson
from tasks.judging.case import Case, rated_by
from tasks.judging.compare import both_orders
from tasks.judging.pairwise import points_of
from tasks.storage.store import Row

Game = tuple[float, float]  # win of the candidate in [0, 1], and by how many words its answer is the longer one
MIN_TOLD = 0.1  # share of the comparisons of which both orders must say who won; position or ties are all the rest


@dataclass(frozen=True)
class Match:
    """A problem's couples, the two models' answers of the same rollout, and those that one of them did not answer."""

    case: Case
    couples: list[tuple[Row, Row]]
    forfeits: list[float] = field(default_factory=list)  # 0: the candidate has no answer, 1: the parent has none


async def winrate(bench: Bench) -> list[Measure]:
    """`rate`, `length_controlled`, both as `…difference` from one half, that at its `worst` and `best` for comparisons
    that cannot be read, and how many can; `by_score` where the suite `heldout` rates the same answers.

    Raises:
        NotRun: there is no parent, or nothing can be compared.
    """
    if bench.parent is None:
        raise NotRun("there is no parent to compare with")
    test = await exam(bench)
    ours, theirs = [_by_rollout(await answers_of(bench, test, subject)) for subject in bench.subjects]
    matches = [match_of(row, test.problems, ours, theirs) for row in test.rubrics]
    comparisons = await _compared(bench, test, matches)
    games = games_of(comparisons, matches)
    if not games:
        raise NotRun(f"no comparison of {sum(len(m.couples) for m in matches)} is valid in both orders")
    note = f"{len(games)} of {len(matches)} problems have valid comparisons" if len(games) < len(matches) else None
    found = _rates(bench, games, comparisons, matches, note)
    if (why := cannot_tell(comparisons, matches)) is not None:
        found = [replace(one, value=None, low=None, high=None, status="uninformative", reason=why) for one in found]
    if "heldout" in bench.config.evaluation.suites:
        marks = [(await scores_of(bench, test, subject))[0] for subject in bench.subjects]
        found += _with_difference(bench, "by_score", by_score(*marks), _rate, None)
    share, low, high = compared_share(comparisons, matches)
    return [*found, Measure(bench.candidate.model_id, "compared_share", share, low, high, len(matches))]


async def _compared(bench: Bench, test: Exam, matches: list[Match]) -> list[Row]:
    """The rows of `comparisons`, two a couple."""

    async def work(engine: Engine) -> Tables:
        asker = Asker(bench.examiner, "rate", engine)
        rows = [await both_orders(asker, match.case, "pairwise", match.couples) for match in matches]
        return {"comparisons": [row for many in rows for row in many]}

    assert bench.parent is not None
    couples = [[a["answer_id"], b["answer_id"]] for match in matches for a, b in match.couples]
    made = await bench.kept(
        "compare", content_id("couple", bench.candidate.file, bench.parent.file)[:12],
        [test.identity, bench.examiner.keys["rate"], couples], bench.examiner.model_of("rate"), work,
    )  # fmt: skip
    return made["comparisons"]


def _rates(
    bench: Bench, games: list[Game], comparisons: list[Row], matches: list[Match], note: str | None
) -> list[Measure]:  # fmt: skip
    found = _with_difference(bench, "rate", games, _rate, note)
    found += _with_difference(bench, "length_controlled", games, length_controlled, note)
    for name, points in (("worst", 0.0), ("best", 1.0)):
        (_, difference) = _with_difference(bench, name, games_of(comparisons, matches, points), _rate, None)
        found.append(difference)
    return found


def _with_difference(
    bench: Bench, name: str, games: list[Game], statistic: Callable[[Sequence[Game]], float | None], note: str | None
) -> list[Measure]:  # fmt: skip
    """A rate, and the same as a difference from one half; the plain rate's is called `difference`."""
    settings = bench.config.evaluation
    value, interval = statistic(games), bootstrap(games, statistic, settings.bootstrap_samples, settings.seed)
    found = []
    for metric, shift in ((name, 0.0), ("difference" if name == "rate" else f"{name}_difference", 0.5)):
        low, high = (None if end is None else end - shift for end in interval)
        shifted = None if value is None else value - shift
        status = "ok" if games else "not_run"
        found.append(
            Measure(bench.candidate.model_id, metric, shifted, low, high, len(games), status=status, reason=note)
        )
    return found


def _rate(games: Sequence[Game]) -> float | None:
    return fmean(win for win, _ in games) if games else None


def _by_rollout(answers: list[Row]) -> dict[tuple[str, int], Row]:
    usable = (row for row in answers if row["status"] == "ok" and row["rollout"] != REFERENCE)
    return {(row["problem_id"], row["rollout"]): row for row in usable}


def match_of(
    rubric: Row, problems: list[Row], ours: dict[tuple[str, int], Row], theirs: dict[tuple[str, int], Row]
) -> Match:
    """What is compared on a problem."""
    problem = next(row for row in problems if row["problem_id"] == rubric["problem_id"])
    keys = sorted(key for key in ours.keys() | theirs.keys() if key[0] == rubric["problem_id"])
    couples = [(ours[key], theirs[key]) for key in keys if key in ours and key in theirs]
    forfeits = [float(key in ours) for key in keys if (key in ours) != (key in theirs)]
    return Match(
        Case(problem["problem"], rated_by(rubric), [row for couple in couples for row in couple]), couples, forfeits
    )


def _points(comparisons: list[Row], match: Match) -> list[tuple[float | None, float]]:
    """Of each couple: the candidate's win, None where an order cannot be read, and by how many words it is longer."""
    rows = {(row["first_answer_id"], row["second_answer_id"]): row for row in comparisons}
    found = []
    for a, b in match.couples:
        forth, back = rows[a["answer_id"], b["answer_id"]], rows[b["answer_id"], a["answer_id"]]
        points = points_of(forth, back)
        found.append((None if points is None else points / 2, float(a["words"] - b["words"])))
    return found


def games_of(comparisons: list[Row], matches: Sequence[Match], unread: float | None = None) -> list[Game]:
    """One game a problem: the mean over its couples that are valid in both orders and those that one side did not
    answer; others count as `unread`, or not at all. A missing answer is no short one: its length counts as equal."""
    games = []
    for match in matches:
        found = [(unread if win is None else win, gap) for win, gap in _points(comparisons, match)]
        played = [(win, gap) for win, gap in found if win is not None]
        played += [(win, 0.0) for win in match.forfeits]
        if played:
            games.append((fmean(win for win, _ in played), fmean(gap for _, gap in played)))
    return games


def cannot_tell(comparisons: list[Row], matches: Sequence[Match]) -> str | None:
    """Why the judge's word says nothing: it names a position, or ties, (almost) whatever it is shown; else None."""
    return blind([win for match in matches for win, _ in _points(comparisons, match) if win is not None])


def blind(wins: Sequence[float]) -> str | None:
    """The same of the wins themselves: 0, 1, or between them where the two orders disagree."""
    told = sum(win != 0.5 for win in wins)
    if not wins or told > MIN_TOLD * len(wins):
        return None
    return (
        f"the judge cannot tell: of {len(wins)} comparisons both orders say who won in {told} (more than "
        f"{MIN_TOLD:.0%} are needed); in the others it named a position, or a tie"
    )


def compared_share(comparisons: list[Row], matches: Sequence[Match]) -> tuple[float | None, float | None, float | None]:
    """Share of the comparisons that can be read, by Wilson's interval over problems."""
    shares = []
    for match in matches:
        read = [win is not None for win, _ in _points(comparisons, match)] + [True for _ in match.forfeits]
        shares += [fmean(read)] if read else []
    return wilson(sum(shares), len(shares))


def by_score(ours: Marks, theirs: Marks) -> list[Game]:
    """The same games by the answers' scores, which no order can sway; equal scores are a tie."""
    games = []
    for problem, scores in sorted(ours.scores.items()):
        both = zip(scores, theirs.scores[problem], strict=True)
        wins = [_won(a, b) for a, b in both if a is not None or b is not None]
        games += [(fmean(wins), 0.0)] if wins else []
    return games


def _won(ours: float | None, theirs: float | None) -> float:
    if ours is None or theirs is None:
        return float(theirs is None)
    return 0.5 if ours == theirs else float(ours > theirs)
