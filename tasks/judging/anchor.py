"""Anchor: each answer against the one of median length; the judge gives both 0 to 10, in both orders.

An answer is worth 5 + (its mark - the anchor's mark) / 2, averaged over both orders; divided by 5 that is its score: 1
is as good as the anchor, 2 is ten marks better. Linear in the number of answers, where `pairwise` is quadratic. The
anchor is compared with itself, which by the two orders gives exactly 1, whatever the judge says: no score is made up.

Example: answer first, the judge gives it 8 and the anchor 5: 5 + 3/2 = 6.5. Anchor first, it gives the anchor 6 and
the answer 7: 5 + 1/2 = 5.5. Mean 6.0, score 1.2. Where an order is malformed the answer has no score.
"""

from schemas.tables import REFERENCE
from tasks.asking.asker import Asker
from tasks.judging.case import Case, Judgement, Row, Verdict
from tasks.judging.compare import both_orders


async def anchor(asker: Asker, case: Case) -> Judgement:
    """Compare every answer with the anchor."""
    against = median_length([row for row in case.answers if row["rollout"] != REFERENCE and row.get("hint") is None])
    if against is None:
        reason = "there is no answer to compare it with"
        return Judgement([Verdict(row, status="unrateable", reason=reason) for row in case.answers])
    rows = await both_orders(asker, case, "anchor", [(row, against) for row in case.answers])
    return Judgement([_verdict(row, rows[2 * n], rows[2 * n + 1]) for n, row in enumerate(case.answers)], _once(rows))


def median_length(rows: list[Row]) -> Row | None:
    """The answer of median length in words (the shorter of two in the middle; ties by id)."""
    ranked = sorted(rows, key=lambda row: (row["words"], row["answer_id"]))
    return ranked[(len(ranked) - 1) // 2] if ranked else None


def points_of(forth: Row, back: Row) -> float:
    """Of the first answer of `forth` against the anchor, 0 to 2, over both orders."""
    difference = (forth["first_mark"] - forth["second_mark"]) + (back["second_mark"] - back["first_mark"])
    return float(5 + difference / 4) / 5


def _verdict(row: Row, forth: Row, back: Row) -> Verdict:
    for order in (forth, back):
        if order["status"] != "ok":
            return Verdict(row, status=order["status"], reason=order["reason"], generation_id=order["generation_id"])
    return Verdict(row, (points_of(forth, back),), generation_id=forth["generation_id"])


def _once(rows: list[Row]) -> list[Row]:
    """Without the anchor's second comparison with itself, which is the same row."""
    return list({row["comparison_id"]: row for row in rows}.values())
