"""Self-play records no roll-back for what is no fault of the model."""

from collections.abc import Callable
from typing import Any

import pytest

from schemas.errors import UserError
from tasks.models.registry import decisions, known_models
from tasks.storage.store import Store
from tests.flows.test_selfplay import play, store  # noqa: F401  (fixtures)


def test_a_full_disk_between_trainer_and_check_is_an_error_and_the_same_command_goes_on(
    play: Callable[..., dict[str, Any]], store: Store  # noqa: F811
) -> None:  # fmt: skip
    quick = ('evaluation.suites=["heldout"]', "gate.guards={}")
    with pytest.raises(UserError, match="the disk is full"):
        play(1, *quick, fails="check:4", dull="0")
    assert decisions(store) == [] and known_models(store) == []
    assert play(1, *quick)["rounds"] == 1
    ((decision,), (model,)) = decisions(store), known_models(store)
    assert decision["decision"] == "promote" and decision["model_id"] == model["model_id"]
    assert model["largest_loss"] > 0 and model["warnings"] is None
