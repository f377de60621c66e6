"""Modes that rate an answer alone (pointwise, logprob, likelihood): a score in [0, 2] by the rule, or none."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.asking.parse import Malformed
from tasks.judging.likelihood import copied
from tasks.judging.logprob import MOST_DOUBT, expected_rating
from tests.judging.samples import CRITERIA, Reply, answers_of, few, judge, nats, scores, sheet

# Pointwise


def test_the_example_of_pointwise() -> None:
    (verdict,) = judge("pointwise", lambda _: sheet(2, 1), answers_of("a")).verdicts
    assert verdict.score == 1.75
    assert verdict.spread is None
    for bad in (
        sheet(2),
        sheet(2, 3),
        sheet(2, True),
        sheet(2, "1"),
        "",
        "CUT",
        sheet(2, 1).replace("Treatment", "Cause"),
    ):
        (verdict,) = judge("pointwise", lambda _, bad=bad: bad, answers_of("a")).verdicts  # type: ignore[misc]
        assert verdict.status != "ok"
        assert (verdict.score, verdict.spread, verdict.marks) == (None, None, None)


def test_several_judgements_are_averaged_over_the_valid_ones_and_their_spread_is_kept() -> None:
    said = {"marks": sheet(2, 1), "marks:1": sheet(1, 2), "marks:2": sheet(2, 0), "marks:3": "not a sheet"}
    (verdict,) = judge("pointwise", lambda request: said[request.field], answers_of("a"), samples=4).verdicts
    assert verdict.scores == (1.75, 1.25, 1.5)
    assert verdict.score == 1.5
    assert verdict.spread == pytest.approx(0.25)
    assert [mark["rating"] for mark in verdict.marks or []] == [5 / 3, 1.0]
    assert verdict.reason == "3 of 4 judgements are valid"


# Logprob


def test_the_example_of_logprob_sums_the_tokens_that_mean_the_same_digit() -> None:
    rating, shares = expected_rating(nats(d2=0.5, _2=0.1, d1=0.3, d0=0.1))
    assert shares == pytest.approx((0.1, 0.3, 0.6))
    assert rating == pytest.approx(1.5)


def test_other_tokens_are_divided_out_unless_a_digit_may_hide_behind_them() -> None:
    assert expected_rating([("No", math.log(0.4)), *nats(d0=0.2, d1=0.2, d2=0.2)])[0] == pytest.approx(1.0)
    others = [(f"w{n}", math.log(0.02)) for n in range(15)]
    with pytest.raises(Malformed, match="not listed"):  # "2" may be as likely as the last word listed
        expected_rating([*others, *nats(d0=0.3, d1=0.3)])
    assert expected_rating([*[(w, math.log(1e-5)) for w, _ in others], *nats(d0=0.5, d1=0.4)])


@pytest.mark.parametrize(
    ("said", "why"),
    [([], "no log-probabilities"), ([("No", -0.1)], "hold 0 of"),
     ([("2", math.nan)], "nan"), ([("2", math.inf)], "inf"),
     ([("2", 0.7)], "0.7"), ([("2", None)], "None"), ([("2", "-1")], "'-1'"), ([("2", True)], "True"),
     ([("2", -0.1), ("1", -0.1)], "add up to 1.81"), ([("2", -1.2)], "hold 0.3 of"), ([("0", -0.673)], "by 0.98"),
     ([("<think>", -1e-4), ("2", -16.1), ("1", -16.4)], "1.8e-07")],
)  # fmt: skip
def test_what_tells_nothing_of_the_digits_is_no_rating(said: list[tuple[str, Any]], why: str) -> None:
    with pytest.raises(Malformed, match=why):
        expected_rating(said)
    text = json.dumps({"choice": "2", "logprobs": said})
    (verdict,) = judge("logprob", lambda _: text, answers_of("a")).verdicts
    assert (verdict.status, verdict.score) == ("malformed", None)


@few
@given(st.lists(st.tuples(st.sampled_from(["0", " 1", "2", "▁2", "x"]), st.floats(-30, 0)), max_size=20))
def test_an_expected_rating_lies_within_0_and_2(said: list[tuple[str, float]]) -> None:
    try:
        rating, shares = expected_rating(said)
    except Malformed:
        return
    assert 0 <= rating <= 2 and sum(shares) == pytest.approx(1)


@few
@given(st.lists(st.floats(0.001, 1), min_size=2, max_size=12), st.data())
def test_no_tokens_that_are_left_out_change_an_expected_rating_by_more_than_the_bound(
    weights: list[float], drawn: st.DataObject
) -> None:
    tokens = ["0", "1", "2", " 0", " 1", " 2", "▁0", "▁1", "▁2", "x", "y", "z"]
    whole = sorted(((token, w / sum(weights)) for token, w in zip(tokens, weights, strict=False)), key=lambda p: -p[1])
    cut = drawn.draw(st.integers(1, len(whole)))
    try:
        rating, _ = expected_rating([(token, math.log(p)) for token, p in whole[:cut]])
    except Malformed:
        return
    meant = [(int(token.strip(" ▁")), p) for token, p in whole if token.strip(" ▁") in "012"]
    truth = sum(digit * p for digit, p in meant) / sum(p for _, p in meant)
    assert abs(rating - truth) <= MOST_DOUBT + 1e-9


# Likelihood


def test_a_fact_that_the_problem_states_does_not_count() -> None:
    problem = "Why does air scatter short waves most, and what is seen?"
    assert copied("Air does scatter short waves most", "Why is it that air does scatter short waves most?")
    assert not copied("A blue sky is seen by all", problem)
    assert copied("air", problem)
    assert not copied("blue", problem)


def test_likelihood_leaves_copied_facts_out_of_every_answers_score() -> None:
    criteria = [*CRITERIA, {"name": "Said", "gold": "Why is the sky blue", "description": "d", "weight": 50.0}]

    def reply(request: Any) -> str:
        assert len(request.targets) == 2
        told = -8.0 if "<a>" in request.context else -12.0
        return json.dumps([{"tokens": 4, "logprob": told}] * 2)

    (verdict,) = judge("likelihood", reply, answers_of("a"), criteria).verdicts
    assert verdict.score == pytest.approx(2 * math.tanh(1))  # a nat a token, scale 0.5
    assert [mark["rating"] is None for mark in verdict.marks or []] == [False, False, True]
    assert scores(judge("likelihood", reply, answers_of("a"), criteria[2:])) == {"a": None}


def test_an_answer_whose_log_probability_is_missing_is_malformed_and_a_lost_baseline_costs_the_criterion() -> None:
    def lost(where: str) -> Reply:
        def reply(request: Any) -> str:
            missing = where == ("answer" if "<a>" in request.context else "baseline")
            return json.dumps([{"tokens": 4, "logprob": None if missing else -8.0}, {"tokens": 4, "logprob": -8.0}])

        return reply

    (verdict,) = judge("likelihood", lost("answer"), answers_of("a")).verdicts
    assert (verdict.status, verdict.score) == ("malformed", None)
    (verdict,) = judge("likelihood", lost("baseline"), answers_of("a")).verdicts
    assert (verdict.status, verdict.score) == ("ok", 0.0)
    assert [mark["rating"] for mark in verdict.marks or []] == [None, 0.0]
