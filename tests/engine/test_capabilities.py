"""What a server can do is found by its deeds, and a role that it cannot play is refused before anything is paid for."""

import asyncio
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.errors import UserError
from tasks.engine.capabilities import VLLM, Capabilities, common, require
from tasks.engine.client import Client
from tasks.engine.dialects import among
from tasks.engine.examine import examine
from tasks.engine.fake import FakeEngine
from tasks.engine.protocol import Choice, EngineError
from tests.engine.kinds import Kinds
from tests.engine.serving import serving
from tests.samples import asking, config

STANDARD = {"temperature": 0.5, "top_p": 1.0, "max_tokens": 8, "seed": 1}


@pytest.fixture(scope="module")
def kinds() -> Iterator[str]:
    """The address of a server of many kinds."""
    with serving(Kinds) as address:
        yield address


def client_of(*urls: str, name: str = "m", **model: Any) -> Client:
    """A client of a model at servers of the user's."""
    settings = config(models={"policy": {"base_urls": urls, "served_name": name, **model}}, engine={"max_retries": 0})
    return Client("served:m", settings.models["policy"], settings.engine, urls, asyncio.Semaphore(8))


def examined(*urls: str, **model: Any) -> Capabilities:
    """What the servers can do."""

    async def ask() -> Capabilities:
        client = client_of(*urls, **model)
        try:
            return (await examine(client, STANDARD))[0]
        finally:
            await client.close()

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("vllm", {"choices": "choice", "json_schema": "ignored", "owner": "vllm", "context": 4096}),
        ("sglang", {"choices": "regex", "json_schema": "ignored", "choice_logprobs": True}),
        ("llamacpp", {"choices": "gbnf", "json_schema": "ignored"}),
        ("openai", {"choices": "json_schema", "json_schema": "obeyed", "choice_logprobs": True, "refused": {}}),
        ("plain", {"choices": "none", "json_schema": "ignored", "tokenizer": "none", "prompt_logprobs": False}),
        ("closed", {"choices": "none", "json_schema": "refused", "top_logprobs": 0, "refused": {}}),
        ("few", {"top_logprobs": 4, "refused": {}}),  # of 8 that it would give; the words are few
        ("fails", {"top_logprobs": 0, "choices": "none"}),
        ("proxy", {"choices": "gbnf_listed", "choices_only": True, "digits_hold": None}),
        ("unsure", {"choices": "json_schema", "choices_only": False, "digits_hold": 0.05}),
        ("sure", {"choices": "json_schema", "choices_only": False, "digits_hold": 0.9}),
        ("unlisted", {"listed": None, "context": None}),
        ("alias", {"listed": False}),
        ("reads", {"context": None, "cut_at": None}),
        ("cuts", {"context": None, "cut_at": 2048}),
    ],
)
def test_a_server_is_known_by_what_it_does(kinds: str, kind: str, found: dict[str, Any]) -> None:
    able = examined(f"{kinds}/{kind}/v1").stored()
    assert {name: able[name] for name in found} == found
    assert able["requests"] <= 23


@pytest.mark.parametrize(
    ("kind", "refused", "mend"),
    [
        ("gpt", {"max_tokens", "top_p"}, 'params={max_tokens = "max_completion_tokens", top_p = false}'),
        ("strict", {"seed"}, 'params={seed = "random_seed"}'),
        ("sour", {"top_p", "seed"}, "params={top_p = false, seed = false}"),  # it names none: those before it go, too
    ],
)
def test_a_parameter_that_is_refused_is_named_with_its_mend(
    kinds: str, kind: str, refused: set[str], mend: str
) -> None:
    able = examined(f"{kinds}/{kind}/v1")
    assert set(able.refused) == refused
    with pytest.raises(UserError) as caught:
        require(config(), "policy", able)
    assert mend in str(caught.value)


def test_what_the_mend_says_is_taken(kinds: str) -> None:
    params = {"top_p": False, "max_tokens": "max_completion_tokens"}
    assert examined(f"{kinds}/gpt/v1", params=params).refused == {}


@pytest.mark.parametrize(
    ("path", "name", "says"),
    [
        ("anyname/v1", "m", "answers to any name; served_name could be other"),
        ("vllm/v1", "n", "served_name could be m"),
        ("deaf/v1", "m", "refuses every request for 'm', whatever parameters it has"),
        ("vllm", "m", "base_urls should say {}/vllm/v1"),
        ("vllm/v1/chat/completions", "m", "base_urls should say {}/vllm/v1"),
    ],
)
def test_a_wrong_name_or_address_is_told_with_the_right_one(kinds: str, path: str, name: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        examined(f"{kinds}/{path}", name=name)
    assert says.format(kinds) in str(caught.value)


def test_a_replica_that_is_away_does_not_count_and_without_any_it_is_said(kinds: str) -> None:
    away = "http://127.0.0.1:9/v1"
    assert examined(away, f"{kinds}/vllm/v1").choices == "choice"
    with pytest.raises(EngineError):
        examined(away)


def test_replicas_can_do_what_all_of_them_can() -> None:
    both = common([VLLM, Capabilities(choices="gbnf", prompt_logprobs=False, top_logprobs=5, context=512)])
    assert (both.choices, both.prompt_logprobs, both.top_logprobs, both.context) == ("none", False, 5, 512)


@pytest.mark.parametrize(
    ("able", "mode", "says"),
    [
        ({"prompt_logprobs": False}, "likelihood", "one of pointwise, logprob, pairwise, anchor"),
        ({"tokenizer": "llama.cpp"}, "likelihood", "/tokenize in vLLM's form"),
        ({"top_logprobs": 0, "prompt_logprobs": False}, "logprob", "one of pointwise, pairwise, anchor"),
        ({"digits_hold": 0.05, "choices_only": False}, "logprob", "hold 5% (at least 50% are needed); set rating.mode"),
        ({"digits_hold": 0.9, "choices_only": False}, "logprob", None),
        ({"json_schema": "refused"}, "pointwise", "output_format=tags"),
        ({"json_schema": "ignored", "choices": "none", "top_logprobs": 0}, "pointwise", None),
        ({}, "likelihood", None),
    ],
)
def test_a_mode_that_cannot_work_is_refused_with_what_would(able: dict[str, Any], mode: str, says: str | None) -> None:
    settings = config(rating={"mode": mode})
    if says is None:
        return require(settings, "policy", Capabilities(**able))
    with pytest.raises(UserError) as caught:
        require(settings, "policy", Capabilities(**able))
    assert says in str(caught.value)
    return None


def test_a_server_that_cuts_prompts_without_a_word_is_refused_until_its_context_is_known(kinds: str) -> None:
    with pytest.raises(UserError, match=r"cuts prompts to some 2048 tokens.*set models\.policy\.max_model_len=2048"):
        require(config(), "policy", examined(f"{kinds}/cuts/v1"))
    require(config(), "policy", examined(f"{kinds}/cuts/v1", max_model_len=2048))


def test_the_stand_in_speaks_as_vllm_and_is_asked_a_dozen_times() -> None:
    with FakeEngine() as engine:
        able = examined(engine.url, name="policy")
    assert (able.choices, able.tokenizer, able.prompt_logprobs, able.json_schema) == ("choice", "vllm", True, "obeyed")
    assert (able.choice_logprobs, able.context, able.requests) == (True, 8192, 13)


@pytest.mark.parametrize("kind", ["vllm", "sglang", "llamacpp", "openai"])
def test_a_choice_with_log_probabilities_works_in_each_dialect(kinds: str, kind: str) -> None:
    async def ask() -> str:
        client = client_of(f"{kinds}/{kind}/v1")
        client.found((await examine(client, STANDARD))[0])
        try:
            messages = ({"role": "user", "content": "?"},)
            return (await client.choice(Choice("judge", "s", "f", messages, ("3", "7"), logprobs=True))).text
        finally:
            await client.close()

    assert asyncio.run(ask()) == '{"choice": "7", "logprobs": [["7", -0.2], ["3", -1.9], ["x", -4.0]]}'


def test_behind_a_proxy_the_digits_are_picked_out_of_a_long_list(kinds: str) -> None:
    """LiteLLM before llama.cpp answers 500 to `post_sampling_probs`, and passes on a list of any length."""

    async def ask() -> list[list[Any]]:
        client = client_of(f"{kinds}/proxy/v1")
        client.found((await examine(client, STANDARD))[0])
        try:
            messages = ({"role": "user", "content": "?"},)
            chosen = await client.choice(Choice("judge", "s", "f", messages, ("3", "7"), logprobs=True))
            return list(json.loads(chosen.text)["logprobs"])
        finally:
            await client.close()

    told = {word: math.exp(nats) for word, nats in asyncio.run(ask())}
    assert told == pytest.approx({"7": 0.8, "3": 0.2})


def test_a_word_that_is_not_in_the_list_counts_only_where_it_could_matter() -> None:
    listed = [["The", -0.1], ["7", -3.0], ["x", -20.0]]
    assert among(("3", "7"), listed) == [["7", pytest.approx(0.0)]]
    assert among(("3", "7"), listed[:2]) == listed[:2] and among(("3",), listed) == listed


def test_parameters_of_a_model_are_sent_and_recorded(kinds: str) -> None:
    params = {"seed": False, "max_tokens": "max_completion_tokens", "top_k": 20, "thinking": {"budget": 0}}

    async def ask() -> str:
        client = client_of(f"{kinds}/plain/v1", params=params)
        try:
            return (await client.chat(asking("s"))).params
        finally:
            await client.close()

    recorded = asyncio.run(ask())
    sent = Kinds.asked[-1][1]
    assert {"top_k", "thinking", "max_completion_tokens"} <= sent.keys() and not {"seed", "max_tokens"} & sent.keys()
    assert '"top_k":20' in recorded.replace(" ", "") and "seed" not in recorded
