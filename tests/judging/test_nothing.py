"""Saying nothing earns nothing, whoever judges, and what is said against a fact costs what the settings say."""

import asyncio
import json
from typing import Any

import pytest

from tasks.judging import MODES
from tasks.rate import judged
from tests.judging.samples import RUBRIC, Judge, judge
from tests.judging.test_every_mode import opinionated
from tests.samples import Row, an_answer, config, plan_of, problem

NOTHING = {
    "empty": "", "refusal": "I'm sorry, but I can't help with that.", "lead_in": "Some of the main causes include:",
    "opener": "Let me think about this step by step.",
}  # fmt: skip


def rated(mode: str, engine: Judge, **rating: Any) -> dict[str, Row]:
    plan = plan_of(config(rating={"mode": mode, **rating}, sampling={"judge": {"temperature": 0.5, "max_tokens": 60}}))
    answers = [an_answer(name, final=text, rollout=n) for n, (name, text) in enumerate(NOTHING.items())]
    answers += [an_answer("says", final="Air scatters short waves.", rollout=7)]
    answers += [an_answer("more", final="Air scatters blue light.", rollout=8), an_answer("ref", rollout=-1)]
    rows = asyncio.run(judged(plan, [problem()], answers, [RUBRIC], engine))["ratings"]
    return {row["answer_id"]: row for row in rows}


@pytest.mark.parametrize("mode", MODES)
def test_what_says_nothing_is_worth_nothing_and_is_not_shown_to_the_judge(mode: str) -> None:
    engine = Judge(opinionated)
    rows = rated(mode, engine)
    assert list(rows) == [*NOTHING, "says", "more", "ref"]
    for name in NOTHING:
        assert (rows[name]["score"], rows[name]["status"]) == (0.0, "ok") and "says nothing" in rows[name]["reason"]
    seen = str([vars(request) for request in engine.asked])
    assert "step by step" not in seen and "can't help" not in seen
    assert rows["says"]["score"] is not None


def gained(*nats: float) -> Any:
    """A judge for whom an answer changes each fact's log-probability, four tokens long, by so much a token."""

    def reply(request: Any) -> str:
        told = "<a>" in request.context
        return json.dumps([{"tokens": 4, "logprob": -20.0 + 4 * (gain if told else 0.0)} for gain in nats])

    return reply


def test_told_and_against_are_two_figures() -> None:
    (verdict,) = judge("likelihood", gained(0.5, -1.0), [an_answer("a", final="<a>")]).verdicts
    assert [(mark["told"], mark["against"]) for mark in verdict.marks or []] == [(0.5, 0.0), (0.0, 1.0)]
    assert verdict.score == pytest.approx(3 * 0.924234 / 4, abs=1e-6)  # weights 3 and 1
    (silent,) = judge("likelihood", gained(-0.5, -1.0), [an_answer("a", final="<a>")]).verdicts
    assert silent.score == 0.0


@pytest.mark.parametrize(("weight", "score"), [(0.0, 0.6931755), (0.5, 0.5027770), (4.0, 0.0)])
def test_what_is_said_against_a_fact_costs_by_its_weight(weight: float, score: float) -> None:
    answers = [an_answer("a", final="<a>")]
    (verdict,) = judge("likelihood", gained(0.5, -1.0), answers, contradiction_weight=weight).verdicts
    assert verdict.score == pytest.approx(score, abs=1e-6)  # (3 · 0.924234 - weight · 1.523188) / 4


class Scorer(Judge):
    scores_prompts = True


def own(logprob: float | None) -> Any:
    """A judge who also says how likely an answer is by itself."""
    told = json.dumps([{"tokens": 8, "logprob": logprob}])
    return lambda request: told if getattr(request, "field", "") == "own" else opinionated(request)


def test_the_zero_line_stands_beside_each_score_and_costs_no_score_where_it_cannot_be_had() -> None:
    rows = rated("pointwise", Scorer(own(-16.0)))
    assert (rows["says"]["own_likelihood"], rows["says"]["own_tokens"]) == (-2.0, 8)
    assert rows["empty"]["own_likelihood"] is None
    for engine in (Judge(own(-16.0)), Scorer(own(None))):
        row = rated("pointwise", engine)["says"]
        assert row["own_likelihood"] is None and row["score"] is not None
    assert rated("pointwise", Scorer(own(-16.0)), own_likelihood=False)["says"]["own_likelihood"] is None
