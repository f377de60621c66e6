"""The rating modes: what a judge says becomes a score in [0, 2] by the rule of its docstring, or no score at all."""

import asyncio
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.asking.asker import Asker
from tasks.engine.protocol import Budget, Choice, Generation, Likelihood, Message, Request
from tasks.judging import MODES
from tasks.judging.anchor import median_length
from tasks.judging.case import Case, Judgement, Row
from tasks.judging.likelihood import copied
from tasks.judging.logprob import digit_shares, expected
from tasks.judging.pairwise import balanced
from tests.samples import an_answer, config, plan_of

few = settings(max_examples=60, deadline=None)
CRITERIA = [
    {"name": "Cause", "gold": "Air scatters short waves most.", "description": "d", "weight": 3.0},
    {"name": "Treatment", "gold": "There is none to be had.", "description": "d", "weight": 1.0},
]
RUBRIC = {"rubric_id": "r", "problem_id": "p0", "criteria": CRITERIA, "status": "ok"}
Reply = Callable[[Any], str]


class Judge:
    """An engine that says what a function of the request says."""

    model = "judge"

    def __init__(self, reply: Reply) -> None:
        self.reply, self.asked = reply, list[Any]()

    async def _say(self, request: Request | Choice | Likelihood) -> Generation:
        self.asked.append(request)
        text = self.reply(request)
        finish = "length" if text == "CUT" else "stop"
        return Generation(
            request.generation_id(self.model), request.subject_id, "judge", self.model, "", [], "", text, finish, 1, 1, 0.1, 0  # noqa: E501
        )  # fmt: skip

    async def chat(self, request: Request) -> Generation:
        """See `Engine`."""
        return await self._say(request)

    async def choice(self, request: Choice) -> Generation:
        """See `Engine`."""
        return await self._say(request)

    async def likelihood(self, request: Likelihood) -> Generation:
        """See `Engine`."""
        return await self._say(request)

    async def budget(self, messages: Sequence[Message], max_tokens: int) -> Budget:
        """See `Engine`."""
        return Budget(1, 9999)


def judge(mode: str, reply: Reply, answers: list[Row], criteria: list[Row] | None = None, **rating: Any) -> Judgement:
    """What a judge with these replies makes of the answers."""
    words = {"temperature": 0.5, "max_tokens": 60}
    plan = plan_of(config(rating={"mode": mode, **rating}, sampling={"judge": words}, task={"max_attempts": 1}))
    case = Case("Why is the sky blue?", RUBRIC | {"criteria": criteria or CRITERIA}, answers)
    return asyncio.run(MODES[mode](Asker(plan, "rate", Judge(reply)), case))


def scores(judgement: Judgement) -> dict[str, float | None]:
    """Answer to score."""
    return {verdict.answer["answer_id"]: verdict.score for verdict in judgement.verdicts}


def answers_of(*names: str) -> list[Row]:
    """Answers, each a word long more than the one before; `ref` is the reference."""
    return [
        an_answer(name, words=50 + n, rollout=-1 if name == "ref" else n, final=f"<{name}>")
        for n, name in enumerate(names)
    ]


def sheet(*ratings: Any) -> str:
    """A mark sheet in the rubric's order."""
    marks = [{"name": c["name"], "thoughts": "", "rating": r} for c, r in zip(CRITERIA, ratings, strict=False)]
    return json.dumps({"marks": marks})


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


def nats(**shares: float) -> list[tuple[str, float]]:
    """Log-probabilities of tokens; `_2` is the token ` 2`."""
    return [(token.replace("_", " ").replace("d", ""), math.log(share)) for token, share in shares.items()]


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


# Pairwise


def shown(request: Any) -> tuple[str, str]:
    """The names of the first and the second answer in a comparison's prompt."""
    prompt = request.messages[0]["content"]
    names = sorted((prompt.rindex(f"<{name}>"), name) for name in ("a", "b", "c", "ref") if f"<{name}>" in prompt)
    return names[0][1], names[-1][1]


def duel(better: dict[tuple[str, str], str]) -> Reply:
    """A judge who says of (first, second) which is better."""
    return lambda request: json.dumps({"thoughts": "", "better": better.get(shown(request), "tie")})


A_BEATS_B: dict[tuple[str, str], str] = {("a", "b"): "first", ("b", "a"): "second"}


def test_the_example_of_pairwise() -> None:
    prefers_first = {("a", "c"): "first", ("c", "a"): "first"}
    found = judge("pairwise", duel(A_BEATS_B | prefers_first), answers_of("a", "b", "c"))
    assert scores(found) == {"a": 1.5, "b": 0.5, "c": 1.0}
    assert len(found.comparisons) == 6
    marks = {(row["first_answer_id"], row["second_answer_id"]): row["first_mark"] for row in found.comparisons}
    assert (marks["a", "b"], marks["b", "a"], marks["b", "c"]) == (2.0, 0.0, 1.0)


def test_an_order_that_is_malformed_invalidates_that_comparison_only() -> None:
    good = duel(A_BEATS_B)
    found = judge("pairwise", lambda r: "?" if shown(r) == ("a", "c") else good(r), answers_of("a", "b", "c"))
    assert scores(found) == {"a": 2.0, "b": 0.5, "c": 1.0}  # a: b alone; c: b alone
    assert Counter(row["status"] for row in found.comparisons) == {"ok": 5, "malformed": 1}
    (lonely, other) = judge("pairwise", lambda _: "?", answers_of("a", "b")).verdicts
    assert (lonely.status, lonely.score, other.score) == ("malformed", None, None)


def test_a_reference_takes_no_points_from_the_answers() -> None:
    always_ref = {(x, "ref"): "second" for x in "ab"} | {("ref", x): "first" for x in "ab"}
    found = judge("pairwise", duel(A_BEATS_B | always_ref), answers_of("ref", "a", "b"))
    assert scores(found) == {"ref": 2.0, "a": 2.0, "b": 0.0}


@given(st.integers(2, 24), st.none() | st.integers(1, 60))
def test_a_bounded_sample_of_comparisons_is_balanced(count: int, most: int | None) -> None:
    rows: list[Row] = [{"answer_id": n} for n in range(count)]
    couples = [frozenset((a["answer_id"], b["answer_id"])) for a, b in balanced(rows, most)]
    assert len(set(couples)) == len(couples) == min(most or 9999, count * (count - 1) // 2)
    part = Counter(answer for couple in couples for answer in couple)
    if most is None:
        assert set(couples) == {frozenset(two) for two in combinations(range(count), 2)}
    assert max(part.values()) - min(part[n] for n in range(count)) <= 2


# Anchor


def test_the_example_of_anchor() -> None:
    answers = answers_of("a", "b", "c")
    assert median_length(answers) is answers[1]
    said = {("a", "b"): (8, 5), ("b", "a"): (6, 7), ("c", "b"): (0, 10), ("b", "c"): (10, 0)}

    def reply(request: Any) -> str:
        first, second = said.get(shown(request), (9, 2))  # the anchor beside itself: a judge that likes the first
        return json.dumps({"thoughts": "", "first_mark": first, "second_mark": second})

    assert scores(judge("anchor", reply, answers)) == {"a": pytest.approx(1.2), "b": 1.0, "c": 0.0}
    found = judge("anchor", lambda r: "CUT" if shown(r) == ("b", "a") else reply(r), answers)
    assert scores(found) == {"a": None, "b": 1.0, "c": 0.0}
    assert [verdict.status for verdict in found.verdicts] == ["truncated", "ok", "ok"]


# All of them


def opinionated(request: Any) -> str:
    """A judge whose opinion depends on what it is shown alone, in the form it is asked for."""
    lot = random.Random(json.dumps(list(map(str, vars(request).values()))[3:])).random
    if isinstance(request, Likelihood):
        return json.dumps(
            [{"tokens": 4, "logprob": -9 * random.Random(t + request.context).random()} for t in request.targets]
        )
    if isinstance(request, Choice):
        return json.dumps(
            {"choice": "1", "logprobs": [("0", math.log(0.1 + lot() / 9)), ("2", math.log(0.1 + lot() / 9))]}
        )
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
