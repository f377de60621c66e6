"""Servers on a cluster: they come up again elsewhere when a node goes, and whoever asks them finds them there."""

import asyncio
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import psutil
import pytest

from schemas.config import ClusterConfig, EngineConfig
from schemas.errors import DependencyError, PopError, UserError
from schemas.roles import ModelConfig, Sampling
from tasks.cluster.places import Node
from tasks.engine import moving
from tasks.engine.client import Client
from tasks.engine.faults import Fault
from tasks.engine.gate import Gate
from tasks.engine.moving import Moving, Serving, serve_on_cluster
from tasks.engine.protocol import Generation, Request
from tasks.engine.replicas import Replica
from tasks.engine.server import fake_command
from tests.cluster.conftest import ADDRESS, Nodes
from tests.engine.serving import serving as http_server

RAY = ClusterConfig(kind="ray", address=ADDRESS)


def serving(folder: Path, *more: str, needs: tuple[str, ...] = ()) -> Serving:
    """The stand-in engine, as a round serves it."""
    command = [*fake_command("{port}", 8192, "{host}"), *more]
    return Serving("the fake engine", command, {}, 0, 1.0, needs, folder / "engine{}.log")


def asked(number: int) -> Request:
    sampling = Sampling(temperature=1.0, max_tokens=40)
    return Request("answer", f"s{number}", "answer", ({"role": "user", "content": f"Why {number}?"},), sampling)


def texts(generations: Sequence[Generation]) -> list[tuple[str, str | None]]:
    return [(one.finish_reason, one.completion) for one in generations]


async def run(
    folder: Path, said: list[str], what: Serving, then: Nodes | None = None, replicas: int = 2,
    cluster: ClusterConfig = RAY, **changes: object,
) -> list[Generation]:  # fmt: skip
    """Ask ten things; in the middle of them, the nodes become those of `then`."""
    config = EngineConfig.model_validate({"start_timeout_sec": 20, "timeout_sec": 60, **changes})
    async with serve_on_cluster(what, replicas, cluster, config, said.append, lambda _: None) as group:
        client = Client("fake", ModelConfig(path="x"), config, group.urls, Gate(8), group)
        group.follow(client.move)
        asks = [asyncio.ensure_future(client.chat(asked(number))) for number in range(10)]
        if then:
            await asyncio.sleep(0.3)
            then(b=2)
        made = [await ask for ask in asks]
        await client.close()
    return made


@pytest.mark.parametrize("replicas", [1, 2])
def test_what_a_lost_node_was_asked_is_asked_again_where_its_server_comes_up(
    tmp_path: Path, nodes: Nodes, replicas: int
) -> None:
    said: list[str] = []
    calm = asyncio.run(run(tmp_path, [], serving(tmp_path)))
    made = asyncio.run(run(tmp_path, said, serving(tmp_path, "--fault", "slow=0.5"), nodes, replicas))
    assert texts(made) == texts(calm) and {one.finish_reason for one in made} <= {"stop", "length"}
    assert any("went; it comes up again where there is room (1 of at most 3 times)" in line for line in said), said
    assert sum("is ready at http://127.0.0.1:" in line for line in said) >= 2


def test_one_without_room_keeps_nobody_waiting(tmp_path: Path, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its node has gone just before, and Ray had not noticed."""
    said: list[str] = []
    monkeypatch.setattr(moving, "ROOM_SEC", 0.5)
    monkeypatch.setattr(moving, "nodes_of", lambda *_: [Node(name, name, 1, 0, 10**9) for name in "abc"])
    assert len(asyncio.run(run(tmp_path, said, serving(tmp_path), replicas=3))) == 10
    assert "1 of 3 servers find no room on the cluster: the others go on without them" in said


def test_nothing_of_it_is_left(tmp_path: Path, nodes: Nodes) -> None:
    asyncio.run(run(tmp_path, [], serving(tmp_path), nodes))
    over = time.monotonic() + 5
    while (left := [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(p.info["cmdline"])]) and (
        time.monotonic() < over
    ):
        time.sleep(0.1)
    assert not left


@pytest.mark.parametrize(
    ("what", "cluster", "error", "says"),
    [({"needs": ("/no/such/folder",)}, RAY, DependencyError, r"the node 127.0.0.1 does not see /no/such/folder: all"),
     ({}, RAY.model_copy(update={"cpus": 9}), UserError, r"no node .* \(0 GPUs, 9 CPUs, .*127.0.0.1: 0 GPUs, 1 CPUs"),
     ({}, RAY.model_copy(update={"address": "127.0.0.1:1"}), DependencyError,
      r"^no Ray cluster answers at cluster.address='127.0.0.1:1': .*Connection refused$")],
)  # fmt: skip
def test_what_is_wrong_is_one_line(
    tmp_path: Path, nodes: Nodes, what: dict[str, tuple[str, ...]], cluster: ClusterConfig, error: type[PopError],
    says: str,
) -> None:  # fmt: skip
    async def run() -> None:
        async with serve_on_cluster(serving(tmp_path, **what), 1, cluster, EngineConfig(), print, lambda _: None):
            raise AssertionError("it is served")

    with pytest.raises(error, match=says) as met:
        asyncio.run(run())
    assert "\n" not in str(met.value)


def test_without_ray_the_mend_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").touch()
    monkeypatch.setenv("POP_RUNTIME", str(tmp_path))

    async def run() -> None:
        async with serve_on_cluster(serving(tmp_path), 1, RAY, EngineConfig(), print, lambda _: None):
            raise AssertionError("it is served")

    with pytest.raises(DependencyError, match=r"^cluster.kind=ray needs Ray .*: run `pop setup --cluster`$"):
        asyncio.run(run())


def test_one_that_is_lost_stays_so_whatever_comes_later(tmp_path: Path) -> None:
    async def run() -> None:
        one = Moving("server 1", tmp_path / "log", EngineConfig(), print)
        gone = {"event": "gone", "why": "its node went", "node": True}
        for event in ({**gone, "last": True}, {**gone, "last": False}, {"event": "started", "host": "h", "port": 1}):
            one.take(event)
            with pytest.raises(DependencyError, match="server 1: its node went"):
                await asyncio.wait_for(one.ready(), 1)

    asyncio.run(run())


def test_a_request_to_a_node_without_power_does_not_wait_for_its_time_out() -> None:
    class Silent(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            time.sleep(1.5)

    async def run(url: str) -> None:
        replica = Replica(url, "none", own=True)
        ask = asyncio.ensure_future(replica.wire.ask("completions", {}))
        await asyncio.sleep(0.2)
        replica.move("http://127.0.0.1:1/v1")
        with pytest.raises(Fault):
            await asyncio.wait_for(ask, 0.8)
        await replica.close()

    with http_server(Silent) as url:
        asyncio.run(run(url))
