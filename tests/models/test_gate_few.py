"""How many problems the gate needs is said where they are too few."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.gating import GateConfig
from schemas.load import load_config
from tasks.models.gate import Decision, decide, gain_seen, too_few
from tasks.models.registry import Standing, asked_of_standing, record
from tasks.storage.store import Row, Store


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["evaluation.problems=8", "corpus.heldout_documents=64"], "8 held-out problems (evaluation.problems) are few"),
        (["evaluation.problems=128", "corpus.heldout_documents=6"], "6 held-out problems (corpus.heldout_documents)"),
        (
            ["evaluation.problems=8", "gate.threshold=0.05", "corpus.heldout_documents=8"],
            "for 0.15 it takes 14 problems",
        ),
        (["evaluation.problems=64", "corpus.heldout_documents=64"], None),
        (["evaluation.problems=8", "gate.metric=winrate.difference", "corpus.heldout_documents=64"], None),
        (["corpus.heldout_documents=0"], None),
    ],
)
def test_too_few_problems_are_told_with_what_they_can_see(overrides: list[str], says: str | None) -> None:
    why = too_few(load_config("demo", overrides))
    assert (why is None) if says is None else (says in (why or ""))


def test_four_times_the_problems_see_half_the_gain_and_of_few_a_little_more() -> None:
    assert gain_seen(6400) == pytest.approx(gain_seen(1600) / 2, rel=1e-3)
    assert gain_seen(8) > 1.1 * 2 * gain_seen(32)


def test_status_says_it_where_a_gate_decides(
    tmp_path: Path, fake_root: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    shutil.copytree(fake_root / "fake", tmp_path / "fake")
    asked = ("status", "--run", "fake", "--root", str(tmp_path))
    assert "The gate:" not in cli(*asked)[1]
    decision = Decision("hold", "because", "heldout.difference")
    record(Store(str(tmp_path), "fake"), 0, None, decision, "gate", Standing())
    code, told, _ = cli(*asked)
    assert code == 0 and "The gate: 4 held-out problems (corpus.heldout_documents) are few" in told


def test_a_parent_that_was_asked_often_is_asked_more_strictly() -> None:
    row: Row = {"model_id": "m", "suite": "heldout", "metric": "difference", "status": "ok", "reason": None}
    row |= {"value": 0.1, "low": 0.01, "high": 0.19, "n": 64}
    plain, strict = GateConfig(guards={}), GateConfig(guards={}, correct_rounds=True)
    assert [decide(plain, "m", [row], asked).decision for asked in (1, 20)] == ["promote", "promote"]
    assert [decide(strict, "m", [row | {"low": low}], 20).decision for low in (0.01, 0.06)] == ["hold", "promote"]
    assert "candidate 20 of the same parent" in decide(strict, "m", [row], 20).reason


def test_a_promotion_begins_the_count_anew(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "r")
    counts = []
    for word in ("hold", "hold", "promote", "hold"):
        record(store, 0, None, Decision(word, "because", "m", 0.1), "gate", Standing())
        counts.append(asked_of_standing(store))
    assert counts == [1, 2, 0, 1]
