"""Intervals of 95 %: Student's for paired differences, bootstrap over problems, Wilson's for shares, and the
length-controlled win rate."""

import math
import random
from collections.abc import Callable, Sequence
from statistics import NormalDist, fmean, stdev
from typing import TypeVar

from tasks.models.student import t_quantile

T = TypeVar("T")
HIGH = 0.975
Z = 1.959963984540054
_NEWTON_STEPS = 25
_RIDGE = 1e-2  # keeps the slope finite where all wins are on one side


def bootstrap(
    items: Sequence[T], statistic: Callable[[Sequence[T]], float | None], samples: int, seed: int
) -> tuple[float | None, float | None]:  # fmt: skip
    """Percentile interval of `statistic` over resampled items; (None, None) for fewer than two.

    What is resampled must be what was drawn: problems, not answers. The same seed gives the same interval. Resamples
    vary by (n - 1) / n of what samples do and have no longer tails for a small n, so the percentiles lie as much
    further out as Student's t does: Hesterberg's expanded interval (arXiv 1411.5279, section 4.2).
    """
    if len(items) < 2:
        return None, None
    draw = random.Random(seed)
    drawn = (statistic(draw.choices(items, k=len(items))) for _ in range(samples))
    values = sorted(value for value in drawn if value is not None)
    if not values:
        return None, None
    below = NormalDist().cdf(-math.sqrt(len(items) / (len(items) - 1)) * t_quantile(HIGH, len(items) - 1))
    return _quantile(values, below), _quantile(values, 1 - below)


def _quantile(values: Sequence[float], share: float) -> float:
    """By linear interpolation between the neighbours; `values` are sorted."""
    at = share * (len(values) - 1)
    low = math.floor(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (at - low)


def mean_interval(values: Sequence[float], samples: int, seed: int) -> tuple[float | None, float | None, float | None]:
    """Mean and its interval; all None where there is no value."""
    if not values:
        return None, None, None
    return (fmean(values), *bootstrap(values, fmean, samples, seed))


def difference_interval(gaps: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """Mean of paired differences, one a problem, and Student's interval of it; all None where there is none.

    Of candidates that are their parent, by real scores, it promotes 2.5 % or fewer at any number of problems
    (`benchmarks/gate.py`), and the bootstrap above 3 %.
    """
    if len(gaps) < 2:
        return (gaps[0] if gaps else None), None, None
    mean, half = fmean(gaps), t_quantile(HIGH, len(gaps) - 1) * stdev(gaps) / math.sqrt(len(gaps))
    return mean, mean - half, mean + half


def wilson(hits: float, n: int) -> tuple[float | None, float | None, float | None]:
    """A share and Wilson's interval of it; all None for n = 0."""
    if n == 0:
        return None, None, None
    share, spread = hits / n, Z * Z / n
    middle = (share + spread / 2) / (1 + spread)
    half = Z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return share, max(0.0, middle - half), min(1.0, middle + half)


def length_controlled(games: Sequence[tuple[float, float]]) -> float | None:
    """Win rate at equal length: σ(a) of the logistic fit  win ~ σ(a + b·tanh(length difference / its deviation)).

    Args:
        games: (win in [0, 1], words of the candidate's answer minus words of the parent's).

    The idea is AlpacaEval 2's (arXiv 2404.04475), with one model pair and no term for the difficulty of a problem.
    """
    if not games:
        return None
    deviation = math.sqrt(fmean(gap * gap for _, gap in games))
    if deviation == 0:
        return fmean(win for win, _ in games)
    points = [(win, math.tanh(gap / deviation)) for win, gap in games]
    a = b = 0.0
    for _ in range(_NEWTON_STEPS):
        ga, gb, haa, hab, hbb = _RIDGE * a, _RIDGE * b, _RIDGE, 0.0, _RIDGE
        for win, x in points:
            p = 1 / (1 + math.exp(-max(-30.0, min(30.0, a + b * x))))
            weight = p * (1 - p)
            ga, gb = ga + p - win, gb + (p - win) * x
            haa, hab, hbb = haa + weight, hab + weight * x, hbb + weight * x * x
        determinant = haa * hbb - hab * hab
        da, db = (hbb * ga - hab * gb) / determinant, (haa * gb - hab * ga) / determinant
        a, b = a - da, b - db
        if abs(da) + abs(db) < 1e-9:
            break
    return 1 / (1 + math.exp(-a))
