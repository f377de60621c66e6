"""One run in an object store, and two machines that see nothing else of each other: caches and homes of their own."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import UserError
from schemas.load import load_config
from tasks.models.contents import MANIFEST
from tasks.models.fetching import cache
from tasks.models.registry import decisions, known_models, lineage, promote, rollback, standing
from tasks.storage.store import Store
from tests.flows.test_selfplay import SMALL, make

HELDOUT = ('evaluation.suites=["heldout"]', "gate.guards={}")


@pytest.fixture
def root(bucket: str, tmp_path: Path) -> str:
    return f"{bucket}/{tmp_path.name}"


def at_home(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be on the machine of that name."""
    for variable in ("HOME", "POP_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path / name / variable.lower()))


def fetched() -> list[str]:
    """The models in this machine's cache."""
    return sorted(one.name for one in cache().glob("[!.]*"))


def test_what_one_machine_has_trained_another_promotes_measures_and_goes_on_from(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None
) -> None:
    from flows.evaluate import evaluate_flow
    from flows.selfplay import selfplay_flow

    file = make(tmp_path, monkeypatch)
    at_home("first", tmp_path, monkeypatch)
    monkeypatch.setenv("STANDIN_DULL", "0")

    def play(rounds: int, *overrides: str) -> Any:
        config = load_config(str(file), [*SMALL, *HELDOUT, *overrides])
        return asyncio.run(selfplay_flow(config, run="sp", rounds=rounds, root=root))

    outcome = play(1, "gate.threshold=9")
    store = Store(root, "sp")
    [model] = known_models(store)
    assert [row["decision"] for row in decisions(store)] == ["hold"] and outcome["standing"]["path"] is None
    assert model["path"].startswith(f"{root}/sp/training/round=000/model-{model['weights_sha256'][:24]}.")
    assert [row["path"] for row in store.read("models", 0, "shard-00000")] == [model["path"].removeprefix(f"{root}/")]

    at_home("second", tmp_path, monkeypatch)
    assert fetched() == [] and not store.workdir.exists()
    assert promote(store, "0")["standing_model_id"] == model["model_id"]
    assert fetched() == []  # a decision needs no weights
    config = load_config(str(file), [*SMALL, *HELDOUT, "evaluation.seed=7"])
    rows = asyncio.run(evaluate_flow(config, run="sp", model="0", root=root))
    assert {row["status"] for row in rows} == {"ok"} and len(fetched()) == 1
    outcome = play(2)
    assert [row["parent"] for row in lineage(store)] == ["base", model["model_id"]]
    assert len(fetched()) == 2  # the parent, and the one that was trained here
    assert outcome["standing"]["path"] == model["path"]

    at_home("third", tmp_path, monkeypatch)
    assert rollback(store)["standing_path"] is None and standing(store).path is None and fetched() == []


def test_a_round_killed_while_it_sends_its_model_sends_the_rest_and_trains_nothing_again(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None
) -> None:
    from flows.round import round_flow

    config = load_config(str(make(tmp_path, monkeypatch)), [*SMALL])
    at_home("first", tmp_path, monkeypatch)
    model = asyncio.run(round_flow(config, run="r", root=root))["model"]
    store = Store(root, "r")
    place = f"{store.base.rpartition('/')[0]}/{model['path']}"
    for after_the_kill in (f"{place}/{MANIFEST}", f"{place}/config.json", store.path("models", 0, "shard-00000")):
        store.fs.rm_file(after_the_kill)
    assert asyncio.run(round_flow(config, run="r", root=root))["model"] == model
    assert store.fs.exists(f"{place}/{MANIFEST}") and store.fs.exists(f"{place}/config.json")
    assert (tmp_path / "runtime/bin/ran").read_text().split().count("launch") == 1


def test_what_is_not_kept_goes_from_the_store_and_from_the_machine(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None, cli: Any
) -> None:
    from flows.selfplay import selfplay_flow

    file = make(tmp_path, monkeypatch)
    at_home("first", tmp_path, monkeypatch)
    monkeypatch.setenv("STANDIN_DULL", "1")
    config = load_config(str(file), [*SMALL, *HELDOUT, "gate.keep_unpromoted=0"])
    asyncio.run(selfplay_flow(config, run="sp", rounds=1, root=root))
    store = Store(root, "sp")
    [row] = lineage(store)
    assert row["status"] == "held" and not row["weights"] and fetched() == []
    assert not list(store.workdir.rglob("training/round=000/model/*.safetensors"))
    assert store.fs.exists(f"{store.fs._strip_protocol(row['path'])}/config.json")
    code, _, said = cli("promote", "0", "--run", "sp", "--root", root)
    assert code == 2 and "any more (gate.keep_unpromoted)" in said.splitlines()[-1]
    assert asyncio.run(selfplay_flow(config, run="sp", rounds=1, root=root))["rounds"] == 0


def test_a_model_from_before_they_travelled_is_read_where_it_is(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row names a folder of the machine that trained it."""
    at_home("first", tmp_path, monkeypatch)
    store = Store(root, "old")
    folder = store.workdir / "training/round=000/model"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text("weights")
    (folder / "config.json").write_text("{}")
    row = {"model_id": "m" * 24, "parent_model_id": "base", "path": str(folder), "status": "candidate"}
    store.write("models", 0, "shard-00000", [row], {"stage": "train"})
    assert promote(store, "0")["standing_path"] == str(folder) == standing(store).path
    (tmp_path / "first").rename(tmp_path / "elsewhere")  # of which the second machine sees nothing
    at_home("second", tmp_path, monkeypatch)
    with pytest.raises(UserError, match="on the machine that trained it, and not in s3://"):
        promote(store, "0")
