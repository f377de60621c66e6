"""A model that lies in an object store, served by a cluster whose nodes share no cache with the controller."""

import asyncio
from pathlib import Path

import pytest

from flows.engines import Engines
from flows.views.display import Display
from schemas.load import load_config
from tasks.models.fetching import cache
from tasks.models.resolve import resolve
from tasks.storage.store import Store
from tests.chaos import standin
from tests.cluster.conftest import ADDRESS, Nodes
from tests.cluster.test_serving import asked


def test_nodes_fetch_what_they_serve(
    bucket: str, nodes: Nodes, standin_runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = standin.make(tmp_path, "structured")
    monkeypatch.setenv("POP_RUNTIME", str(tmp_path / "runtime"))
    monkeypatch.setenv("STANDIN_RAY", str(standin_runtime / "bin/python"))
    store = Store(f"{bucket}/{tmp_path.name}", "run")
    store.fs.put(f"{tmp_path}/model/", f"{store.base}/base", recursive=True)
    url = f"{store.root}/run/base"
    sets = ("cluster.kind=ray", f"cluster.address={ADDRESS}", "engine.replicas=2", f"models.policy.path={url}")
    config = load_config(str(file), list(sets))
    model = resolve("policy", config, lambda _: None)
    monkeypatch.setenv("POP_CACHE", str(tmp_path / "node"))
    assert model.url == url and not cache().exists()

    async def ask() -> str | None:
        engines = Engines(config, {"policy": model}, store, Display())
        async with engines.started({"policy"}):
            assert len(engines["policy"].replicas) == 2
            return (await engines["policy"].chat(asked(1))).completion

    assert asyncio.run(ask())
    [folder] = cache().glob("[!.]*")
    assert folder.name == Path(model.path or "").name and folder != Path(model.path or "")
    logs = list((store.workdir / "logs").glob("engine-policy-[12].log"))
    assert sum("fetching the model" in log.read_text() for log in logs) == 1
