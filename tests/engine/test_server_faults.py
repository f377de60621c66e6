"""Faults of the server, put in for real: each ends in the promised state, message and exit code."""

import asyncio
import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import DependencyError
from tasks.engine.client import Client
from tasks.engine.fake import FakeEngine
from tasks.engine.group import serve_all
from tasks.engine.protocol import Engine, EngineError, Likelihood
from tasks.engine.server import Served, free_port
from tasks.engine.tries import LEAST, Breaker, TooManyFailures
from tasks.processes.guarded import state_dir
from tasks.propose import propose
from tasks.staging.plan import Plan
from tasks.staging.stage import Round, run_stage
from tasks.storage.store import Store
from tests.engine.samples import DOCUMENTS, STRUCTURED, plan_with, proposed
from tests.engine.serving import serving
from tests.samples import STEPWISE, Quiet, Row, config, plan_of

pytestmark = pytest.mark.usefixtures("own_records")


@pytest.mark.parametrize(
    ("faults", "options", "engine"),
    [
        ({"http429": 0.6}, {"retry_after_sec": 0.02}, {"max_retries": 0}),  # a busy server costs no try
        ({"http500": 0.4}, {}, {}),
        ({"disconnect": 0.4}, {}, {}),
        ({"slow": "0.3:0.5"}, {}, {}),
        ({"hang": 0.15}, {"fault_seed": 6}, {"timeout_sec": 1.0}),
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


@pytest.mark.alone
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
    with serving(handler) as address:
        yield f"{address}/v1"


def plan_without_support(**engine: Any) -> Plan:
    """Of a server whose one answer has nothing to do with the document."""
    free: Row = STRUCTURED | {"task": STRUCTURED["task"] | {"min_support": 0.0}}
    return plan_of(config(free, engine={"timeout_sec": 5, "max_retries": 5, "max_model_len": 4096} | engine))


@pytest.mark.parametrize(("status", "row_status"), [(400, "rejected"), (422, "rejected"), (500, "failed")])
def test_a_request_that_alone_gets_no_answer_is_a_row_and_is_asked_again_by_the_next_start(
    tmp_path: Path, status: int, row_status: str
) -> None:
    store, plan = Store(str(tmp_path), "r"), plan_without_support(max_retries=1)
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
from tasks.engine.fake.__main__ import main
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
        one = Served("the server", command, {}, port, log, settings, said.append, lambda _: None)
        async with serve_all([one], said.append) as server:
            gate, model = asyncio.Semaphore(settings.max_in_flight), plan.config.models["policy"]
            client = Client("fake:policy", model, settings, server.urls, gate, server)
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
