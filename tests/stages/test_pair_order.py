"""The pairs of a problem come widest first, as a full sort would give them, though they are not all sorted."""

import random
from itertools import combinations, islice

import pytest

from tasks.judging.pairs import Rated, by_margin


def answers(count: int, marks: int, seed: int) -> list[Rated]:
    """Answers whose scores are a few marks, so that many are equal."""
    draw = random.Random(seed)
    return [Rated(f"a{draw.random()}", "", draw.randrange(9), draw.randrange(marks) / 7) for _ in range(count)]


@pytest.mark.parametrize("count", [2, 3, 12, 33])
@pytest.mark.parametrize("marks", [1, 2, 5, 1000])
def test_widest_first_then_by_length_gap_and_id(count: int, marks: int) -> None:
    rated = answers(count, marks, count * marks)
    ranked = sorted(rated, key=lambda a: (-a.score, a.answer_id))

    def order(two: tuple[Rated, Rated]) -> tuple[float, int, str, str]:
        return two[1].score - two[0].score, abs(two[0].words - two[1].words), two[0].answer_id, two[1].answer_id

    assert list(by_margin(rated)) == sorted(combinations(ranked, 2), key=order)


def test_the_widest_of_many_costs_no_sort_of_all() -> None:
    compared = 0

    class Score(float):
        def __sub__(self, other: float) -> float:
            nonlocal compared
            compared += 1
            return float(self) - float(other)

    rated = [Rated(f"a{n}", "", 1, Score(n)) for n in range(200)]
    assert next(islice(by_margin(rated), 1))[0].answer_id == "a199"
    assert compared <= 2 * len(rated)  # and not 19,900
