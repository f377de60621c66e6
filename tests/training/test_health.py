"""The figures of a training and their bounds: by worked examples, one a way to go wrong."""

from typing import Any

import pytest

from schemas.gating import HealthConfig
from schemas.tables import HEALTH
from tasks.training.health import figures_of, health, lost, repetition

PROMPT = list(range(20))


def answer(ids: list[int], ended: bool = True) -> dict[str, Any]:
    return {"prompt_ids": PROMPT, "ids": ids, "ended": ended, "text": ""}


TALK = [answer([*range(100 + n, 130 + n), *PROMPT[:10]]) for n in range(12)]  # 40 tokens, of which 30 are new
TEXT = {"tokens": 100, "kl": 1.0, "nats": 301.0, "parent_nats": 300.0}
STEPS = [{"step": n, "loss": 0.69 - n / 100, "grad_norm": 9.0} for n in range(1, 4)]
FINE: dict[str, Any] = {
    "weights_changed": 90, "weights_compared": 100, "change_norm": 0.1, "parent_norm": 100.0, "texts": [TEXT],
    "answers": TALK, "parent_answers": TALK,
}  # fmt: skip


def test_a_healthy_training_has_every_figure_and_no_word_is_said() -> None:
    found = health(FINE, STEPS, HealthConfig())
    assert (found.warnings, found.broken) == ((), ())
    assert set(found.figures) == set(HEALTH) and None not in found.figures.values()
    f = found.figures
    assert (f["largest_loss"], f["last_loss"]) == pytest.approx((0.68, 0.66))
    assert (f["changed_share"], f["weight_change"], f["kl_from_parent"]) == (0.9, 0.001, 0.01)
    assert (f["answer_tokens"], f["new_tokens"], f["repetition"], f["ended_share"]) == (40, 30, 0, 1)


@pytest.mark.parametrize(
    ("change", "name", "level"),
    [
        ({"steps": [{"step": 1, "loss": 312.0, "grad_norm": 9.0}]}, "loss", "broken"),
        ({"steps": [{"step": 1, "loss": 3.0, "grad_norm": 9.0}]}, "loss", "warn"),
        ({"steps": [{"step": 1, "loss": 0.6, "grad_norm": 1e5}]}, "grad_norm", "warn"),
        ({"weights_changed": 0}, "changed_share", "warn"),
        ({"change_norm": 80.0}, "weight_change", "broken"),
        ({"texts": [TEXT | {"kl": 900.0}]}, "kl_from_parent", "broken"),
        ({"texts": [TEXT | {"nats": 390.0}]}, "heldout_rise", "warn"),
        ({"answers": [answer([7] * 40)] * 12}, "new_tokens", "broken"),
        ({"answers": [answer([7] * 40)] * 12}, "repetition", "broken"),
        ({"answers": [answer(row["ids"][:15]) for row in TALK]}, "shorter", "warn"),
        ({"answers": [answer([*range(100, 200)]) for _ in TALK]}, "longer", "warn"),
        ({"answers": [answer(row["ids"], ended=False) for row in TALK]}, "ended", "warn"),
    ],
)
def test_a_figure_out_of_bounds_is_told_by_the_name_of_its_setting(
    change: dict[str, Any], name: str, level: str
) -> None:
    steps = change.get("steps", STEPS)
    found = health(FINE | change, steps, HealthConfig())
    said = found.broken if level == "broken" else found.warnings
    assert any(f"(gate.health.{name}.{level} = " in text for text in said), (found.warnings, found.broken)


def test_what_was_not_measured_is_null_and_out_of_no_bound() -> None:
    found = health({"weights_sha256": "ab"}, [], HealthConfig())
    assert (found.warnings, found.broken, set(found.figures.values())) == ((), (), {None})
    assert figures_of(FINE | {"texts": [TEXT | {"kl": float("nan")}]}, [])["kl_from_parent"] is None


def test_a_step_without_a_loss_is_where_the_training_came_apart() -> None:
    assert lost(STEPS) is None
    assert "step 2 " in (lost([STEPS[0], {"step": 2, "loss": None}, {"step": 3, "loss": None}]) or "")


def test_repetition_is_the_share_of_runs_that_came_before() -> None:
    assert repetition([1, 2, 3, 4, 5, 6]) == 0
    assert repetition([1, 2, 3, 4, 1, 2, 3, 4]) == pytest.approx(1 - 4 / 5)
    assert repetition([1, 2, 3, 4]) is None
