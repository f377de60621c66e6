"""Student's t distribution, for whole degrees of freedom."""

import math
from functools import lru_cache
from statistics import NormalDist

_AS_NORMAL = 2000  # from so many degrees of freedom on, the two differ by less than 0.001
_HALVINGS = 60


def between(t: float, freedom: int) -> float:
    """The probability of a value between -t and t: Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for step in range(1 + odd, freedom, 2):
        total += term
        term *= cosine * cosine * step / (step + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


@lru_cache(maxsize=4096)
def t_quantile(share: float, freedom: int) -> float:
    """The value that a share of the distribution (one half or more) lies below."""
    if freedom >= _AS_NORMAL:
        return NormalDist().inv_cdf(share)
    low, high = 0.0, 1.0
    while between(high, freedom) < 2 * share - 1:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if between(middle, freedom) < 2 * share - 1 else (low, middle)
    return (low + high) / 2
