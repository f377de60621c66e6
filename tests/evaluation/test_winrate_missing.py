"""Win rate: what is missing loses, and a judge that cannot tell says nothing."""

from typing import Any

import pytest

from tasks.answer import CUT, ended
from tasks.evaluation.shares import Marks, marks_of
from tasks.evaluation.winrate import Match, by_score, cannot_tell, compared_share, games_of, match_of
from tests.samples import Row

PROBLEMS = [{"problem_id": "p", "problem": "Why?"}]
RUBRIC = {"problem_id": "p", "rubric_id": "r", "criteria": []}


def answer(name: str, words: int = 50) -> Row:
    return {"answer_id": name, "words": words, "problem_id": "p"}


def match(ours: set[int], theirs: set[int]) -> Match:
    """Rollouts that each of the two has answered."""
    return match_of(
        RUBRIC, PROBLEMS, {("p", n): answer(f"a{n}", 60) for n in ours}, {("p", n): answer(f"b{n}") for n in theirs}
    )


def shown(rollout: int, forth: tuple[float, float], back: tuple[float, float], status: str = "ok") -> list[Row]:
    """Both orders of a couple, with the marks of the first and of the second that was shown."""
    a, b = f"a{rollout}", f"b{rollout}"
    orders = ((a, b, forth), (b, a, back))
    return [{"first_answer_id": x, "second_answer_id": y, "first_mark": m[0], "second_mark": m[1], "status": status}
            for x, y, m in orders]  # fmt: skip


WIN, LOSS = ((2.0, 0.0), (0.0, 2.0)), ((0.0, 2.0), (2.0, 0.0))
FIRST, TIE = ((2.0, 0.0), (2.0, 0.0)), ((1.0, 1.0), (1.0, 1.0))


def test_no_answer_loses_to_an_answer_and_where_both_are_missing_there_is_no_comparison() -> None:
    assert games_of([], [match(set(), {0, 1})]) == [(0.0, 0.0)]
    assert games_of([], [match({0}, set())]) == [(1.0, 0.0)]
    assert games_of([], [match(set(), set())]) == []
    assert games_of(shown(0, *WIN), [match({0}, {0, 1})]) == [(0.5, 5.0)]


def test_a_comparison_that_cannot_be_read_is_left_out_and_lost_in_the_worst_case() -> None:
    rows, matches = shown(0, *WIN) + shown(1, *WIN, status="malformed"), [match({0, 1}, {0, 1})]
    assert [games_of(rows, matches, unread)[0][0] for unread in (None, 0.0, 1.0)] == [1.0, 0.5, 1.0]
    assert compared_share(rows, matches)[0] == 0.5


@pytest.mark.parametrize(
    ("told", "others", "says"),
    [(0, FIRST, "in 0 ("), (0, TIE, "in 0 ("), (2, FIRST, "in 2 ("), (3, FIRST, None), (20, FIRST, None)],
)
def test_a_judge_that_names_a_position_or_ties_almost_always_cannot_tell(
    told: int, others: Any, says: str | None
) -> None:
    rollouts = set(range(20))
    rows = [row for n in rollouts for row in shown(n, *(WIN if n < told else others))]
    why = cannot_tell(rows, [match(rollouts, rollouts)])
    assert (why is None) if says is None else (says in (why or ""))


def test_a_judge_that_was_not_asked_is_not_called_blind() -> None:
    assert cannot_tell([], [match(set(), {0})]) is None


def test_by_score_no_order_can_sway_and_no_score_loses() -> None:
    ours = Marks({"p": [1.0, 0.5, None, None], "q": [None]}, {})
    theirs = Marks({"p": [0.5, 0.5, 1.0, None], "q": [None]}, {})
    assert by_score(ours, theirs) == [(0.5, 0.0)]  # won, tied, lost; neither; and no game at all


def test_every_answer_that_was_asked_for_is_counted() -> None:
    rows = [
        {"answer_id": "a0", "problem_id": "p", "rollout": 0, "status": "ok", "reason": None},
        {"answer_id": "a1", "problem_id": "p", "rollout": 1, "status": "truncated", "reason": "cut"},
        {"answer_id": "a2", "problem_id": "p", "rollout": 2, "status": "ok", "reason": f"cut at 80 tokens; {CUT}"},
        {"answer_id": "a3", "problem_id": "p", "rollout": 3, "status": "empty", "reason": "nothing is left"},
        {"answer_id": "ref", "problem_id": "p", "rollout": -1, "status": "ok", "reason": None},
    ]
    ratings = [{"answer_id": name, "status": "ok", "score": 1.0} for name in ("a0", "a2", "ref")]
    found = marks_of(PROBLEMS, rows, ratings, 5)  # the fifth has no row at all
    assert found.scores == {"p": [1.0, None, 1.0, None, None]}
    assert found.finished == {"p": [True, False, False, False, False]}
    assert found.shares() == {"finished_share": {"p": 0.2}, "rated_share": {"p": 0.4}}
    assert ended({"status": "refused", "reason": "the model declined to answer"})
