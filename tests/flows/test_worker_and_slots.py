"""A run does not outlive its worker, the slot of a dead run comes back, and runs that nobody works on are marked."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL
from prefect.states import Pending, Running

from flows.deploy import dead
from flows.deploy.dead import DeadRuns
from flows.deploy.deployments import make_limit
from flows.slots import LIMIT, Holder, free_lost
from flows.worker import worker_of
from schemas.load import PROJECT

RUN = """
import sys, time
from pathlib import Path
from flows.worker import end_with_worker
from tasks.processes.guarded import Guarded
engine = Guarded("engine", [sys.executable, "-c", "import time; time.sleep(600)"], {}, Path(sys.argv[1]))
end_with_worker(lambda text: print(text, file=open(sys.argv[2], "w"), flush=True))
end_with_worker(print)
print(engine.pid, flush=True)
time.sleep(600)
"""
WORKER = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", *sys.argv[3:]], start_new_session=True).wait()
"""


@pytest.fixture
def worker(tmp_path: Path, own_records: None) -> subprocess.Popen[str]:
    """What looks like `prefect worker start`, with a run in a session of its own and that run's engine."""
    command = [sys.executable, "-c", WORKER, "worker", "start", RUN, str(tmp_path / "log"), str(tmp_path / "said")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT, env=os.environ.copy())


def mine(process: psutil.Process, cache: str) -> bool:
    """Whether a process was started for this test, by whomever: a Prefect server of its own has no parent left."""
    try:
        return process.pid != os.getpid() and process.environ().get("POP_CACHE") == cache
    except psutil.Error:
        return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_ends_with_its_worker_and_leaves_nothing(
    worker: subprocess.Popen[str], tmp_path: Path, how: signal.Signals
) -> None:
    assert worker.stdout is not None and int(worker.stdout.readline())
    while len(left := psutil.Process(worker.pid).children(recursive=True)) < 3:
        time.sleep(0.05)  # the run, its guardian, its engine
    worker.send_signal(how)
    worker.wait()
    assert not psutil.wait_procs(left, timeout=15)[1]
    assert "its worker has ended; start it again" in (tmp_path / "said").read_text()
    assert not list((tmp_path / "cache/processes").glob("*.json"))
    assert not [one for one in psutil.process_iter() if mine(one, str(tmp_path / "cache"))]


def test_only_what_a_worker_started_has_one() -> None:
    assert worker_of(psutil.Process()) is None


@asynccontextmanager
async def limit(slots: int) -> AsyncIterator[PrefectClient]:
    async with get_client() as client:
        await make_limit(client)
        await client.update_global_concurrency_limit(LIMIT, GlobalConcurrencyLimitUpdate(active_slots=slots))
        yield client
        await client.update_global_concurrency_limit(LIMIT, GlobalConcurrencyLimitUpdate(active_slots=0))


@pytest.mark.parametrize(("ended_sec_ago", "freed"), [(None, False), (20, False), (600, True)])
def test_a_slot_that_a_run_left_long_ago_is_given_back_and_no_other(
    prefect_server: None, ended_sec_ago: float | None, freed: bool
) -> None:
    async def tried(taken: int = 1) -> tuple[bool, int]:
        now = datetime.now(UTC)
        end = None if ended_sec_ago is None else now - timedelta(seconds=ended_sec_ago)
        async with limit(slots=taken) as client:
            done = await free_lost(client, Holder("night-r003", now - timedelta(hours=2), "Crashed", end), now)
            return done, (await client.read_global_concurrency_limit_by_name(LIMIT)).active_slots

    assert asyncio.run(tried()) == (freed, 0 if freed else 1)
    assert asyncio.run(tried(taken=2)) == (freed, 1 if freed else 2)  # the other one may be held by a run that lives


def test_the_holder_is_said_with_its_time_and_whether_it_lives() -> None:
    since = datetime(2026, 11, 26, 14, 18, 32, tzinfo=UTC)
    assert str(Holder("night-r003", since)) == "night-r003 since 2026-11-26 14:18:32 UTC"
    assert "a run that has ended (crashed)" in str(Holder("night-r003", since, "Crashed", since))


async def runs_in(*states: State[Any]) -> list[UUID]:
    """Runs of a deployment, in these states."""
    async with get_client() as client:
        flow = await client.create_flow_from_name(f"flow-{uuid4()}")
        deployment = await client.create_deployment(flow_id=flow, name="d")
        ids = [(await client.create_flow_run_from_deployment(deployment)).id for _ in states]
        for flow_run, state in zip(ids, states, strict=True):
            await client.set_flow_run_state(flow_run, state, force=True)
        return ids


async def names(ids: list[UUID]) -> list[tuple[str | None, str | None]]:
    async with get_client() as client:
        states = [(await client.read_flow_run(one)).state for one in ids]
        return [(state.name, state.message) for state in states if state]


def test_runs_without_a_sign_of_life_are_marked_when_they_are_silent_twice(
    prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead, "SILENT_SEC", 5.0)
    monkeypatch.setattr(dead, "BEGINNING_SEC", 0.0)
    runs = DeadRuns(str(PREFECT_API_URL.value()))
    ids = asyncio.run(runs_in(Running(), Running(), Pending()))
    time.sleep(5.5)
    for _ in range(2):
        emit_event("prefect.flow-run.heartbeat", {"prefect.resource.id": f"prefect.flow-run.{ids[0]}"})
        time.sleep(2.5)  # until the server has it
        runs.look()
    (living, _), *others = asyncio.run(names(ids))
    assert living == "Running"
    assert others == [("Crashed", dead.MESSAGE)] * 2


def test_what_no_worker_has_begun_is_marked_at_the_start(prefect_server: None) -> None:
    ids = asyncio.run(runs_in(Pending(), Running()))
    assert len(DeadRuns(str(PREFECT_API_URL.value())).never_begun()) >= 1
    assert [name for name, _ in asyncio.run(names(ids))] == ["Crashed", "Running"]


def test_a_server_that_is_away_is_no_reason_to_mark_anybody() -> None:
    runs = DeadRuns("http://127.0.0.1:9/api")
    assert runs.look() == [] and runs.never_begun() == []
