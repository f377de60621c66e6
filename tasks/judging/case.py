"""What every judge gets and gives, and the score that ratings make."""

import math
import statistics
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from schemas.ids import content_id
from tasks.asking.asker import Asked, Asker
from tasks.engine.turns import together
from tasks.prompts import data
from tasks.texts.length import WORD, length
from tasks.texts.refusals import refuses
from tasks.texts.wholeness import unfinished

Row = dict[str, Any]
Marks = list[Row]
COMPARING = ("pairwise", "anchor")  # the modes whose ratings depend on the other answers


@dataclass(frozen=True)
class Case:
    """A problem's text, its rubric row, and its answer rows that are ok, the reference (rollout -1) among them."""

    problem: str
    rubric: Row
    answers: list[Row]


@dataclass(frozen=True)
class Verdict:
    """What came of one answer.

    Attributes:
        marks: {name, rating in [0, 2] or None, thoughts} a criterion, and by likelihood {told, against}; None where
            answers are compared as wholes.
        scores: one a judgement that was valid, each in [0, 2].
    """

    answer: Row
    scores: tuple[float, ...] = ()
    marks: Marks | None = None
    status: str = "ok"
    reason: str | None = None
    generation_id: str | None = None

    @property
    def score(self) -> float | None:
        """Mean of the judgements; None, never zero, where there is none."""
        return math.fsum(self.scores) / len(self.scores) if self.status == "ok" and self.scores else None

    @property
    def spread(self) -> float | None:
        """Sample standard deviation of the judgements; None for a single one."""
        return statistics.stdev(self.scores) if self.status == "ok" and len(self.scores) > 1 else None


@dataclass(frozen=True)
class Judgement:
    """A verdict an answer, and the comparisons that they rest on (none where answers are rated one by one)."""

    verdicts: list[Verdict]
    comparisons: list[Row] = field(default_factory=list)


def score(marks: Marks, criteria: list[Row]) -> float | None:
    """Weighted mean of the ratings, 0 to 2, over the criteria that could be rated; None where none could.

    Example: ratings 2, 1 and null by weights 3, 1 and 5: (3·2 + 1·1) / (3 + 1) = 1.75.
    """
    weights = {criterion["name"]: criterion["weight"] for criterion in criteria}
    rated = [(weights[mark["name"]], mark["rating"]) for mark in marks if mark["rating"] is not None]
    if not rated:
        return None
    # fsum: the order of the criteria must not change the last digit
    return math.fsum(w * r for w, r in rated) / math.fsum(w for w, _ in rated)


def weighted(marks: Marks | None, criteria: list[Row], figure: str) -> float | None:
    """Weighted mean of a figure of the marks (`told`, `against`) over the criteria that have it, or None."""
    weights = {criterion["name"]: criterion["weight"] for criterion in criteria}
    known = [(weights[mark["name"]], mark[figure]) for mark in marks or [] if mark.get(figure) is not None]
    return math.fsum(w * value for w, value in known) / math.fsum(w for w, _ in known) if known else None


def says_nothing(answer: Row, problem: str) -> str | None:
    """Why an answer cannot earn anything, whoever judges it; None for one that says something."""
    text = answer["final"] or ""
    if not text.strip():
        return "says nothing: it is empty"
    if refuses(text, problem):
        return "says nothing: it declines to answer"
    return f"says nothing: {why}" if length(text) <= 30 * WORD and (why := unfinished(text)) else None


def rated_by(rubric: Row) -> Row:
    """The rubric with those of its criteria that the document supports: nothing is rated by the others."""
    return rubric | {"criteria": [one for one in rubric["criteria"] if one.get("status") in (None, "ok")]}


def rubric_text(criteria: list[Row]) -> str:
    """The rubric as a judge reads it: one block a criterion."""
    blocks = []
    for criterion in criteria:
        lines = [f"{data(criterion['name'])} (weight {criterion['weight']:g})"]
        lines += data(criterion["description"]).splitlines()
        lines += f"A good answer has: {data(criterion['gold'])}".splitlines() if criterion["gold"] else []
        blocks.append("- " + "\n  ".join(lines))  # indented: a line of a description does not look like a criterion
    return "\n".join(blocks)


def criterion_text(criterion: Row) -> str:
    """One criterion as a judge reads it who is shown no other: its fact where it has one, else its description."""
    return data(criterion["gold"] or criterion["description"])


def one_by_one(
    rate: Callable[[Asker, str, Case, Row], Awaitable[Asked[Marks]]],
    value_of: Callable[[Asker, Marks, list[Row]], float | None] = lambda _, marks, criteria: score(marks, criteria),
) -> Callable[[Asker, Case], Coroutine[Any, Any, Judgement]]:
    """A judge of whole cases out of `rate(asker, rating_id, case, answer)`, which marks a single answer, and
    `value_of(asker, marks, criteria)`, its score."""

    async def judge(asker: Asker, case: Case) -> Judgement:
        async def verdict(answer: Row) -> Verdict:
            asked = await rate(asker, rating_id(asker, case, answer), case, answer)
            value = value_of(asker, asked.value, case.rubric["criteria"]) if asked.value else None
            generation_id = asked.generation.generation_id if asked.generation else None
            scores = (value,) if value is not None else ()
            return Verdict(answer, scores, asked.value, asked.status, asked.reason, generation_id)

        return Judgement(await together(map(verdict, case.answers)))

    return judge


def rating_id(asker: Asker, case: Case, answer: Row) -> str:
    """Identity of an answer's rating; where answers are compared, the others are part of it."""
    determined = [asker.plan.keys["rate"], answer["answer_id"], case.rubric["rubric_id"]]
    if asker.plan.config.rating.mode in COMPARING:
        determined += sorted(row["answer_id"] for row in case.answers)
    return content_id("rating", *determined)
