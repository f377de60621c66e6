"""How many problems the gate needs is said where they are too few."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.load import load_config
from tasks.models.gate import Decision, gain_seen, too_few
from tasks.models.registry import Standing, record
from tasks.storage.store import Store


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["evaluation.problems=8", "corpus.heldout_documents=64"], "8 held-out problems (evaluation.problems) are few"),
        (["evaluation.problems=128", "corpus.heldout_documents=6"], "6 held-out problems (corpus.heldout_documents)"),
        (
            ["evaluation.problems=8", "gate.threshold=0.05", "corpus.heldout_documents=8"],
            "for 0.15 it takes 12 problems",
        ),
        (["evaluation.problems=64", "corpus.heldout_documents=64"], None),
        (["evaluation.problems=8", "gate.metric=winrate.difference", "corpus.heldout_documents=64"], None),
        (["corpus.heldout_documents=0"], None),
    ],
)
def test_too_few_problems_are_told_with_what_they_can_see(overrides: list[str], says: str | None) -> None:
    why = too_few(load_config("demo", overrides))
    assert (why is None) if says is None else (says in (why or ""))


def test_four_times_the_problems_see_half_the_gain() -> None:
    assert gain_seen(64) == pytest.approx(gain_seen(16) / 2)


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
