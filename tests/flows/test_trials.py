"""`rating.mode = "auto"`: the best way of judging for its cost, chosen once and said why."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from flows.trials import with_chosen_mode
from flows.views.display import Display
from schemas.config import Config
from schemas.errors import DependencyError, UserError
from tasks.staging.chosen import Trial, best, chosen, settled
from tasks.storage.store import Store
from tests import planted
from tests.samples import config


def test_of_those_that_order_as_well_the_cheapest_is_taken() -> None:
    trials = [Trial("likelihood", 0.14, 0.06, 40, 200), Trial("pointwise", 0.18, 0.06, 40, 900),
              Trial("logprob", 0.02, 0.06, 40, 50), Trial("pairwise", failed="it cannot")]  # fmt: skip
    found = best(trials)
    assert found is not None and found[0].mode == "likelihood"
    assert "cheapest of those within the interval of pointwise" in found[1] and "pairwise: it cannot" in found[1]
    assert best([Trial("pairwise", failed="it cannot")]) is None
    unsure = best([Trial("logprob", 0.05, 0.2, 6, 50)])
    assert unsure is not None and "6 problems do not tell" in unsure[1]


def test_each_mode_is_tried_once_and_the_choice_holds_for_the_run(tmp_path: Path) -> None:
    """The rounds of the trial are healthy ones by hand, but for a judge at chance and one that fails."""
    asked: list[tuple[str, str | None]] = []

    async def run_round(
        small: Config, store: Store, number: int, display: Display, force: str | None
    ) -> dict[str, Any]:
        asked.append((small.rating.mode, small.reuse.rubrics))
        assert not small.training.enabled and small.corpus.documents <= 24
        if small.rating.mode == "pairwise":
            raise UserError("its server cannot")

        def judged(tables: planted.Tables) -> None:
            planted.judge_at_chance(tables) if small.rating.mode == "likelihood" else None
            for row in tables["ratings"]:
                row["mode"] = small.rating.mode

        planted.write(store.root, store.run, judged)
        return {}

    store, wanted = Store(str(tmp_path), "r"), config(rating={"mode": "auto"}, corpus={"documents": 400})
    assert settled(wanted, store).rating.mode == "pointwise"
    found = asyncio.run(with_chosen_mode(wanted, store, Display(), run_round))
    assert found.rating.mode in ("logprob", "pointwise")
    assert asked == [("likelihood", None), *((mode, "likelihood/0") for mode in ("logprob", "pointwise", "pairwise"))]
    told = chosen(store)
    assert told is not None and told["mode"] == found.rating.mode and "its server cannot" in told["why"]
    assert asyncio.run(with_chosen_mode(wanted, store, Display(), run_round)) == found == settled(wanted, store)
    assert len(asked) == 4


def test_where_none_works_all_reasons_are_said(tmp_path: Path) -> None:
    async def fails(small: Config, *_: Any) -> dict[str, Any]:
        raise UserError(f"no {small.rating.mode} here")

    with pytest.raises(UserError, match=r"no likelihood here.*no pairwise here"):
        asyncio.run(with_chosen_mode(config(rating={"mode": "auto"}), Store(str(tmp_path), "r"), Display(), fails))


@pytest.mark.parametrize(
    ("error", "raised"), [(DependencyError("the server is away"), DependencyError), (UserError("it cannot"), UserError)]
)
def test_an_outage_says_nothing_of_a_mode(tmp_path: Path, error: Exception, raised: type[Exception]) -> None:
    tried = 0

    async def run_round(*_: Any) -> dict[str, Any]:
        nonlocal tried
        tried += 1
        raise error

    store, wanted = Store(str(tmp_path), "r"), config(rating={"mode": "auto"})
    with pytest.raises(raised):
        asyncio.run(with_chosen_mode(wanted, store, Display(), run_round))
    assert chosen(store) is None and tried == (1 if raised is DependencyError else 4)
