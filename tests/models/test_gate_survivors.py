"""The gate counts every problem: what is missing is held against a candidate that has more of it than its parent."""

from collections.abc import Callable
from dataclasses import asdict
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.gating import GateConfig
from tasks.evaluation.shares import Marks, gap_measures, share_measures
from tasks.evaluation.statistics import difference_interval
from tasks.models.gate import decide
from tests.samples import Row

GATE = GateConfig(min_problems=4, guards={})
Scores = dict[str, list[float | None]]


def exam(ours: Scores, theirs: Scores) -> list[Row]:
    """The rows of `evaluations` that the suite `heldout` makes of two models' scores; unrated is unfinished."""
    marks = [Marks(scores, {p: [s is not None for s in row] for p, row in scores.items()}) for scores in (ours, theirs)]
    means = [one.means() for one in marks]
    gaps = [means[0][p] - means[1][p] for p in sorted(means[0].keys() & means[1].keys())]
    found = [
        *share_measures("m", marks[0]),
        *share_measures("p", marks[1]),
        *gap_measures("m", marks[0], marks[1]),
    ]
    rows = [asdict(measure) | {"suite": "heldout"} for measure in found]
    value, low, high = difference_interval(gaps)
    plain = {"value": value, "low": low, "high": high, "n": len(gaps), "status": "ok", "reason": None}
    return [*rows, plain | {"model_id": "m", "suite": "heldout", "metric": "difference"}]


def names(n: int) -> list[str]:
    return [f"p{i:03d}" for i in range(n)]


def test_26_rated_of_128_are_no_promotion() -> None:
    theirs: Scores = {p: [0.9 + i % 3 / 10, 1.0] for i, p in enumerate(names(128))}
    ours: Scores = {p: [1.2 + i % 3 / 10, None] if i < 26 else [None, None] for i, p in enumerate(names(128))}
    rows = exam(ours, theirs)
    assert decide(GATE, "m", [rows[-1]]).decision == "promote"  # by the survivors alone, as it was
    found = decide(GATE, "m", rows)
    assert found.decision == "hold" and (found.low or 0) > 0 and found.n == 26
    said = "10% of its answers are finished (the parent's: 100%), 10% of its answers are rated (the parent's: 100%)"
    assert said in found.reason and "at their worst" in found.reason and "gate.share_tolerance = 0.05" in found.reason


@pytest.mark.parametrize(
    ("ours", "decision"),
    [
        (lambda i: [1.5, 1.5], "promote"),  # all there
        (lambda i: [1.5, 1.5 if i % 25 else None], "promote"),  # 2 % missing: within the tolerance
        (lambda i: [1.5, 1.5 if i % 5 else None], "promote"),  # 10 %, and better with those at the worst, too
        (lambda i: [0.985, 0.985 if i % 5 else None], "hold"),  # 10 %, and their worst is more than the gain
        (lambda i: [None, None], "hold"),
    ],
)
def test_a_few_missing_answers_are_borne_and_more_only_by_a_gain_that_outweighs_them(
    ours: Callable[[int], list[float | None]], decision: str
) -> None:
    theirs: Scores = {p: [0.9 + i % 3 / 20, 1.0] for i, p in enumerate(names(50))}
    assert decide(GATE, "m", exam({p: ours(i) for i, p in enumerate(names(50))}, theirs)).decision == decision


def test_a_candidate_that_answers_where_its_parent_did_not_is_not_held_for_it() -> None:
    theirs: Scores = {p: [0.9 + i % 3 / 20, None if i % 4 else 1.0] for i, p in enumerate(names(50))}
    assert decide(GATE, "m", exam({p: [1.5, 1.5] for p in names(50)}, theirs)).decision == "promote"


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0, 2)), min_size=4, max_size=20))
@settings(max_examples=60)
def test_on_complete_data_the_decision_is_the_one_of_the_difference_alone(found: list[tuple[float, float]]) -> None:
    ours: Scores = {p: [a] for p, (a, _) in zip(names(len(found)), found, strict=True)}
    theirs: Scores = {p: [b] for p, (_, b) in zip(names(len(found)), found, strict=True)}
    rows = exam(ours, theirs)
    assert decide(GATE, "m", rows) == decide(GATE, "m", [rows[-1]])
    bounds = {row["metric"]: row["value"] for row in rows if row["metric"].endswith("t_difference")}
    assert bounds == {"worst_difference": rows[-1]["value"], "best_difference": rows[-1]["value"]}


@given(
    st.lists(st.tuples(st.floats(0.5, 1.5), st.booleans(), st.floats(0.5, 1.5), st.booleans()), min_size=4, max_size=20)
)
@settings(max_examples=60)
def test_the_bounds_hold_whatever_the_missing_scores_were(rows: list[tuple[float, bool, float, bool]]) -> None:
    """As long as they lie within what the parent was rated."""
    known = [b for _, _, b, there in rows if there] or [1.0]
    truth = [(min(max(a, min(known)), max(known)) if not ours else a, b) for a, ours, b, _ in rows]
    truth = [(a, min(max(b, min(known)), max(known))) for a, b in truth]
    p = names(len(rows))
    ours: Scores = {q: [a if there else None] for q, (a, _), (_, there, _, _) in zip(p, truth, rows, strict=True)}
    theirs: Scores = {q: [b if there else None] for q, (_, b), (*_, there) in zip(p, truth, rows, strict=True)}
    found = {row["metric"]: row["value"] for row in exam(ours, theirs)}
    if any(there for *_, there in rows):
        true = fmean(a - b for a, b in truth)
        assert found["worst_difference"] - 1e-9 <= true <= found["best_difference"] + 1e-9


def test_a_winrate_whose_comparisons_cannot_be_read_needs_its_worst_case() -> None:
    gate = GateConfig(min_problems=4, guards={}, metric="winrate.difference")

    def row(metric: str, value: float, low: float) -> Row:
        return {"model_id": "m", "suite": "winrate", "metric": metric, "value": value, "low": low, "high": value + 0.1,
                "n": 40, "status": "ok", "reason": None}  # fmt: skip

    rows = [row("difference", 0.2, 0.1), row("compared_share", 0.5, 0.4), row("worst_difference", -0.05, -0.1)]
    found = decide(gate, "m", rows)
    assert found.decision == "hold" and "only 50% of the comparisons can be read" in found.reason
    assert decide(gate, "m", [rows[0], row("compared_share", 0.99, 0.9), rows[2]]).decision == "promote"
    assert decide(gate, "m", [*rows[:2], row("worst_difference", 0.1, 0.05)]).decision == "promote"
