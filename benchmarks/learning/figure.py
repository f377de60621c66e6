"""A figure with its interval, and that of several seeds together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval over problems."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def pooled(figures: Sequence[Figure]) -> Figure:
    """The figure of all problems of several seeds, each with documents of its own, so that errors are independent.

    Means are weighted by problems, half widths by the root of their squares. It says how sure the mean of *these*
    trainings is; how much another seed would differ is seen in the lines of the seeds.
    """
    total = sum(one.n for one in figures)
    value = sum(one.n * one.value for one in figures) / total
    half = math.sqrt(sum((one.n * (one.high - one.low) / 2) ** 2 for one in figures)) / total
    return Figure(value, value - half, value + half, total)
