"""Prefect's own state may be lost or wrong: what is done and what is owed, the files say."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from flows.deploy.automation import ENDS, HEARTBEAT, NAME, mark_dead_runs_as_crashed
from flows.views import artifacts
from tests.chaos.harness import contents, standin_setting
from tests.conftest import FAKE, asked

ROUND = [sys.executable, "-m", "flows.cli", "round", "demo", "--run", "fake"]
ROUND += [word for one in FAKE for word in ("--set", one)]


def flow_run_states(url: str) -> list[str | None]:
    """The states of all flow runs, as Prefect shows them, oldest first."""
    found = asked(f"{url}/flow_runs/filter", {"sort": "START_TIME_ASC", "limit": 200})
    return [run["state_type"] for run in found]


class PrefectServer:
    """A server in a process of its own, with a database of its own."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.env = os.environ | {"PREFECT_HOME": str(home), "PREFECT_SERVER_API_PORT": str(self.port)}
        self.env.pop("PREFECT_API_URL", None)
        self.env.pop("PREFECT_API_DATABASE_CONNECTION_URL", None)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(
            command, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.3)
        raise TimeoutError("Prefect's server does not start")

    def stop(self) -> None:
        """kill -9, with all that it started."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def other_server(tmp_path: Path) -> Iterator[PrefectServer]:
    """A Prefect that has never heard of any run."""
    server = PrefectServer(tmp_path / "prefect")
    server.start()
    yield server
    server.stop()


def run(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)


def test_a_prefect_that_knows_nothing_makes_nothing_again_and_one_that_goes_away_loses_nothing(
    fake_root: Path, tmp_path: Path, other_server: PrefectServer
) -> None:
    shutil.copytree(fake_root / "fake", tmp_path / "fake")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "fake").rglob("*.parquet")}
    env = os.environ | {"PREFECT_API_URL": other_server.url}
    done = run([*ROUND, "--root", str(tmp_path)], env)
    assert done.returncode == 0, done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "fake").rglob("*.parquet")}
    assert flow_run_states(other_server.url) == ["COMPLETED"]

    setting = standin_setting(tmp_path, "stepwise", other_server.url)
    setting.env |= {"POP_CACHE": str(tmp_path / "cache"), "PREFECT_CLIENT_MAX_RETRIES": "1"}  # else it waits minutes
    command, env = [*setting.command, "--root", str(tmp_path / "runs")], os.environ | setting.env
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        answers = tmp_path / "runs/chaos/answers/round=000"
        deadline = time.monotonic() + 90
        while not list(answers.glob("*.parquet")) and time.monotonic() < deadline:
            time.sleep(0.05)
        other_server.stop()
        whole = subprocess.Popen(  # beside it, at another server
            [*setting.command, "--root", str(tmp_path / "undisturbed")], stderr=subprocess.DEVNULL,
            env=env | {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "POP_CACHE": str(tmp_path / "other-cache"),
                       "PREFECT_CLIENT_MAX_RETRIES": "5"},
        )  # fmt: skip
        try:
            _, err = process.communicate(timeout=240)
        finally:
            process.kill()
    assert process.returncode == 3, err[-3000:]
    assert "pop: Prefect's server does not answer any more; nothing is lost" in err
    assert list((tmp_path / "runs/chaos/pairs").rglob("*.parquet"))  # it has gone on all the same
    other_server.start()
    again = run(command, env)
    assert again.returncode == 0, again.stderr
    assert whole.wait(120) == 0
    assert contents(tmp_path / "runs", "chaos") == contents(tmp_path / "undisturbed", "chaos")


def test_a_prefect_that_twice_did_not_answer_is_left_alone_and_once_is_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "_SILENCE", {"failures": 0.0, "until": 0.0})
    asked = list[str]()

    async def answer(text: str) -> str:
        asked.append(text)
        if text == "lost":
            raise httpx.ConnectError(text)
        return text

    async def show(*texts: str) -> list[str | None]:
        return [await artifacts.published(answer(text)) for text in texts]

    assert asyncio.run(show("lost", "a", "lost", "lost", "b")) == [None, "a", None, None, None]
    assert asked == ["lost", "a", "lost", "lost"]


def test_a_run_that_prefect_takes_for_running_does_not_stand_in_the_way(prefect_server: None, tmp_path: Path) -> None:
    url = str(PREFECT_API_URL.value())
    setting = standin_setting(tmp_path, "stepwise", url)
    setting.env |= {"POP_CACHE": str(tmp_path / "cache")}
    command, env = [*setting.command, "--root", str(tmp_path / "runs")], os.environ | setting.env
    running = flow_run_states(url).count("RUNNING")
    process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (tmp_path / "runs/chaos/problems").exists() and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert flow_run_states(url).count("RUNNING") == running + 1  # for ever, without the automation
    done = run(command, env)
    assert done.returncode == 0, done.stderr


def test_the_automation_for_dead_runs_is_there_once_however_often_it_is_set_up(prefect_server: None) -> None:
    async def set_up() -> tuple[list[bool], list[Automation]]:
        created = [await mark_dead_runs_as_crashed(60.0), await mark_dead_runs_as_crashed(120.0)]
        async with get_client() as client:
            found = await client.read_automations_by_name(NAME)
        return created, [Automation(**one.model_dump()) for one in found]

    created, (found,) = asyncio.run(set_up())
    assert created == [True, False]
    trigger = found.trigger.model_dump()
    assert trigger["posture"] == "Proactive" and trigger["after"] == {HEARTBEAT}
    assert trigger["within"].total_seconds() == 120 and trigger["expect"] == {HEARTBEAT, *ENDS}
    assert found.enabled and found.actions[0].model_dump()["state"] == "CRASHED"
