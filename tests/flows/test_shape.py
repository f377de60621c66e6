"""The shape of a long round, without a clock: few shards on their way, few rows held, each text tokenized once."""

import asyncio
import json
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest

from flows import shards as on_their_way
from tasks.engine.client import Client
from tasks.engine.fake import FakeEngine
from tasks.engine.gate import Gate
from tasks.engine.recorder import Recorder
from tasks.shard import shard_task, shards_of
from tasks.staging import stage
from tasks.staging.stage import Round
from tasks.storage.store import Store
from tests.samples import STEPWISE, Quiet, config, plan_of, rows

SHARDS, AT_ONCE, ANSWERS = 24, 6, 3
HELD: "WeakSet[Recorder]" = WeakSet()  # each has the rows and calls of a shard's stage


class Held(Recorder):
    """One that is known to be there."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        HELD.add(self)


class Watching(Quiet):
    """Notes what is done, in order, and how much is held meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.order, self.most_held = list[str](), 0

    def call(self, stage: str) -> None:
        super().call(stage)
        self.most_held = max(self.most_held, len(HELD))

    def shard(self, stage: str, reused: bool) -> None:
        super().shard(stage, reused)
        self.order.append(stage)


class NoBars:
    """Nobody watches."""

    async def move(self, stage: str, done: int, total: int) -> None:
        """Nothing."""


def test_a_long_round_holds_few_shards_and_tokenizes_each_text_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "corpus.jsonl"
    texts = [
        f"Canal {n} joins the rivers of district {n * 7}. Its lock lifts {n} boats. " * 8 for n in range(3 * SHARDS)
    ]
    corpus.write_text("".join(json.dumps({"title": f"Canal {n}", "text": one}) + "\n" for n, one in enumerate(texts)))
    plan = plan_of(config(
        STEPWISE, corpus={"source": str(corpus), "documents": SHARDS, "documents_per_shard": 1},
        sampling={"answers": ANSWERS}, engine={"max_in_flight": AT_ONCE, "max_model_len": 8192},
        task={"type": "general", "max_similarity": 1.0}, evaluation={"probes": 0},
    ), run="r")  # fmt: skip
    monkeypatch.setattr(stage, "Recorder", Held)
    monkeypatch.setattr(on_their_way, "TASKS", {name: task.fn for name, task in on_their_way.TASKS.items()})
    watching = Watching()

    async def run(url: str) -> Round:
        gate = Gate(AT_ONCE)
        client = Client("fake:policy", plan.config.models["policy"], plan.config.engine, [url], gate)
        round_ = Round(plan, Store(str(tmp_path / "runs"), "r"), {"policy": client}, watching)
        shard_task.fn(round_)
        cut = shards_of(round_)
        assert cut and len(cut.names) == SHARDS
        round_.set_shards(cut.names)
        try:
            bars: Any = NoBars()
            await on_their_way.run_shards(round_, cut.names, bars, tuple(on_their_way.TASKS), gate)
        finally:
            await client.close()
        return round_

    with FakeEngine() as engine:
        round_ = asyncio.run(run(engine.url))
        counts = engine.counts()
    assert counts["peak_in_flight"] <= AT_ONCE
    assert round_.most_at_once <= AT_ONCE + 2 < SHARDS
    assert watching.most_held <= round_.most_at_once
    order = watching.order
    last_begins = len(order) - 1 - order[::-1].index("propose")
    assert order[:last_begins].count("pair") > SHARDS // 2  # their pairs are there long before the last one begins
    texts_asked = "SELECT count(DISTINCT m.content) FROM generations, unnest(messages) t(m) WHERE role = 'judge'"
    [(texts_rated,)] = rows(tmp_path / "runs", "r", texts_asked)
    assert 0 < counts["endpoints"]["/tokenize"] <= texts_rated


def test_the_oldest_shard_goes_first_and_the_last_ones_end_side_by_side() -> None:
    def before(one: tuple[int, str], other: tuple[int, str]) -> bool:
        first, then = (on_their_way.turn_of(place, 8, stage) for place, stage in (one, other))
        return first < then

    assert before((0, "rate"), (1, "rubric")) and before((7, "rate"), (9, "propose"))
    assert before((9, "answer"), (8, "rate"))  # else the last one's stages follow each other alone
    assert before((9, "rubric"), (8, "answer")) and before((8, "rate"), (9, "rate"))
