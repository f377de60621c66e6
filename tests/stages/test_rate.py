"""Scores and likelihood ratings, worked out by hand; what could not be rated has no score, and never a zero."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.engine.scores import target_logprob
from tasks.judging.case import rubric_text, score
from tasks.judging.likelihood import gains_of, rating_of
from tasks.pair import pair
from tests.samples import Row, an_answer, config, plan_of, problem

few = settings(max_examples=80, deadline=None)
WEIGHTS = st.floats(min_value=1e-6, max_value=100)
MARKED = st.lists(st.tuples(WEIGHTS, st.none() | st.floats(min_value=0, max_value=2)), min_size=1, max_size=10)

# Ten answers, three criteria of weight 3, 2 and 1 (sum 6); the score is the weighted mean.
CRITERIA = [{"name": n, "gold": "g", "description": "d", "weight": w} for n, w in (("A", 3.0), ("B", 2.0), ("C", 1.0))]
EXAMPLE = [  # ratings A B C, words, 6 times the score
    ((2, 2, 2), 200, 12),  # 3*2 + 2*2 + 1*2
    ((2, 2, 0), 120, 10),  # 3*2 + 2*2 + 0
    ((2, 1, 1), 80, 9),
    ((2, 0, 2), 60, 8),
    ((1, 2, 1), 70, 8),
    ((1, 1, 1), 50, 6),
    ((1, 0, 2), 40, 5),
    ((0, 2, 0), 100, 4),
    ((0, 1, 1), 90, 3),
    ((0, 0, 1), 30, 1),
]


def marks(*ratings: float | None) -> list[Row]:
    """Marks of the criteria A, B, C, …"""
    return [{"name": "ABCDEFGHIJ"[n], "rating": r, "thoughts": ""} for n, r in enumerate(ratings)]


def test_ten_answers_and_three_criteria_worked_out_by_hand() -> None:
    scores = [score(marks(*ratings), CRITERIA) for ratings, _, _ in EXAMPLE]
    assert scores == [sixths / 6 for _, _, sixths in EXAMPLE]
    plan = plan_of(config(pairing={"max_length_gap_words": 100}))
    answers = [an_answer(f"a{n}", words, n) for n, (_, words, _) in enumerate(EXAMPLE)]
    ratings = [{"answer_id": f"a{n}", "status": "ok", "score": value} for n, value in enumerate(scores)]
    rubrics = [{"problem_id": "p0", "status": "ok"}]
    (row,) = pair(plan, [problem()], answers, rubrics, ratings)
    # a0 (2) against a9 (1/6) is widest, but 200 and 30 words are too far apart. Next come, both with 9/6 = 1.5,
    # a0 - a8 (2 - 3/6, 110 words apart) and a1 - a9 (10/6 - 1/6, 90 words apart): only the latter are near enough.
    assert (row["chosen_answer_id"], row["rejected_answer_id"], row["status"]) == ("a1", "a9", "ok")
    assert (row["chosen_score"], row["rejected_score"], row["margin"]) == (10 / 6, 1 / 6, 1.5)


def test_a_score_is_over_the_criteria_that_could_be_rated() -> None:
    assert score(marks(2, None, 0), CRITERIA) == 6 / 4  # B counts neither as 0 nor in the sum of weights
    assert score(marks(None, None, 1), CRITERIA) == 1.0


def test_an_answer_of_which_nothing_could_be_rated_has_no_score() -> None:
    assert score(marks(None, None, None), CRITERIA) is None


@few
@given(MARKED, st.randoms(use_true_random=False))
def test_a_score_lies_within_0_and_2_and_the_order_of_criteria_does_not_matter(
    marked: list[tuple[float, float | None]], shuffle: Any
) -> None:
    criteria = [{"name": "ABCDEFGHIJ"[n], "weight": weight} for n, (weight, _) in enumerate(marked)]
    rated = marks(*(rating for _, rating in marked))
    value = score(rated, criteria)
    assert (value is None) == all(rating is None for _, rating in marked)
    if value is not None:
        known = [rating for _, rating in marked if rating is not None]
        assert 0 <= value <= 2
        assert min(known) - 1e-9 <= value <= max(known) + 1e-9
    shuffle.shuffle(criteria)
    shuffle.shuffle(rated)
    assert score(rated, criteria) == value


# Likelihood


def scored(*logprobs: float | None, tokens: int = 4) -> str:
    """What `Engine.likelihood` completes: a sum of log-probabilities a fact."""
    return json.dumps([{"tokens": tokens, "logprob": value} for value in logprobs])


def test_gains_are_nats_a_token() -> None:
    # 4 tokens: from -12 to -8 nats is one nat a token; from -6 to -8 is half a nat lost
    assert gains_of(scored(-8.0, -8.0), scored(-12.0, -6.0)) == [1.0, -0.5]


def test_ratings_from_gains_by_hand() -> None:
    # 2·tanh(told / (2 · 0.5)): tanh(1/2) = 0.462117, tanh(1) = 0.761594; what is not told is worth nothing
    for gain, rating in ((0.0, 0.0), (0.5, 0.924234), (1.0, 1.523188), (-1.0, 0.0)):
        assert rating_of(gain, 0.5) == pytest.approx(rating, abs=1e-6)
    assert rating_of(1.0, 1.0) == pytest.approx(0.924234, abs=1e-6)


@few
@given(st.floats(-5, 5), st.floats(1e-3, 5), st.floats(0.2, 5))
def test_a_greater_gain_is_a_greater_rating(gain: float, more: float, scale: float) -> None:
    low, high = rating_of(gain, scale), rating_of(gain + more, scale)
    assert low is not None
    assert high is not None
    assert 0 <= low <= high <= 2
    assert low < high or gain + more <= 0 or high > 1.999


@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(1e-9, 1e9))
def test_no_gain_makes_a_rating_out_of_bounds(gain: float, scale: float) -> None:
    rating = rating_of(gain, scale)
    assert rating is None if math.isnan(gain) else rating is not None and 0 <= rating <= 2


@pytest.mark.parametrize("missing", [None, math.nan, math.inf, -math.inf])
def test_what_the_server_did_not_tell_is_no_gain(missing: float | None) -> None:
    assert gains_of(scored(missing, -8.0), scored(-12.0, -12.0)) == [None, 1.0]
    assert gains_of(scored(-8.0, -8.0), scored(missing, -12.0)) == [None, 1.0]
    assert rating_of(None, 0.5) is None


def position(token: int, logprob: object) -> Row:
    """An entry of vLLM's prompt_logprobs."""
    return {str(token): {"logprob": logprob, "rank": 1}, "999": {"logprob": -0.1, "rank": 2}}


def test_the_facts_tokens_are_summed_and_no_others() -> None:
    prompt = [None, position(1, -9.0), position(7, -1.0), position(8, -0.5)]
    assert target_logprob({"prompt_logprobs": prompt}, [7, 8])[0] == -1.5


@pytest.mark.parametrize(
    "prompt",
    [None, [], [position(8, -0.5)], [position(7, None), position(8, -0.5)], [position(7, math.nan), position(8, -0.5)],
     [position(6, -1.0), position(8, -0.5)], [None, position(8, -0.5)], [position(7, -1.0), position(8, -math.inf)]],
    ids=range(8),
)  # fmt: skip
def test_a_fact_with_a_token_missing_has_no_log_probability(prompt: list[Row | None] | None) -> None:
    assert target_logprob({"prompt_logprobs": prompt}, [7, 8])[0] is None


def test_a_fact_of_no_tokens_has_no_log_probability() -> None:
    assert target_logprob({"prompt_logprobs": [None]}, [])[0] is None


def test_the_judge_reads_names_weights_and_facts() -> None:
    assert rubric_text(CRITERIA[:1]) == "- A (weight 3)\n  d\n  A good answer has: g"
