"""Controls of the pairs: the same problems, as many pairs, and another order or measure than the judge's word."""

import pytest

from schemas.errors import UserError
from tasks.pair import pair
from tasks.staging.plan import make_plan
from tests.samples import Row, an_answer, config, plan_of, problem

NAMES = "abcdef"
OWN = {"sampling": {"own_likelihood": True}}


def pairs_of(control: str, problems: int = 200, lacks: str = "", **pairing: object) -> list[Row]:
    """Of six answers with scores 0 to 5/3; `d` is the likeliest, `c` the longest; problem 0 is a tie."""
    settings = config(OWN, pairing={"control": control, "min_margin": 0.5, **pairing})
    found: list[Row] = []
    for n in range(problems):
        answers = [
            an_answer(name, rollout=at)
            | {"problem_id": f"p{n}", "final": f"text {name}", "words": 10 + 5 * (name == "c")}
            | {"own_logprob": None if name == lacks else -1.0 * abs(at - 3) - 0.1}
            for at, name in enumerate(NAMES)
        ]  # fmt: skip
        ratings = [{"answer_id": name, "score": at / 3 if n else 1.0, "status": "ok"} for at, name in enumerate(NAMES)]
        rubrics = [{"problem_id": f"p{n}", "status": "ok"}]
        found += pair(plan_of(settings), [problem(n)], answers, rubrics, ratings)
    return found


def chosen(rows: list[Row]) -> list[str]:
    return [f"{row['chosen_answer_id']}{row['rejected_answer_id']}" for row in rows if row["status"] == "ok"]


def test_a_reversed_pair_is_the_judges_own_the_other_way_round() -> None:
    assert chosen(pairs_of("none", 3)) == ["fa", "fa"]
    rows = pairs_of("reversed", 3)
    assert chosen(rows) == ["af", "af"]
    assert [row["margin"] for row in rows[1:]] == pytest.approx([-5 / 3] * 2)  # the scores stay the judge's


def test_a_share_of_the_pairs_is_flipped_and_a_larger_share_holds_the_smaller_one() -> None:
    turned = {}
    for share in (0.0, 0.12, 0.25, 0.5, 1.0):
        rows = pairs_of("flipped", flipped_share=share)
        turned[share] = {row["problem_id"] for row in rows if row["status"] == "ok" and row["margin"] < 0}
        assert len(turned[share]) / 199 == pytest.approx(share, abs=0.08)
    assert turned[0.0] < turned[0.12] < turned[0.25] < turned[0.5] < turned[1.0]


def test_pairs_by_own_likelihood_or_length_are_of_the_problems_that_the_judge_has_pairs_of() -> None:
    likely, longest = pairs_of("own_likelihood", 3), pairs_of("length", 3)
    assert [row["status"] for row in likely] == [row["status"] for row in pairs_of("none", 3)] == ["tie", "ok", "ok"]
    assert chosen(likely) == ["da", "da"] and set(chosen(longest)) == {"ca"}
    assert likely[1]["margin"] == pytest.approx(1.0)  # by the judge's scores: how often it would agree
    assert pairs_of("length", 3, max_length_gap_words=2)[1]["status"] == "length_gap"


def test_bounds_in_the_judges_points_hold_for_its_own_pairs_alone() -> None:
    bounds: Row = {"min_chosen_score": 1.5, "min_margin_spreads": 0.5, "include_reference": True}
    assert chosen(pairs_of("own_likelihood", 3, **bounds)) == ["da", "da"]
    assert set(chosen(pairs_of("length", 3, **bounds))) == {"ca"}
    assert chosen(pairs_of("own_likelihood", 3, **bounds | {"min_chosen_score": 1.9})) == []  # where it has none


def test_as_many_pairs_as_the_judge_has() -> None:
    mine = pairs_of("none", 2, strategy="all_above_margin", min_margin=1.2)
    for control in ("own_likelihood", "length"):
        assert len(chosen(pairs_of(control, 2, strategy="all_above_margin", min_margin=1.2))) == len(chosen(mine)) == 3


def test_without_a_likelihood_there_is_no_pair_and_the_row_says_what_to_set() -> None:
    (row,) = pairs_of("own_likelihood", 2, lacks="b")[1:]
    assert row["status"] == "no_likelihood" and "sampling.own_likelihood" in row["reason"]
    with pytest.raises(UserError, match=r"needs sampling\.own_likelihood=true"):
        config(pairing={"control": "own_likelihood"})


def test_rounds_made_before_the_controls_keep_their_fingerprints() -> None:
    def prints(**changes: Row) -> dict[str, str]:
        return dict(make_plan(config(changes), "run", 0, {"policy": "m"}).fingerprints)

    plain = prints()
    assert plain == prints(pairing={"flipped_share": 0.4})  # which no other control looks at
    assert plain["pair"] != prints(pairing={"control": "flipped"})["pair"]
    asked = prints(sampling={"own_likelihood": True})
    assert (asked["propose"] == plain["propose"], asked["answer"] == plain["answer"]) == (True, False)
