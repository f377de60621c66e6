"""Modes that rate an answer alone (pointwise, logprob, likelihood): a score in [0, 2] by the rule, or none."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.judging.likelihood import copied
from tasks.judging.logprob import digit_shares, expected
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
    shares = digit_shares(nats(d2=0.5, _2=0.1, d1=0.3, d0=0.1))
    assert shares == pytest.approx((0.1, 0.3, 0.6))
    assert expected(shares or ()) == pytest.approx(1.5)


def test_other_tokens_are_divided_out_unless_a_digit_may_hide_behind_them() -> None:
    assert digit_shares([("No", -0.1), *nats(d0=0.02, d1=0.02, d2=0.02)]) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    others = [(f"w{n}", math.log(0.03)) for n in range(18)]
    assert digit_shares([*others, *nats(d0=0.05, d1=0.05)]) is None  # "2" may be as likely as the last word listed
    assert digit_shares([*[(w, math.log(1e-5)) for w, _ in others], *nats(d0=0.5, d1=0.4)]) is not None


@pytest.mark.parametrize("said", [[], [("No", -0.1)], [("2", math.nan)], [("2", math.inf)], [("2", 0.7)]])
def test_what_tells_nothing_of_the_digits_is_no_rating(said: list[tuple[str, float]]) -> None:
    assert digit_shares(said) is None
    text = json.dumps({"choice": "2", "logprobs": said})
    (verdict,) = judge("logprob", lambda _: text, answers_of("a")).verdicts
    assert (verdict.status, verdict.score) == ("malformed", None)


@few
@given(st.lists(st.tuples(st.sampled_from(["0", " 1", "2", "▁2", "x"]), st.floats(-30, 0)), max_size=20))
def test_an_expected_rating_lies_within_0_and_2(said: list[tuple[str, float]]) -> None:
    shares = digit_shares(said)
    assert shares is None or (0 <= expected(shares) <= 2 and sum(shares) == pytest.approx(1))


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
    assert verdict.score == pytest.approx(2 / (1 + math.exp(-2)))  # a nat a token, scale 0.5
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
    assert (verdict.status, verdict.score) == ("ok", 1.0)
    assert [mark["rating"] for mark in verdict.marks or []] == [None, 1.0]
