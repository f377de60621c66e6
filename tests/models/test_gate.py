"""The gate's decision, by worked examples and properties."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import UserError
from schemas.gating import GateConfig
from schemas.load import load_config
from tasks.models.gate import decide, refuse_unmeasured
from tests.samples import Row

GATE = GateConfig(min_problems=8)


def measured(metric: str, value: float | None, low: float | None = None, high: float | None = None, **more: Any) -> Row:
    suite, _, name = metric.partition(".")
    return {
        "model_id": "m", "suite": suite, "metric": name, "value": value, "low": low, "high": high, "n": 32,
        "status": "ok", "reason": None,
    } | more  # fmt: skip


FINE = measured("perplexity.difference", -0.01, -0.02, 0.0)


@pytest.mark.parametrize(
    ("rows", "decision", "says"),
    [
        ([measured("heldout.difference", 0.2, 0.1, 0.3), FINE], "promote", "clears 0"),
        ([measured("heldout.difference", 0.0, -0.1, 0.1), FINE], "hold", "does not clear 0"),
        ([measured("heldout.difference", -0.2, -0.3, -0.1), FINE], "hold", "does not clear 0"),
        ([measured("heldout.difference", 0.2, 0.0, 0.3), FINE], "hold", "does not clear 0"),
        (
            [measured("heldout.difference", 0.2, 0.1, 0.3), measured("perplexity.difference", -0.5)],
            "roll_back",
            "fell by 0.5, allowed is 0.2",
        ),
        ([measured("heldout.difference", None, status="failed", reason="the judge is down"), FINE], "hold", "judge is"),
        ([measured("heldout.difference", 0.2, 0.1, 0.3)], "hold", "perplexity.difference was not measured"),
        ([measured("heldout.difference", math.nan, math.nan, math.nan), FINE], "hold", "was not measured"),
        ([measured("heldout.difference", 0.2, 0.1, 0.3, n=7), FINE], "hold", "fewer than 8"),
        ([measured("heldout.difference", 0.2, 0.1, 0.3, model_id="parent"), FINE], "hold", "was not measured"),
        ([], "hold", "was not measured"),
    ],
)
def test_the_gate_decides_by_the_numbers_and_says_why(rows: list[Row], decision: str, says: str) -> None:
    found = decide(GATE, "m", rows)
    assert found.decision == decision
    assert says in found.reason


numbers = st.none() | st.floats(allow_nan=True, allow_infinity=True)


@given(numbers, numbers, numbers, numbers, st.sampled_from(["ok", "failed", "not_run"]), st.integers(0, 99))
def test_nothing_is_promoted_without_a_finite_interval_above_the_threshold_and_every_guard_kept(
    value: float | None, low: float | None, high: float | None, guard: float | None, status: str, n: int
) -> None:
    rows = [
        measured("heldout.difference", value, low, high, status=status, n=n),
        measured("perplexity.difference", guard),
    ]
    if decide(GATE, "m", rows).decision == "promote":
        assert status == "ok" and n >= 8
        assert all(number is not None and math.isfinite(number) for number in (value, low, high, guard))
        assert (low or 0) > 0 and (guard or 0) >= -0.2


def of_exam(metric: str, value: float, low: float | None = None, high: float | None = None) -> Row:
    return measured(f"x.{metric}", value, low, high, suite="exam.health")


def test_an_exam_may_decide_and_may_guard_by_its_own_shares() -> None:
    gate = GateConfig(min_problems=8, metric="exam.health.difference", guards={})
    better = of_exam("difference", 0.1, 0.02, 0.18)
    assert decide(gate, "m", [better]).decision == "promote"
    fell = [of_exam("finished_share_difference", -0.5), of_exam("finished_share", 0.5)]
    held = decide(gate, "m", [better, *fell])
    assert held.decision == "hold" and "50% of its answers are finished (the parent's: 100%)" in held.reason
    assert decide(gate, "m", [better, *fell, of_exam("worst_difference", 0.08, 0.01, 0.15)]).decision == "promote"
    guard = GateConfig(min_problems=8, guards={"exam.health.difference": 0.05})
    rows = [measured("heldout.difference", 0.3, 0.1, 0.5), of_exam("difference", -0.06, -0.1, 0.0)]
    assert decide(guard, "m", rows).decision == "roll_back"
    failed = measured("x.difference", None, suite="exam.health", status="failed", reason="judge is down")
    assert "judge is down" in decide(guard, "m", [rows[0], failed]).reason


def test_the_gate_looks_at_exams_that_are_there() -> None:
    exams = [
        'evaluation.suites=["heldout","exam"]',
        'evaluation.exams=[{name="health", file="h.jsonl"}]',
        "gate.guards={}",
    ]
    refuse_unmeasured(load_config("demo", [*exams, "gate.metric=exam.health.difference"]))
    with pytest.raises(UserError, match=r"name an exam 'helth' in evaluation\.exams"):
        refuse_unmeasured(load_config("demo", [*exams, "gate.metric=exam.helth.difference"]))
    for metric in ("exam.difference", "exam.health.score", "exam.health.difference[daily]"):
        with pytest.raises(UserError, match="no difference to the parent"):
            load_config("demo", [*exams, f'gate.metric="{metric}"'])
    with pytest.raises(UserError, match=r"needs evaluation\.exams"):
        load_config("demo", ['evaluation.suites=["exam"]'])
    with pytest.raises(UserError, match="called 'a'"):
        load_config("demo", ['evaluation.exams=[{name="a", file="b"}, {name="a", file="c"}]'])


def test_a_gate_must_look_at_what_is_measured() -> None:
    refuse_unmeasured(load_config("demo"))
    with pytest.raises(UserError, match=r"add 'perplexity' to evaluation\.suites"):
        refuse_unmeasured(load_config("demo", ['evaluation.suites=["heldout"]']))
    with pytest.raises(UserError, match="no difference to the parent"):
        load_config("demo", ["gate.metric=heldout.score"])
    with pytest.raises(UserError, match="ifeval_file"):
        load_config("demo", ['evaluation.suites=["ifeval"]'])
