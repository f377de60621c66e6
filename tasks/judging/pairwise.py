"""Pairwise: the judge says which of two answers meets the rubric better, in both orders; score: twice the win rate.

A comparison is both orders together: the mean of the two, so that a judge who always prefers the first one gives a tie.
An order that is malformed invalidates that comparison only. Only the model's own answers count against each other; the
reference is compared with them for its own score.

Example: answers A, B, C. A beats B in both orders (1), and C in one order and loses the other (a tie, ½): A's win rate
is (1 + ½) / 2 = 0.75 and its score 1.5. B loses to A (0) and ties with C (½): 0.5. C: ½ and ½: 1.0.

`rating.max_comparisons` bounds the comparisons of a problem: rounds of a circle over the answers, in an order drawn by
hash, so that every answer takes part about equally often.
"""

from itertools import islice

from schemas.ids import content_id
from schemas.tables import REFERENCE
from tasks.asking.asker import Asker
from tasks.judging.case import Case, Judgement, Row, Verdict
from tasks.judging.compare import both_orders


async def pairwise(asker: Asker, case: Case) -> Judgement:
    """Compare every two answers, or a balanced sample of them."""
    own = sorted((row for row in case.answers if row["rollout"] != REFERENCE), key=lambda row: _lot(case, row))
    references = [row for row in case.answers if row["rollout"] == REFERENCE]
    most = asker.plan.config.rating.max_comparisons
    couples = balanced(own, most)
    against = len(own) if most is None or not own else max(1, round(2 * len(couples) / len(own)))
    couples += [(reference, row) for reference in references for row in own[:against]]
    rows = await both_orders(asker, case, "pairwise", couples)
    points: dict[str, list[float]] = {row["answer_id"]: [] for row in case.answers}
    for n, (a, b) in enumerate(couples):
        won = points_of(rows[2 * n], rows[2 * n + 1])
        if won is None:
            continue
        points[a["answer_id"]].append(won)
        if a["rollout"] != REFERENCE:  # a reference takes no points from the answers
            points[b["answer_id"]].append(2.0 - won)
    return Judgement([_verdict(row, points[row["answer_id"]], case) for row in case.answers], rows)


def balanced(rows: list[Row], most: int | None) -> list[tuple[Row, Row]]:
    """At most `most` couples: neighbours on a circle, then those two apart, and so on: each has about as many."""
    n = len(rows)
    couples = [(i, (i + step) % n) for step in range(1, n // 2 + 1) for i in range(n if 2 * step < n else n // 2)]
    return [(rows[i], rows[j]) for i, j in islice(couples, most)]


def points_of(forth: Row, back: Row) -> float | None:
    """Of the first answer of `forth`, 0 to 2, over both orders; None where one of them is not valid."""
    if forth["status"] != "ok" or back["status"] != "ok":
        return None
    return float(forth["first_mark"] + back["second_mark"]) / 2


def _lot(case: Case, row: Row) -> str:
    return content_id("lot", case.rubric["rubric_id"], row["answer_id"])


def _verdict(row: Row, points: list[float], case: Case) -> Verdict:
    if points:
        return Verdict(row, tuple(points))
    if len(case.answers) < 2:
        return Verdict(row, status="unrateable", reason="there is no other answer to compare it with")
    return Verdict(row, status="malformed", reason="none of its comparisons is valid in both orders")
