"""Top-p without sorting the vocabulary: the same tokens in the same shares as by sorting all of it."""

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tasks.engine.nucleus import pick

RANDOM = np.random.default_rng(7)


def distribution(size: int, spread: float) -> npt.NDArray[Any]:
    """As a softmax gives it: float32, of sum 1 but for rounding."""
    weights = np.exp(RANDOM.normal(0.0, spread, size))
    return np.asarray(weights / weights.sum(), dtype=np.float32)


def kept_by_sorting(probabilities: npt.NDArray[Any], top_p: float) -> dict[int, float]:
    """As vLLM does it: all sorted upwards, and out goes what holds at most 1 - top_p from there; shares of the rest."""
    order = np.argsort(probabilities, kind="stable")
    left = order[np.cumsum(probabilities[order], dtype=np.float64) > 1 - top_p]
    return {int(token): float(probabilities[token] / probabilities[left].sum()) for token in left}


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.95, 0.999, 1.0])
@pytest.mark.parametrize("spread", [0.1, 2.0, 6.0])
def test_every_kept_token_is_drawn_in_its_share_and_no_other(top_p: float, spread: float) -> None:
    probabilities = distribution(300, spread)
    expected = kept_by_sorting(probabilities, top_p)
    marks = (np.arange(40_000) + 0.5) / 40_000  # evenly, so that shares come out without chance
    drawn = Counter(pick(probabilities, top_p, mark) for mark in marks)
    assert set(drawn) <= set(expected)
    for token, share in expected.items():
        assert drawn[token] / len(marks) == pytest.approx(share, abs=1e-4)


def test_the_likeliest_is_always_kept() -> None:
    assert pick(np.array([0.2, 0.5, 0.3], dtype=np.float32), 1e-6, 0.99) == 1


@pytest.mark.parametrize("top_p", [0.9, 1.0])
def test_what_is_masked_out_is_never_drawn_and_the_last_mark_is_a_token(top_p: float) -> None:
    probabilities = np.array([0.0, 0.5, 0.0, 0.5, 0.0], dtype=np.float32)
    assert {pick(probabilities, top_p, mark) for mark in (0.0, 0.3, 0.6, 1 - 2**-53)} == {1, 3}


def test_where_all_are_equal_or_none_is_a_number_a_token_comes_out() -> None:
    assert pick(np.full(10, 0.1, dtype=np.float32), 0.95, 0.5) == 5
    assert pick(np.full(10, np.nan, dtype=np.float32), 0.95, 0.5) == 0
    assert pick(np.full(10, np.nan, dtype=np.float32), 1.0, 0.5) in range(10)
