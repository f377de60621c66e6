"""Several servers of our own for one model: each is started again by itself, and one that is lost stops nobody."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from schemas.config import EngineConfig
from schemas.errors import DependencyError, UserError
from tasks.engine.group import Group, Member, serve_all
from tasks.engine.placement import place, replicas
from tasks.engine.server import Machine, Served, free_ports
from tasks.runtime.devices import gpus

pytestmark = pytest.mark.usefixtures("own_records")
SERVER = "import http.server as h, sys; h.HTTPServer(('127.0.0.1', int(sys.argv[1])), type('H', (h.BaseHTTPRequestHandler,), {'do_GET': lambda s: (s.send_response(200), s.end_headers()), 'log_message': lambda *_: None})).serve_forever()"  # noqa: E501 - the smallest healthy server


def members(tmp_path: Path, said: list[str], of: int = 2, **changes: object) -> list[Served]:
    """Servers that are not started yet."""
    config = EngineConfig.model_validate({"start_timeout_sec": 30, **changes})
    return [
        Served(f"server {n}", [sys.executable, "-c", SERVER, str(port)], {}, port, tmp_path / f"{n}.log", config,
               said.append, lambda _: None)
        for n, port in enumerate(free_ports(of))
    ]  # fmt: skip


def killed(port: str) -> None:
    """Kill the server at that port with -9."""
    for process in psutil.Process().children(recursive=True):
        if process.cmdline()[1:] == ["-c", SERVER, port]:
            os.kill(process.pid, signal.SIGKILL)


async def until(seen: Sequence[str], word: str) -> None:
    """Wait for a line."""
    over = time.monotonic() + 20
    while not any(word in line for line in seen) and time.monotonic() < over:
        await asyncio.sleep(0.05)


def port_of(server: Member) -> str:
    return server.url.rsplit(":", 1)[1].removesuffix("/v1")


def test_one_that_dies_is_started_again_while_the_others_are_there(tmp_path: Path) -> None:
    said: list[str] = []

    async def run() -> tuple[bool, bool, Group]:
        async with serve_all(members(tmp_path, said), said.append) as group:
            calm = await group.was_gone(group.restarts)
            killed(port_of(group.members[0]))
            gone = await group.was_gone(0)
            await asyncio.wait_for(group.ready(), 1)  # the other one is: nobody waits for a start
            await until(said, "server 0 is ready")
            await until(said[1:], "server 0 died")
            return calm, gone, group

    calm, gone, group = asyncio.run(run())
    assert (calm, gone) == (False, True)
    assert "server 0 died; it is started again (1 of at most 3 times)" in said
    assert group.restarts == 1 and len(group.urls) == 2


def test_one_that_is_lost_is_said_and_all_lost_end_the_wait(tmp_path: Path) -> None:
    said: list[str] = []
    before = psutil.Process().children()

    async def run() -> None:
        async with serve_all(members(tmp_path, said, max_restarts=0), said.append) as group:
            killed(port_of(group.members[1]))
            await until(said, "the other servers go on")
            await asyncio.wait_for(group.ready(), 1)
            assert not await group.was_gone(0)  # what fails now fails for another reason
            killed(port_of(group.members[0]))
            with pytest.raises(DependencyError, match="died while it was in use"):
                while True:
                    await group.ready()
                    await asyncio.sleep(0.05)

    asyncio.run(run())
    assert [line[:8] for line in said if line.endswith("the other servers go on")] == ["server 1"]
    assert not [one for one in psutil.Process().children() if one not in before]


def test_gpus_and_cores_are_dealt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3,5,7")
    devices, cuda, two = gpus(), Machine("cuda", (0, 1, 2, 3), True), EngineConfig(tensor_parallel_size=2, replicas=0)
    assert devices == ("2", "3", "5", "7") and replicas(two, cuda, devices) == 2
    assert [place(n, 2, cuda, devices, two)[1] for n in (0, 1)] == ["2,3", "5,7"]
    assert place(0, 1, cuda, devices, two)[1] == "2,3,5,7"
    cpu = Machine("cpu", (0, 1, 2), False)
    assert [place(n, 2, cpu, (), two)[0].cores for n in (0, 1)] == [(0,), (1, 2)]
    assert [place(n, 4, cpu, (), two)[0].cores for n in range(4)] == [(0,), (0,), (1,), (2,)]
    with pytest.raises(UserError, match=r"engine.replicas=3 .* need 6 GPUs, and this machine has 4"):
        replicas(EngineConfig(tensor_parallel_size=2, replicas=3), cuda, devices)


def test_ports_are_drawn_once() -> None:
    assert len(set(free_ports(50))) == 50
