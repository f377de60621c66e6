"""What holds of every rating mode: no order changes a score, and nothing malformed becomes a number."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.protocol import Choice, Likelihood
from tasks.judging import MODES
from tests.judging.samples import CRITERIA, answers_of, few, judge, nats, scores, sheet


def opinionated(request: Any) -> str:
    """A judge whose opinion depends on what it is shown alone, in the form it is asked for."""
    lot = random.Random(json.dumps(list(map(str, vars(request).values()))[3:])).random
    if isinstance(request, Likelihood):
        return json.dumps(
            [{"tokens": 4, "logprob": -9 * random.Random(t + request.context).random()} for t in request.targets]
        )
    if isinstance(request, Choice):
        share = 0.1 + 0.8 * lot()
        return json.dumps({"choice": "1", "logprobs": nats(d0=share, d2=1 - share)})
    if request.field == "comparison":
        marks = {"first_mark": int(lot() * 11), "second_mark": int(lot() * 11)}
        form = request.output[0]
        return json.dumps(
            {"thoughts": ""} | (marks if form == "TwoMarks" else {"better": "first" if lot() < 0.5 else "tie"})
        )
    prompt = request.messages[0]["content"]
    ratings = {c["name"]: random.Random(c["name"] + prompt[prompt.rindex("<answer>") :]).randrange(3) for c in CRITERIA}
    return json.dumps({"marks": [{"name": name, "thoughts": "", "rating": r} for name, r in ratings.items()]})


@pytest.mark.parametrize("mode", MODES)
def test_the_order_of_the_answers_changes_no_score_and_scores_lie_within_0_and_2(mode: str) -> None:
    answers = answers_of("ref", "a", "b", "c")
    before = scores(judge(mode, opinionated, answers))
    assert all(value is not None and 0 <= value <= 2 for value in before.values())
    for seed in range(4):
        shuffled = list(answers)
        random.Random(seed).shuffle(shuffled)
        assert scores(judge(mode, opinionated, shuffled)) == before


@pytest.mark.parametrize("mode", ["pointwise", "likelihood", "logprob"])
def test_the_order_of_the_criteria_changes_no_score(mode: str) -> None:
    def by_criterion(request: Any) -> str:
        if isinstance(request, Choice):
            prompt = request.messages[0]["content"]
            share = 0.9 if "scatters" in prompt else 0.2
            return json.dumps({"choice": "2", "logprobs": nats(d2=share, d0=1 - share)})
        return opinionated(request)

    forth = judge(mode, by_criterion, answers_of("a", "b"), CRITERIA)
    back = judge(mode, by_criterion, answers_of("a", "b"), CRITERIA[::-1])
    assert scores(forth) == pytest.approx(scores(back))


@few
@given(
    st.sampled_from(sorted(MODES)),
    st.text(max_size=60) | st.sampled_from(["CUT", "{}", "[]", "2", sheet(2), sheet(2, 9)]),
)
def test_no_malformed_judgement_ever_becomes_a_number(mode: str, said: str) -> None:
    if mode == "likelihood":
        said = json.dumps([{"tokens": 4, "logprob": None}] * 2)
    elif mode == "logprob":
        said = json.dumps({"choice": said, "logprobs": []})
    for verdict in judge(mode, lambda _: said, answers_of("ref", "a", "b")).verdicts:
        assert verdict.status != "ok"
        assert verdict.reason
        assert verdict.score is verdict.spread is None
