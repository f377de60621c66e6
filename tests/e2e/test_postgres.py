"""Prefect on PostgreSQL: `make server DATABASE=…`, a second worker, four rounds at once."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from schemas.load import PROJECT
from tasks.engine.server import free_port
from tests.conftest import FAKE, asked, fake_config

pytestmark = pytest.mark.e2e
PROGRAMS = [Path(found).parent for found in sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")))]
BIN = PROGRAMS[-1] if PROGRAMS else Path(shutil.which("initdb") or "/nowhere").parent


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of an empty database on loopback."""
    if not (BIN / "pg_ctl").exists():
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pop-pg-"))
    who: dict[str, Any] = {}
    if os.getuid() == 0:  # it refuses to be run by root
        who = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        shutil.chown(folder, "nobody", "nogroup")
    port = free_port()

    def run(*command: str) -> None:
        subprocess.run([str(BIN / command[0]), *command[1:]], check=True, cwd=folder, stdout=subprocess.DEVNULL, **who)

    data = str(folder / "data")
    run("initdb", "-D", data, "-U", "pop", "--auth=trust", "--no-sync")
    run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", f"-p {port} -k {folder} -h 127.0.0.1 -F", "start")
    try:
        run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "pop", "prefect")
        yield f"postgresql+asyncpg://pop@127.0.0.1:{port}/prefect"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


def ended(process: subprocess.Popen[Any]) -> None:
    """A make and all that it runs."""
    with contextlib.suppress(psutil.NoSuchProcess):  # it has ended by itself
        for child in psutil.Process(process.pid).children(recursive=True)[:1]:
            child.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(60)


def test_four_rounds_at_once_on_two_workers(database: str, tmp_path: Path) -> None:
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MAKE", "MFLAGS", "ARGS"))
    }
    env |= {"POP_CACHE": str(tmp_path / "cache"), "PREFECT_HOME": str(tmp_path / "home"), "POP_ROOT": str(tmp_path)}
    make = ["make", "-s", f"BIN={Path(sys.executable).parent}", f"STAMP={PROJECT / 'Makefile'}"]
    server = subprocess.Popen([*make, "server", f"PORT={port}", f"DATABASE={database}"], cwd=PROJECT, env=env)
    worker = None
    try:
        deployment = _deployment(api, server)
        worker = subprocess.Popen([*make, "worker"], cwd=PROJECT, env=env | {"PREFECT_API_URL": api})
        httpx.patch(f"{api}/v2/concurrency_limits/gpu", json={"limit": 4}, timeout=60).raise_for_status()
        assert len(_workers(api, 2)) == 2
        beating = [one.environ().get("PREFECT_FLOWS_HEARTBEAT_FREQUENCY") for one in _under(worker)]
        assert "30" in beating  # by whose absence its dead runs are known
        config = fake_config("training.enabled=false", "gate.audits=off").model_dump(mode="json")
        parameters = {"config": config, "run": "r0", "root": str(tmp_path)}
        asked(f"{api}/deployments/{deployment}/create_flow_run", {"parameters": parameters})
        sets = [word for one in (*FAKE, "training.enabled=false", "gate.audits=off") for word in ("--set", one)]
        rounds = [
            subprocess.Popen([sys.executable, "-m", "flows.cli", "round", "demo", *sets, "--run", f"r{n}"], cwd=PROJECT,
                             env=env | {"PREFECT_API_URL": api}, stdout=subprocess.DEVNULL)
            for n in (1, 2, 3)
        ]  # fmt: skip
        assert [one.wait(400) for one in rounds] == [0, 0, 0]
        assert _states(api) == {f"r{n}-r000": "COMPLETED" for n in range(4)}
        assert "locked" not in (tmp_path / "cache/server/server.log").read_text()
        assert not list(tmp_path.glob("home/*.db"))
    finally:
        for one in filter(None, (worker, server)):
            ended(one)


def _under(process: subprocess.Popen[Any]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def _deployment(api: str, server: subprocess.Popen[Any]) -> str:
    over = time.monotonic() + 300
    while time.monotonic() < over and server.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if (found := httpx.get(f"{api}/deployments/name/round/round", timeout=30)).status_code == 200:
                return str(found.json()["id"])
        time.sleep(1)
    raise AssertionError("make server did not make its deployments")


def _workers(api: str, count: int) -> list[Any]:
    over = time.monotonic() + 120
    while len(found := asked(f"{api}/work_pools/pop/workers/filter")) < count and time.monotonic() < over:
        time.sleep(1)
    return list(found)


def _states(api: str) -> dict[str, str]:
    over = time.monotonic() + 300
    while True:
        found = {run["name"]: run["state_type"] for run in asked(f"{api}/flow_runs/filter", {"limit": 50})}
        found = {name: state for name, state in found.items() if name.endswith("-r000")}
        if (
            len(found) == 4 and not {"RUNNING", "PENDING", "SCHEDULED"} & set(found.values())
        ) or time.monotonic() > over:
            return found
        time.sleep(1)
