"""A shard of a stage: what is recorded, reused, and done again."""

import asyncio
import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import UserError
from tasks.asking.asker import Asker
from tasks.asking.parse import Malformed
from tasks.engine.client import Client
from tasks.engine.fake import FakeEngine
from tasks.engine.journal import Journal
from tasks.engine.protocol import Engine, EngineError, Generation, Request
from tasks.engine.recorder import Recorder
from tasks.propose import Checks, _with_reference, propose
from tasks.shard import Shards, shard_task, shards_of
from tasks.staging.plan import Plan
from tasks.staging.stage import Round, run_stage
from tasks.storage.store import Store
from tests.samples import STRUCTURED, Quiet, Row, all_stages, asking, config, document, plan_of

DOCUMENTS = [document(n) for n in range(4)]


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    """A server without faults."""
    with FakeEngine(max_model_len=4096) as running:
        yield running


def structured(**changes: Any) -> Plan:
    """A plan in the structured dialect."""
    return plan_of(config(STRUCTURED, **changes))


class Slow:
    """An engine in this process that counts its calls; one call fails, the others take long."""

    model = "slow"

    def __init__(self, failing: str = "", seconds: float = 0.0):
        self.failing, self.seconds, self.begun, self.finished, self.text = failing, seconds, 0, 0, "text"

    async def chat(self, request: Request) -> Generation:
        self.begun += 1
        if request.subject_id == self.failing:
            raise EngineError("gone")
        await asyncio.sleep(self.seconds)
        self.finished += 1
        return Generation(
            request.generation_id(self.model), request.subject_id, request.role, self.model, "e", [], "{}", self.text,
            "stop", 1, 1, 0.0, request.attempt,
        )  # fmt: skip

    likelihood = budget = chat


def test_the_same_call_is_made_once_also_if_asked_for_twice_at_once(tmp_path: Path) -> None:
    slow: Any = Slow()

    async def work() -> None:
        recorder = Recorder(slow, Journal(tmp_path / "j"))
        await asyncio.gather(*(recorder.chat(asking("a")) for _ in range(5)))
        await recorder.chat(asking("a"))
        await Recorder(slow, Journal(tmp_path / "j")).chat(asking("a"))

    asyncio.run(work())
    assert slow.begun == 1


def test_a_stage_that_failed_makes_no_more_calls(tmp_path: Path) -> None:
    """Its siblings must not go on beside the retry, and what was finished is kept."""
    slow: Any = Slow("bad", 0.2)

    async def work() -> None:
        journal = Journal(tmp_path / "j")
        recorder = Recorder(slow, journal)
        await recorder.chat(asking("done"))
        with pytest.raises(EngineError):
            await asyncio.gather(*(recorder.chat(asking(name)) for name in ("a", "bad", "b")))
        await recorder.stop()
        with pytest.raises(asyncio.CancelledError):
            await recorder.chat(asking("late"))
        await asyncio.sleep(0.3)
        journal.close()

    asyncio.run(work())
    assert (slow.begun, slow.finished) == (4, 1)
    assert len((tmp_path / "j").read_text().splitlines()) == 1


def cut(round_: Round) -> Shards:
    shard_task.fn(round_)
    shards = shards_of(round_)
    assert shards
    return shards


def shard_of(url: str, plan: Plan, store: Store, documents: list[Row]) -> tuple[Any, Quiet]:
    """Do the propose stage of a shard as a task does, and what the display was told."""
    quiet = Quiet()

    async def run() -> Any:
        engine = plan.config.engine
        client = Client(
            "fake:policy", plan.config.models["policy"], engine, [url], asyncio.Semaphore(engine.max_in_flight)
        )
        round_ = Round(plan, store, {"policy": client}, quiet)

        async def work(plan: Plan, recorder: Engine) -> list[Row]:
            return await propose(plan, documents, recorder)

        try:
            return await run_stage(round_, "propose", "shard-00000", (), work)
        finally:
            await client.close()

    return asyncio.run(run()), quiet


def test_a_finished_shard_is_reused_and_a_changed_setting_does_it_again(engine: FakeEngine, tmp_path: Path) -> None:
    store, plan = Store(str(tmp_path), "r1"), structured()
    first, _ = shard_of(engine.url, plan, store, DOCUMENTS)
    assert first == {"shard": "shard-00000", "rows": 4, "calls": 4}
    before = store.read("problems", 0, "shard-00000")
    reused, quiet = shard_of("http://127.0.0.1:9/v1", plan, store, DOCUMENTS)  # no server is asked
    assert (reused.name, quiet.shown, quiet.calls) == ("Reused", [True], 0)
    shard_of(engine.url, structured(sampling={"seed": 5}), store, DOCUMENTS)
    assert {row["problem_id"] for row in before}.isdisjoint(
        {r["problem_id"] for r in store.read("problems", 0, "shard-00000")}
    )


def test_a_shard_leaves_its_calls_its_provenance_and_no_journal(engine: FakeEngine, tmp_path: Path) -> None:
    store, plan = Store(str(tmp_path), "r1"), structured()
    shard_of(engine.url, plan, store, DOCUMENTS)
    calls = store.read("generations", 0, "shard-00000.propose")
    assert {row["generation_id"] for row in store.read("problems", 0, "shard-00000")} == {
        r["generation_id"] for r in calls
    }
    footer = store.footer("generations", 0, "shard-00000.propose")
    assert footer == store.footer("problems", 0, "shard-00000")
    assert footer and (footer["model"], footer["shard"]) == ("fake:policy", "shard-00000")
    assert not list(tmp_path.rglob("*.jsonl"))


def test_a_server_that_dies_costs_only_what_was_not_answered(tmp_path: Path) -> None:
    store, plan = Store(str(tmp_path), "r1"), structured(engine={"max_in_flight": 1, "max_retries": 0})
    documents = [document(n) for n in range(9)]
    with FakeEngine(die_after=4) as dying, pytest.raises(EngineError):
        shard_of(dying.url, plan, store, documents)
    assert store.files("problems", 0) == store.files("generations", 0) == []
    with FakeEngine() as new:
        shard_of(new.url, plan, store, documents)
        asked_again = new.requests()["/v1/chat/completions"]
        whole = Store(str(tmp_path), "r2")
        shard_of(new.url, plan, whole, documents)
    unrun = [[{**row, "run": ""} for row in one.read("problems", 0, "shard-00000")] for one in (store, whole)]
    assert unrun[0] == unrun[1]
    calls = [len(one.read("generations", 0, "shard-00000.propose")) for one in (store, whole)]
    assert calls[0] == calls[1] == asked_again + 4


def test_an_api_key_reaches_the_server_and_no_file(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    plan = structured(models={"policy": {"path": "x", "api_key_env": "MY_KEY"}})
    shard_of(engine.url, plan, Store(str(tmp_path), "r1"), DOCUMENTS)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    store = Store(str(tmp_path), "r1")
    assert "sk-very-secret" not in json.dumps(store.read("generations", 0, "shard-00000.propose"))
    assert all(b"sk-very-secret" not in path.read_bytes() for path in files)
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(UserError, match="MY_KEY"):
        shard_of(engine.url, plan, Store(str(tmp_path), "r2"), DOCUMENTS)


def test_fewer_shards_leave_no_rows_of_the_old_ones(tmp_path: Path) -> None:
    """The same documents stand in other shards then; the old rows beside the new would be doubled."""
    store, quiet = Store(str(tmp_path), "r1"), Quiet()
    small = config(corpus={"documents": 4, "documents_per_shard": 1, "heldout_documents": 1})
    shards = cut(Round(plan_of(small), store, {}, quiet))
    assert shards.names == tuple(f"shard-{n:05d}" for n in range(4))
    plan = plan_of(small)
    for name in shards.names:
        store.write("pairs", 0, name, [], plan.footer("pair"))
        store.write("generations", 0, f"{name}.rate", [], plan.footer("rate"))
    assert cut(Round(plan_of(small), store, {}, quiet)) == shards
    assert quiet.shown == [False, True]
    large = config(small.model_dump(), corpus={"documents_per_shard": 2})
    shard_task.fn(Round(plan_of(large), store, {}, quiet))
    assert store.files("pairs", 0) == store.files("generations", 0) == []
    assert len(store.glob("superseded/*/round=000/*.parquet")) == 14
    documents = [row["document_id"] for name in store.files("documents", 0) for row in store.read("documents", 0, name)]
    assert len(documents) == len(set(documents))
    later = cut(Round(plan_of(large, 1), store, {}, quiet))
    assert later.documents == 4
    again = [row["document_id"] for name in store.files("documents", 1) for row in store.read("documents", 1, name)]
    assert not set(documents) & set(again)  # a later round reads other documents


def test_asking_stops_at_the_first_good_answer_and_keeps_the_last_reason(tmp_path: Path) -> None:
    slow: Any = Slow()
    plan = structured(task={"max_attempts": 4})

    def read_at(good: int) -> Any:
        seen = iter(range(9))

        def read(text: str) -> str:
            if (n := next(seen)) < good:
                raise Malformed(f"try {n}")
            return text

        return read

    asked = asyncio.run(Asker(plan, "propose", slow).text("s", "f", "prompt", read_at(2)))
    assert (asked.value, asked.status, slow.begun) == ("text", "ok", 3)
    assert asked.generation is not None
    assert asked.generation.attempt == 2
    with_bounds = partial(_with_reference, "much too long " * 1000, checks=Checks(plan))  # pydantic refuses it
    slow.text = "A reference answer of many words."
    refused = asyncio.run(Asker(plan, "propose", slow).text("s", "f", "prompt", with_bounds))
    assert (refused.value, refused.status, slow.begun) == (None, "malformed", 7)
    failed = asyncio.run(Asker(plan, "propose", slow).text("s", "f", "prompt", read_at(9)))
    assert (failed.value, failed.status, failed.reason, slow.begun) == (None, "malformed", "try 3", 11)


def test_requests_in_flight_are_bounded_over_everything(tmp_path: Path) -> None:
    plan = structured(engine={"max_in_flight": 3})
    with FakeEngine(latency_sec=0.02) as slow:
        started = time.monotonic()
        all_stages(slow.url, plan, DOCUMENTS[:2], tmp_path / "j")
        assert time.monotonic() - started > 22 / 3 * 0.02
        assert slow.counts()["peak_in_flight"] <= 3
