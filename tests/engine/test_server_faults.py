"""The fault matrix: every fault is put in for real, and ends in the promised state, message and exit code."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from schemas.errors import DependencyError
from schemas.load import PROJECT
from tasks.engine.client import Client
from tasks.engine.fake import FakeEngine
from tasks.engine.protocol import Engine, EngineError, Likelihood
from tasks.engine.server import free_port, serve
from tasks.engine.tries import LEAST, Breaker, TooManyFailures, Watched
from tasks.processes.guarded import Guarded, end_orphans, started_at, state_dir
from tasks.propose import propose
from tasks.staging.plan import Plan
from tasks.staging.stage import Round, run_stage
from tasks.storage.store import Store
from tests.chaos.harness import Setting, contents, standin_setting
from tests.samples import STEPWISE, Row, config, document, plan_of
from tests.staging.test_shards import Quiet

DOCUMENTS = [document(n) for n in range(12)]
STRUCTURED: Row = {"task": {"dialect": "structured", "max_attempts": 1}}


@pytest.fixture(autouse=True)
def own_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POP_CACHE", str(tmp_path / "cache"))


def plan_with(**engine: Any) -> Plan:
    """Small settings, and a context that no server need be asked for."""
    return plan_of(config(STRUCTURED, engine={"timeout_sec": 5, "max_retries": 5, "max_model_len": 4096} | engine))


def proposed(url: str, store: Store, plan: Plan, server: Watched | None = None) -> list[Row]:
    """The rows that the propose stage publishes."""

    async def work(plan: Plan, engine: Engine) -> list[Row]:
        return await propose(plan, DOCUMENTS, engine)

    async def run() -> list[Row]:
        gate = asyncio.Semaphore(plan.config.engine.max_in_flight)
        client = Client("fake:policy", plan.config.models["policy"], plan.config.engine, [url], gate, server)
        try:
            await run_stage(Round(plan, store, {"policy": client}, Quiet()), "propose", "shard-00000", (), work)
        finally:
            await client.close()
        return store.read("problems", 0, "shard-00000")

    return asyncio.run(run())


# Faults of the server


@pytest.mark.parametrize(
    ("faults", "options", "engine"),
    [
        ({"http429": 0.6}, {"retry_after_sec": 0.02}, {"max_retries": 0}),  # a busy server costs no try
        ({"http500": 0.4}, {}, {}),
        ({"disconnect": 0.4}, {}, {}),
        ({"slow": "0.3:0.5"}, {}, {}),
        ({"hang": 0.15}, {"fault_seed": 3}, {"timeout_sec": 1.0}),
        ({"http500": 0.2, "http429": 0.2, "disconnect": 0.2}, {"retry_after_sec": 0.02}, {}),
    ],
)
def test_what_passes_is_tried_again_and_costs_no_row(
    tmp_path: Path, faults: dict[str, Any], options: dict[str, Any], engine: dict[str, Any]
) -> None:
    with FakeEngine(faults=faults, **options) as bad:
        rows = proposed(bad.url, Store(str(tmp_path), "r"), plan_with(**engine))
        assert sum(bad.counts()["faults"].values()) >= 1
    assert [row["status"] for row in rows] == ["ok"] * len(DOCUMENTS)


@pytest.mark.parametrize(
    ("faults", "options", "engine", "says", "within_sec"),
    [
        ({"http429": 1.0}, {"retry_after_sec": 0.1}, {"timeout_sec": 0.4}, "RateLimitError", 3),
        ({"http429": 1.0}, {"retry_after_sec": 3600}, {}, "RateLimitError", 2),
        ({"http500": 1.0}, {}, {"max_retries": 1}, "keeps failing: InternalServerError", 3),
        ({"disconnect": 1.0}, {}, {"max_retries": 1}, "keeps failing: RemoteProtocolError", 3),
        ({"hang": 1.0}, {}, {"timeout_sec": 0.4}, "no answer in time (engine.timeout_sec)", 4),
    ],
)
def test_what_does_not_pass_ends_the_stage_in_one_line_and_writes_nothing(
    tmp_path: Path,
    faults: dict[str, Any],
    options: dict[str, Any],
    engine: dict[str, Any],
    says: str,
    within_sec: int,
) -> None:
    store, started = Store(str(tmp_path), "r"), time.monotonic()
    with FakeEngine(faults=faults, **options) as bad, pytest.raises(EngineError, match=re.escape(says)) as caught:
        proposed(bad.url, store, plan_with(**engine))
    assert caught.value.exit_code == 3 and "\n" not in str(caught.value)
    assert time.monotonic() - started < within_sec + 2
    assert store.files("problems", 0) == store.files("generations", 0) == []


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"http://127.0.0.1:9/v1 keeps failing: ConnectError"):
        proposed("http://127.0.0.1:9/v1", Store(str(tmp_path), "r"), plan_with(max_retries=1))


class Picky(BaseHTTPRequestHandler):
    """Answers a problem, but with `status` to prompts that hold one of the `poison` texts."""

    status, poison = 400, ("Subject3 ",)

    def do_POST(self) -> None:
        """Read the request, answer."""
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        bad = any(text in body for text in self.poison)
        problem = json.dumps(
            {"problem": "Why does the cause have its effect?", "reference_answer": "It is so and not otherwise."}
        )
        message = {"role": "assistant", "content": problem}
        answer: Row = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        answer = {"error": {"message": "this schema is not supported"}} if bad else answer
        content = json.dumps(answer).encode()
        self.send_response(self.status if bad else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def picky(status: int, *poison: str) -> Iterator[str]:
    """The address of a server that does not like some requests."""
    handler = type("Handler", (Picky,), {"status": status, "poison": poison})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


@pytest.mark.parametrize(("status", "row_status"), [(400, "rejected"), (422, "rejected"), (500, "failed")])
def test_a_request_that_alone_gets_no_answer_is_a_row_and_is_asked_again_by_the_next_start(
    tmp_path: Path, status: int, row_status: str
) -> None:
    store, plan = Store(str(tmp_path), "r"), plan_with(max_retries=1)
    with picky(status, "Subject3 ") as url:
        rows = proposed(url, store, plan)
    assert [row["status"] for row in rows] == ["ok"] * 3 + [row_status] + ["ok"] * 8
    assert "this schema is not supported" in rows[3]["reason"]
    store.set_aside(store.path("problems", 0, "shard-00000"))
    with picky(status) as url:
        assert {row["status"] for row in proposed(url, store, plan)} == {"ok"}


def test_too_many_failures_stop_the_stage_and_keep_what_succeeded(tmp_path: Path) -> None:
    store, plan = Store(str(tmp_path), "r"), plan_with(max_retries=0, max_in_flight=1)
    says = r"3 of the last 8 requests .*engine.max_failed_share=0.1"
    with (
        picky(400, "Subject5 ", "Subject6 ", "Subject7 ", "Subject8 ") as url,
        pytest.raises(TooManyFailures, match=says) as caught,
    ):
        proposed(url, store, plan)
    assert caught.value.exit_code == 3 and "this schema is not supported" in str(caught.value)
    assert store.files("problems", 0) == []
    journal = tmp_path / "r/journal/round=000/propose-shard-00000.jsonl"
    assert len(journal.read_text().splitlines()) == 5  # and no failure among them
    with picky(400) as url:
        assert len(proposed(url, store, plan)) == 12


def test_the_breaker_counts_the_last_requests_only() -> None:
    breaker = Breaker("m", 0.1)
    for n in range(1000):
        breaker.note(n % 20 != 0)
    with pytest.raises(TooManyFailures):
        for _ in range(LEAST):
            breaker.note(False, "x")


def test_malformed_text_is_no_failure_of_the_server(tmp_path: Path) -> None:
    with FakeEngine(faults={"malformed": 1.0}) as bad:
        rows = proposed(bad.url, Store(str(tmp_path), "r"), plan_with())
    assert {row["status"] for row in rows} <= {"malformed", "empty"}


@pytest.mark.parametrize("fault", ["malformed", "truncated", "garbage"])
def test_missing_log_probabilities_are_asked_for_again_and_never_kept(tmp_path: Path, fault: str) -> None:
    plan = plan_of(config(STEPWISE))
    asking = [Likelihood("judge", f"s{n}", f"context {n}", ("a gold fact", "another fact")) for n in range(20)]

    async def ask(url: str) -> list[str]:
        client = Client("m", plan.config.models["policy"], plan.config.engine, [url], asyncio.Semaphore(8))
        try:
            return [call.finish_reason for call in await asyncio.gather(*map(client.likelihood, asking))]
        finally:
            await client.close()

    with FakeEngine(faults={fault: 0.3}) as bad:
        finished = asyncio.run(ask(bad.url))
    assert finished.count("scored") >= 18
    with FakeEngine(faults={fault: 1.0}) as bad, pytest.raises(TooManyFailures, match="no log-probabilities"):
        asyncio.run(ask(bad.url))


DYING = """
import sys
from tasks.engine.fake import main
print("started with device 0", flush=True)
main(sys.argv[1:])
"""


def served(tmp_path: Path, plan: Plan, *switches: str) -> tuple[list[Row], list[str], int]:
    """The rows that a server of ours with these switches is good for, what is said, and its restarts."""
    said: list[str] = []

    async def work(plan: Plan, engine: Engine) -> list[Row]:
        return await propose(plan, DOCUMENTS, engine)

    async def run() -> tuple[list[Row], list[str], int]:
        port, settings = free_port(), plan.config.engine
        command = [sys.executable, "-c", DYING, "--port", str(port), *switches]
        log = tmp_path / "server.log"
        async with serve("the server", command, {}, port, log, settings, said.append, lambda _: None) as server:
            gate, model = asyncio.Semaphore(settings.max_in_flight), plan.config.models["policy"]
            client = Client("fake:policy", model, settings, [server.url], gate, server)
            store = Store(str(tmp_path), "r")
            try:
                await run_stage(Round(plan, store, {"policy": client}, Quiet()), "propose", "shard-00000", (), work)
            finally:
                await client.close()
            return store.read("problems", 0, "shard-00000"), said, server.restarts

    return asyncio.run(run())


def test_a_server_of_ours_that_dies_is_started_again(tmp_path: Path) -> None:
    plan = plan_with(max_retries=2, max_in_flight=2, max_restarts=3, start_timeout_sec=30)
    rows, said, restarts = served(tmp_path, plan, "--die-after=5")
    assert [row["status"] for row in rows] == ["ok"] * len(DOCUMENTS)
    assert restarts == 2
    assert "the server died; it is started again (2 of at most 3 times)" in said
    assert not list((state_dir() / "processes").glob("*.json"))


@pytest.mark.parametrize(
    ("switches", "settings", "says"),
    [
        (("--die-after=2",), {"max_restarts": 1}, r"died while it was in use and was started again 1 times"),
        (("--die-after=2",), {"max_restarts": 0}, r"died while it was in use; its log"),
        (("--start-delay-sec=30",), {"start_timeout_sec": 1}, r"not ready within 1 s \(engine.start_timeout_sec\)"),
        (("--fault=typo=1",), {}, r"died while starting; its log"),
    ],
)
def test_a_server_of_ours_that_will_not_do_fails_with_the_end_of_its_log(
    tmp_path: Path, switches: tuple[str, ...], settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(DependencyError, match=says) as caught:
        served(tmp_path, plan_with(max_retries=1, **settings), *switches)
    assert str(tmp_path / "server.log") in str(caught.value) and "started with device 0" in str(caught.value)
    assert caught.value.exit_code == 3
    assert not list((state_dir() / "processes").glob("*.json"))


def test_a_slow_start_is_waited_for(tmp_path: Path) -> None:
    rows, _, restarts = served(tmp_path, plan_with(start_timeout_sec=30), "--start-delay-sec=2")
    assert len(rows) == len(DOCUMENTS) and restarts == 0


# Faults of the machine: real small and read-only file systems, in a mount namespace of the test's own


def mountable() -> bool:
    """Whether this user may mount a file system that only it can see."""
    if not shutil.which("unshare"):
        return False
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


needs_mount = pytest.mark.skipif(not mountable(), reason="this user may not mount a file system of its own")
MINE = ("engine.kind=fake", "corpus.documents=8", "corpus.documents_per_shard=4", "engine.max_model_len=8192")
ROUND = [sys.executable, "-m", "flows.cli", "round", "demo", "--run", "fake"]
ROUND += [word for one in MINE for word in ("--set", one)]


def in_namespace(script: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a shell script that may mount."""
    command = ["unshare", "-rm", "sh", "-c", script]
    return subprocess.run(command, env=os.environ | env, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def prefect_env(prefect_server: None) -> dict[str, str]:
    """What lets a process find the tests' Prefect server."""
    from prefect.settings import PREFECT_API_URL

    return {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "COLUMNS": "200"}


@needs_mount
@pytest.mark.parametrize("kib", [4, 48, 200])
def test_a_disk_that_fills_up_is_one_line_and_with_more_room_the_round_goes_on(
    tmp_path: Path, fake_root: Path, prefect_env: dict[str, str], kib: int
) -> None:
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    command = " ".join(f"'{word}'" for word in [*ROUND, "--root", str(disk)])
    done = in_namespace(
        f"mount -t tmpfs -o size={kib}k none {disk}; {command} 2> {tmp_path}/err; echo $?;"
        f"mount -o remount,size=100m {disk}; {command} > /dev/null; echo $?; cp -r {disk} {copy}",
        prefect_env,
    )
    error = (tmp_path / "err").read_text()
    assert done.stdout.split() == ["2", "0"], error + done.stderr[-2000:]
    assert "the disk is full" in error.strip().splitlines()[-1] and "Traceback" not in error
    assert contents(copy, "fake") == contents(fake_root, "fake")


WRITERS = """
import json, os, sys
from pathlib import Path
disk = Path(sys.argv[1])
from schemas.errors import PopError
from tasks.engine.protocol import Generation
from tasks.engine.journal import Journal
from tasks.staging.reconcile import reconcile
from tasks.storage.lock import run_lock
from tasks.processes.guarded import Guarded
from tasks.storage.store import Store
os.environ["POP_CACHE"] = str(disk / "cache")
store = Store(str(disk), "r")
for name in ("journal", "processes"):
    (disk / name).mkdir()
(disk / "cache/processes").mkdir(parents=True)
(disk / "r/pairs/round=000").mkdir(parents=True)
(disk / "r/manifests").mkdir(parents=True)
os.system(sys.argv[2])

def lock():
    with run_lock(store):
        pass

call = Generation("g", "s", "answer", "m", "e", [], "{}", "x" * 9000, "stop", 1, 1, 0.1, 0)
writers = {
    "table": lambda: store.write("pairs", 0, "shard-00000", [], {}),
    "manifest": lambda: store.publish(f"{store.base}/manifests/round.json", b"{}"),
    "journal": lambda: Journal(disk / "journal/j").add(call),
    "lock": lock,
    "log": lambda: Guarded("sleeper", ["sleep", "60"], {}, disk / "deep/log"),
    "record": lambda: Guarded("sleeper", ["sleep", "60"], {}, Path("/dev/null")),
}
for name, write in writers.items():
    try:
        write()
        print(name, "-", "written")
    except PopError as error:
        print(name, error.exit_code, error)
print(sorted(path.name for path in disk.rglob("*.parquet")), os.system("pgrep -P %d sleep" % os.getpid()) != 0)
"""


@needs_mount
@pytest.mark.parametrize(
    ("fill", "code", "says"),
    [("cat /dev/zero > {disk}/fill 2> /dev/null", "2", "the disk is full"),
     ("mount -o remount,ro {disk}", "3", "cannot write")],
)  # fmt: skip
def test_every_kind_of_file_that_cannot_be_written_is_one_line_and_leaves_nothing_half(
    tmp_path: Path, fill: str, code: str, says: str
) -> None:
    disk, script = tmp_path / "disk", tmp_path / "writers.py"
    disk.mkdir()
    script.write_text(WRITERS)
    command = f"'{sys.executable}' {script} {disk} '{fill.format(disk=disk)}'"
    done = in_namespace(f"mount -t tmpfs -o size=1m none {disk}; {command}", {"PYTHONPATH": str(PROJECT)})
    *lines, left = done.stdout.strip().splitlines()
    assert [line.split()[0] for line in lines] == ["table", "manifest", "journal", "lock", "log", "record"], done.stderr
    for line in lines:
        assert line.split()[1] == code and says in line, line
    assert left == "[] True"


@needs_mount
def test_a_read_only_root_cannot_be_written_and_can_be_read(
    tmp_path: Path, fake_root: Path, prefect_env: dict[str, str]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    pop = f"'{sys.executable}' -m flows.cli"
    round_ = " ".join(f"'{word}'" for word in [*ROUND, "--root", str(disk)])
    done = in_namespace(
        f"mount --bind {fake_root} {disk}; mount -o remount,bind,ro {disk};"
        f"{pop} status --root {disk} > /dev/null; echo $?;"
        f"{pop} sql 'select * from funnel' --root {disk} > /dev/null; echo $?; {round_} > /dev/null; echo $?",
        prefect_env,
    )
    assert done.stdout.split() == ["0", "0", "3"], done.stderr
    assert "cannot write in" in done.stderr and "choose another --root" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_clock_that_jumps_makes_nobody_an_orphan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = Guarded("mine", [sys.executable, "-c", "import time; time.sleep(600)"], {}, tmp_path / "log")
    real = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: real(process) + 3600.0)  # as after a clock set
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert end_orphans() == [] and guarded.poll() is None
    assert started_at(os.getpid()) == started_at(os.getpid())
    with FakeEngine() as engine:
        rows = proposed(engine.url, Store(str(tmp_path), "r"), plan_with())
    assert len(rows) == len(DOCUMENTS)
    guarded.stop()


# Signals


@pytest.fixture
def slow_round(tmp_path: Path, prefect_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Setting:
    """A round with a server of its own that takes its time."""
    setting = standin_setting(tmp_path, "stepwise", prefect_env["PREFECT_API_URL"])
    setting.env |= {"STANDIN_SERVER": "--latency-sec 0.2", "POP_CACHE": str(tmp_path / "cache")}
    return setting


@pytest.mark.parametrize(
    ("signals", "code", "within_sec"), [((signal.SIGTERM,), 143, 10), ((signal.SIGINT,), 130, 10),
                                        ((signal.SIGINT, signal.SIGINT), 130, 3)],
)  # fmt: skip
def test_a_signal_leaves_in_seconds_with_its_exit_code_and_nothing_is_lost_or_left(
    tmp_path: Path, slow_round: Setting, signals: tuple[signal.Signals, ...], code: int, within_sec: float
) -> None:
    root = tmp_path / "runs"
    journals = root / "chaos/journal/round=000"
    command, env = [*slow_round.command, "--root", str(root)], os.environ | slow_round.env
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(journals.glob("answer-*.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    own = psutil.Process(process.pid).children(recursive=True)
    assert own
    started = time.monotonic()
    for one in signals:
        process.send_signal(one)
        time.sleep(0.3)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err[-2000:]
    assert time.monotonic() - started < within_sec
    assert "Traceback" not in err and "the same command goes on from here" in err
    assert not psutil.wait_procs(own, timeout=3)[1]
    assert any(path.stat().st_size for path in journals.glob("*.jsonl"))
    assert not list(root.rglob("*.tmp"))
