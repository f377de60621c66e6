"""A real llama.cpp server: what it can do is found, and it plays every role in every mode that it can."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from schemas.errors import UserError
from tasks.asking.asker import Asker
from tasks.engine.capabilities import Capabilities
from tasks.engine.client import Client
from tasks.engine.examine import examine
from tasks.engine.journal import Journal
from tasks.engine.protocol import Choice, Generation, Request
from tasks.engine.recorder import Recorder
from tasks.judging import MODES
from tasks.judging.case import Case
from tests.engine.llama_server import llama_cpp
from tests.samples import STEPWISE, Row, an_answer, config, plan_of, problem

pytestmark = pytest.mark.llama_cpp
T = TypeVar("T")
CONTEXT = 1024
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
STANDARD = {"temperature": 0.5, "top_p": 1.0, "max_tokens": 8, "seed": 1}
PROMPT = "How blue is the sky? Reply with one digit: 0 for no, 1 for partly, 2 for fully."


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The server's base URL."""
    with llama_cpp(CONTEXT) as address:
        yield address


@pytest.fixture(scope="module")
def able(url: str) -> Capabilities:
    """What it was found to be able to do."""
    return at(url, lambda client: examine(client, STANDARD))[0]


def at(url: str, work: Callable[[Client], Awaitable[T]], able: Capabilities | None = None, name: str = NAME) -> T:
    """Run `work` with a client of the server."""

    async def run() -> T:
        settings = config(models={"policy": {"base_urls": [url], "served_name": name}})
        client = Client("served:m", settings.models["policy"], settings.engine, [url], asyncio.Semaphore(8))
        if able:
            client.found(able)
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(run())


def asked(client: Client, choices: tuple[str, ...], logprobs: bool) -> Awaitable[Generation]:
    """Ask for one of a few words."""
    return client.choice(Choice("judge", "s", "f", ({"role": "user", "content": PROMPT},), choices, logprobs))


def test_it_is_found_to_be_what_it_is(able: Capabilities) -> None:
    assert (able.owner, able.choices, able.json_schema, able.tokenizer) == ("llamacpp", "gbnf", "obeyed", "llama.cpp")
    assert (able.context, able.top_logprobs, able.choice_logprobs, able.prompt_logprobs) == (CONTEXT, 20, True, False)
    assert able.refused == {} and able.requests <= 19


def test_a_name_that_it_does_not_have_is_told_though_it_answers_to_any(url: str) -> None:
    with pytest.raises(UserError, match=NAME):
        at(url, lambda client: examine(client, STANDARD), name="qwen")


@pytest.mark.parametrize("dialect", ["gbnf", "json_schema"])
@pytest.mark.parametrize("choices", [("no", "partly", "fully"), ("zulu", "yankee")])
def test_it_says_one_of_the_words_in_both_of_its_dialects(
    url: str, able: Capabilities, dialect: str, choices: tuple[str, ...]
) -> None:
    said = at(url, lambda client: asked(client, choices, False), replace(able, choices=dialect))
    assert said.text in choices


def test_the_digits_probabilities_are_the_models_own_and_the_same_each_time(url: str, able: Capabilities) -> None:
    def shares() -> dict[str, float]:
        text = at(url, lambda client: asked(client, ("0", "1", "2"), True), able).text
        return {token: math.exp(nats) for token, nats in json.loads(text)["logprobs"]}

    first = shares()
    assert set(first) == {"0", "1", "2"} and math.isclose(sum(first.values()), 1.0, abs_tol=1e-3)
    assert shares() == pytest.approx(first, abs=0.02)  # what is cached of a prompt is computed in other batches
    free = at(url, lambda client: asked(client, ("0", "1", "2"), True), replace(able, choices="none"))
    plain = {token: nats for token, nats in json.loads(free.text)["logprobs"] if token in first}
    ratios = [nats - math.log(first[token]) for token, nats in plain.items()]
    assert ratios and max(ratios) - min(ratios) < 0.1  # the constraint divides them all by the same


def test_what_does_not_fit_is_counted_and_not_sent(url: str, able: Capabilities) -> None:
    settings = config().sampling.answer

    def long(words: int) -> Request:
        return Request("answer", "s", "f", ({"role": "user", "content": "word " * words},), settings)

    assert at(url, lambda client: client.budget(long(600).messages, 300), able).exact
    refused = at(url, lambda client: client.chat(long(1200)), able)
    assert refused.finish_reason == "too_long" and refused.text.startswith(
        "not sent: 1531 tokens"
    )  # 1,200 words, the template, max_tokens


@pytest.mark.parametrize("mode", ["pointwise", "logprob", "pairwise", "anchor"])
def test_it_judges_in_every_mode_that_it_can(url: str, able: Capabilities, mode: str, tmp_path: Path) -> None:
    rows: list[Row] = [an_answer(name, rollout=n, final=f"Because of {name}.") for n, name in enumerate(("air", "sea"))]
    rubric = {"rubric_id": "r", "problem_id": "p0", "criteria": [
        {"name": "Cause", "gold": "Air scatters blue light.", "description": "Names the cause.", "weight": 1.0}
    ]}  # fmt: skip
    plan = plan_of(config(STEPWISE, rating={"mode": mode}, sampling={"judge": {"max_tokens": 24}}))

    async def judge(client: Client) -> Any:
        journal = Journal(tmp_path / "journal")
        case = Case(problem()["problem"], rubric, rows)
        try:
            return await MODES[mode](Asker(plan, "rate", Recorder(client, journal)), case)
        finally:
            journal.close()

    judgement = at(url, judge, able)
    assert [verdict.status for verdict in judgement.verdicts] == ["ok", "ok"]
    assert all(0.0 <= verdict.score <= 2.0 for verdict in judgement.verdicts)
