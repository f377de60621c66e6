"""How likely an answer was to the model that wrote it: kept beside the same text, from the server's own figures."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.roles import Sampling
from tasks.answer import answer
from tasks.engine.client import Client
from tasks.engine.fake import FakeEngine
from tasks.engine.journal import Journal
from tasks.engine.protocol import Engine, Generation, Request
from tasks.engine.scores import mean_logprob
from tests.samples import Row, config, plan_of, problem, using

REQUEST = Request("answer", "a", "answer", ({"role": "user", "content": "x"},), Sampling(max_tokens=40))


def test_the_call_is_another_one_and_the_text_the_same() -> None:
    asked = Request("answer", "a", "answer", REQUEST.messages, REQUEST.sampling, logprobs=True)
    assert asked.generation_id("m") != REQUEST.generation_id("m")  # a kept call without figures is none with them
    assert asked.seed("m") == REQUEST.seed("m")


@pytest.mark.parametrize(
    ("nats", "mean"),
    [([-1.0, -3.0], -2.0), ([0.0004], 0.0), ([], None), ([-1.0, None], None), ([-1.0, 0.5], None),
     ([-1.0, -9999.0], None), ([-1.0, True], None), ([float("nan")], None)],
)  # fmt: skip
def test_a_mean_is_of_all_tokens_or_none(nats: list[float | None], mean: float | None) -> None:
    assert mean_logprob([{"token": "t", "logprob": one} for one in nats]) == mean


def test_a_journal_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    from tests.storage.test_store import GENERATION

    journal = Journal(tmp_path / "j.jsonl")
    journal.add(GENERATION)
    journal.close()
    line = json.loads(journal.path.read_text())
    del line["mean_logprob"]
    journal.path.write_text(json.dumps(line) + "\n")
    assert Journal(journal.path).get(GENERATION.generation_id) == GENERATION


def test_answers_are_the_same_with_it_and_without(tmp_path: Path) -> None:
    def answered(url: str, **sampling: bool) -> list[Row]:
        plan = plan_of(config(sampling={"answers": 2, **sampling}))

        async def work(engine: Engine) -> list[Row]:
            return await answer(plan, [problem()], engine)

        return using(url, plan, tmp_path / f"{len(sampling)}.jsonl", work)[0]

    with FakeEngine(max_model_len=4096) as running:
        plain, asked = answered(running.url), answered(running.url, own_likelihood=True)
    assert [row["own_logprob"] for row in plain] == [None] * 3
    assert asked[0]["own_logprob"] is None and all(row["own_logprob"] < 0 for row in asked[1:])
    unlike = {"own_logprob", "generation_id"}
    assert [{k: v for k, v in row.items() if k not in unlike} for row in asked] == [
        {k: v for k, v in row.items() if k not in unlike} for row in plain
    ]


@pytest.mark.parametrize(("listed", "sent"), [(20, {"logprobs": True, "top_logprobs": 1}), (0, {})])
def test_a_server_is_asked_in_the_form_that_tells_and_one_that_tells_none_is_not(
    listed: int, sent: Row, tmp_path: Path
) -> None:
    with FakeEngine(max_model_len=4096) as running:
        settings = config()
        client = Client("m", settings.models["policy"], settings.engine, [running.url], asyncio.Semaphore(1))
        client.able = replace(client.able, top_logprobs=listed)

        async def call() -> Generation:
            try:
                return await client.chat(replace(REQUEST, logprobs=True))
            finally:
                await client.close()

        made = asyncio.run(call())
    params = json.loads(made.params)
    assert {name: params[name] for name in ("logprobs", "top_logprobs") if name in params} == sent
    assert (made.mean_logprob is None) == (not sent)
