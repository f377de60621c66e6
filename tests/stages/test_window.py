"""Where there is something to learn: the place of a problem's answers, the judge's own spread, and the reference."""

from typing import Any

import pytest

from schemas.errors import UserError
from schemas.preferences import PairingConfig
from tasks.judging.pairs import Rated, choose
from tasks.pair import READ, pair
from tests.samples import Row, an_answer, config, plan_of, problem

SCORES = {"ref": 1.6, "a": 1.2, "b": 0.8, "c": 0.4}  # the answers' mean is 0.8: half of what the reference tells


def paired(
    scores: dict[str, float] = SCORES, spread: float | None = None, mode: str = "pointwise", **pairing: Any
) -> Row:
    answers = [an_answer(name, rollout=-1 if name == "ref" else n) for n, name in enumerate(scores)]
    ratings = [{"answer_id": name, "score": value, "status": "ok", "spread": spread} for name, value in scores.items()]
    rows = {"problems": [problem()], "answers": answers, "rubrics": [{"problem_id": "p0", "status": "ok"}]}
    read = {name: [{column: row.get(column) for column in columns} for row in (rows | {"ratings": ratings})[name]]
            for name, columns in READ.items()}  # fmt: skip
    plan = plan_of(config(pairing=pairing, rating={"mode": mode}))
    return pair(plan, read["problems"], read["answers"], read["rubrics"], read["ratings"])[0]


@pytest.mark.parametrize(
    ("pairing", "status", "said"),
    [
        ({}, "ok", ""), ({"window": (0.4, 0.6)}, "ok", ""), ({"window": (0.6, 0.9)}, "too_far", "at 0.50 between"),
        ({"window": (0.1, 0.4)}, "known", "knows it already"), ({"min_chosen_score": 1.3}, "low_score", "scores 1.200"),
        ({"min_chosen_score": 1.2}, "ok", ""), ({"min_margin_spreads": 1.9}, "ok", ""),
        ({"min_margin_spreads": 2.1}, "low_margin", "2.00 of the judge's own spread"),
    ],
)  # fmt: skip
def test_each_setting_leaves_out_with_a_reason(pairing: Row, status: str, said: str) -> None:
    row = paired(**pairing)
    assert (row["status"], row["place"]) == (status, pytest.approx(0.5)) and said in (row["reason"] or "")


def test_the_margin_is_in_units_of_what_the_judge_differs_by() -> None:
    assert paired()["margin_spreads"] == pytest.approx(0.8 / 0.4)  # deviation of 1.2, 0.8 and 0.4
    assert paired(spread=0.2)["margin_spreads"] == pytest.approx(0.8 / 0.2)  # it judged each several times


def test_a_place_needs_a_reference_that_tells_something_and_a_score_that_can_be_nothing() -> None:
    assert paired({"a": 1.0, "b": 0.5})["place"] is None
    assert paired({"ref": 0.0, "a": 1.0, "b": 0.5}, window=(0.1, 0.2))["status"] == "ok"
    assert paired(mode="pairwise", window=(0.9, 1.0))["status"] == "ok"


def test_the_reference_is_chosen_only_where_it_may_be_and_never_rejected() -> None:
    assert paired()["chosen_answer_id"] == "a"
    assert paired(include_reference=True)["chosen_answer_id"] == "ref"
    low = paired({"ref": 0.1, "a": 1.2, "b": 0.8}, include_reference=True)
    assert (low["chosen_answer_id"], low["rejected_answer_id"]) == ("a", "b")


def test_settings_that_are_off_leave_the_fingerprint_as_it_was() -> None:
    before, after = plan_of(config()), plan_of(config(pairing={"window": (0.1, 0.9)}))
    assert set(before.settings["pair"]["pairing"]) <= set(PairingConfig.model_fields) - {"window", "include_reference"}
    assert before.fingerprints["pair"] != after.fingerprints["pair"]
    with pytest.raises(UserError, match="lower end first"):
        config(pairing={"window": (0.9, 0.1)})


def test_a_narrower_pair_may_be_wider_in_the_judges_own_spread() -> None:
    sure, unsure = 0.05, 1.0
    rated = [
        Rated("a", "one", 1, 1.9, spread=unsure),
        Rated("b", "two", 1, 1.7, spread=sure),
        Rated("c", "three", 1, 1.0, spread=sure),
    ]
    (found,) = choose(rated, PairingConfig(min_margin_spreads=2.0))
    assert found.status == "ok" and found.two and [one.answer_id for one in found.two] == ["b", "c"]
