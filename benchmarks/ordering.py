"""How a score orders answers, beside a measure that asks no model: rank correlation inside a problem, and what is left
of it beyond the zero line (the answer's own likelihood and its length).

The same figures as in the view `judges`, which says how they are defined; here for scores that are in no table. Ranks
are taken inside each problem, centred, and divided by its number of answers. `beyond` is the correlation of what a
linear fit on the ranks of own likelihood and length leaves of both. Each interval is that of problems drawn anew: the
correlation's influence function, summed up by problem (the linearised cluster bootstrap).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean

Column = list[float]


@dataclass(frozen=True)
class Graded:
    """A scored answer.

    Attributes:
        grounded: share of its words that stand in the document.
        own: its own likelihood, nats a token; None where it is not known.
    """

    problem_id: str
    score: float
    grounded: float
    own: float | None
    words: int
    reference: bool = False


@dataclass(frozen=True)
class Ordering:
    """What a score's order is worth; `_pm` is half the width of the 95 % interval, `agree_all` counts the reference."""

    problems: int
    answers: int
    correlation: float | None = None
    correlation_pm: float | None = None
    beyond: float | None = None
    beyond_pm: float | None = None
    agree: float | None = None
    agree_all: float | None = None
    reference_above: float | None = None


def ordering(graded: Sequence[Graded]) -> Ordering:
    """The figures of a score."""
    problems = [list(rows) for _, rows in groupby(sorted(graded, key=lambda g: g.problem_id), lambda g: g.problem_id)]
    where = [n for n, rows in enumerate(problems) for _ in rows]
    columns = [
        [value for rows in problems for value in ranks([pick(row) for row in rows])]
        for pick in (_score, _grounded, _own, _words)
    ]
    score, grounded, own, words = columns
    plain = _correlation(score, grounded, where)
    left = _residual(score, own, words), _residual(grounded, own, words)
    nothing = math.fsum(e * e for e in left[0]) <= 1e-12 * math.fsum(s * s for s in score)
    beyond = (0.0, 0.0) if nothing else _correlation(*left, where)
    return Ordering(
        len(problems), len(graded), *plain, *beyond, _agree(problems), _agree(problems, True), _above(problems)
    )


def _score(row: Graded) -> float | None:
    return row.score


def _grounded(row: Graded) -> float | None:
    return row.grounded


def _own(row: Graded) -> float | None:
    return row.own


def _words(row: Graded) -> float | None:
    return float(row.words)


def ranks(values: Sequence[float | None]) -> Column:
    """Centred mean ranks over their number; 0 for what is not known."""
    known = [value for value in values if value is not None]
    n = len(values)

    def rank(value: float) -> float:
        below, same = sum(other < value for other in known), sum(other == value for other in known)
        return (below + (same + 1) / 2 - (n + 1) / 2) / n

    return [0.0 if value is None else rank(value) for value in values]


def _residual(column: Column, first: Column, second: Column) -> Column:
    """What a linear fit on two columns leaves of one; on the first alone where the two are one."""
    aa, bb, ab = _dot(first, first), _dot(second, second), _dot(first, second)
    ca, cb, det = _dot(column, first), _dot(column, second), aa * bb - ab * ab
    if det > 1e-9 * (aa * bb + 1e-12):
        slopes = (ca * bb - cb * ab) / det, (cb * aa - ca * ab) / det
    else:
        slopes = (ca / aa, 0.0) if aa > 0 else (0.0, cb / bb if bb > 0 else 0.0)
    return [c - slopes[0] * a - slopes[1] * b for c, a, b in zip(column, first, second, strict=True)]


def _dot(one: Column, other: Column) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


def _correlation(one: Column, other: Column, where: list[int]) -> tuple[float | None, float | None]:
    """Correlation about 0, and 1.96 of its standard errors over problems drawn anew."""
    n = len(one)
    a, b = math.sqrt(_dot(one, one) / max(n, 1)), math.sqrt(_dot(other, other) / max(n, 1))
    if not a or not b:
        return None, None
    r = _dot(one, other) / n / (a * b)
    sums: dict[int, float] = {}
    for x, y, problem in zip(one, other, where, strict=True):
        influence = x * y / (a * b) - r * ((x / a) ** 2 + (y / b) ** 2) / 2
        sums[problem] = sums.get(problem, 0.0) + influence
    if len(sums) < 2:
        return r, None
    return r, 1.96 * math.sqrt(math.fsum(u * u for u in sums.values()) * len(sums) / (len(sums) - 1)) / n


def _agree(problems: list[list[Graded]], reference: bool = False) -> float | None:
    won = []
    for problem in problems:
        rows = [row for row in problem if reference or not row.reference]
        if rows and max(row.score for row in rows) > min(row.score for row in rows):
            best, worst = max(rows, key=lambda row: row.score), min(rows, key=lambda row: row.score)
            won.append(1.0 if best.grounded > worst.grounded else 0.5 if best.grounded == worst.grounded else 0.0)
    return fmean(won) if won else None


def _above(problems: list[list[Graded]]) -> float | None:
    won = []
    for rows in problems:
        known, blind = [r.score for r in rows if r.reference], [r.score for r in rows if not r.reference]
        if known and blind:
            won.append(float(max(known) > fmean(blind)))
    return fmean(won) if won else None
