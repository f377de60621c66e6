"""What a server draws by is what the settings say: it is sent all that it understands, off included."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from flows.examining import drawn
from schemas.errors import UserError
from schemas.roles import Sampling
from tasks.engine.capabilities import VLLM, Capabilities, common, require
from tasks.engine.drawing import Drawing, filled_in
from tasks.engine.protocol import Choice, Request
from tests.engine.kinds import Kinds
from tests.engine.serving import serving
from tests.engine.test_capabilities import client_of, examined
from tests.samples import config

ALL = {"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repetition_penalty"}
MESSAGES = ({"role": "user", "content": "?"},)


@pytest.fixture(scope="module")
def kinds() -> Iterator[str]:
    """The address of a server of many kinds."""
    with serving(Kinds) as address:
        yield address


def of(kind: str, kinds: str, **model: Any) -> Drawing:
    """How a kind was found to draw."""
    found = examined(f"{kinds}/{kind}/v1", **model).drawing
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("kind", "draws", "sent_as", "unknown"),
    [
        ("vllm", True, ALL, []),
        ("llamacpp", True, ALL | {"repetition_penalty": "repeat_penalty"}, []),
        ("sglang", True, {"top_k": "top_k"}, ["min_p", "repetition_penalty"]),
        ("openai", True, {}, ["top_k", "min_p", "repetition_penalty"]),
        ("hf", True, dict.fromkeys(ALL, "generation_config"), []),  # draws only if it is told so in JSON
        ("steady", False, {}, ["top_k", "min_p", "repetition_penalty"]),
    ],
)
def test_a_sampling_parameter_is_known_by_its_effect(
    kinds: str, kind: str, draws: bool, sent_as: dict[str, str], unknown: list[str]
) -> None:
    found = of(kind, kinds)
    assert (found.draws, found.sent_as, found.unknown) == (draws, sent_as, unknown)


def test_what_a_server_says_that_it_fills_in_is_told_and_what_no_setting_takes_back_too(kinds: str) -> None:
    found = of("llamacpp", kinds)
    assert found.fills_in == {"top_k": 40, "min_p": 0.05, "presence_penalty": 1.5}
    assert found.open == {"presence_penalty": 1.5} and "presence_penalty = 1.5" in drawn(found)
    assert filled_in(None) == filled_in({"top_k": "40", "min_p": None}) == {}


def test_a_parameter_that_params_sets_is_neither_asked_about_nor_overridden(kinds: str) -> None:
    found = of("vllm", kinds, params={"top_k": 20})
    assert "top_k" not in found.sent_as and "min_p" in found.sent_as
    require(config(models={"policy": {"path": "a/b", "params": {"top_k": 20}}}), "policy", Capabilities(drawing=found))


@pytest.mark.parametrize(
    ("kind", "sampling", "sent"),
    [
        ("vllm", Sampling(), {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}),
        ("llamacpp", Sampling(top_k=20, repetition_penalty=1.1), {"top_k": 20, "min_p": 0.0, "repeat_penalty": 1.1}),
        ("sglang", Sampling(), {"top_k": -1}),
        ("openai", Sampling(), {}),
        ("hf", Sampling(min_p=0.1), {"generation_config": json.dumps(
            {"do_sample": True, "top_k": 0, "min_p": 0.1, "repetition_penalty": 1.0})}),
    ],
)  # fmt: skip
def test_a_request_carries_what_the_settings_have_in_the_servers_own_words(
    kinds: str, kind: str, sampling: Sampling, sent: dict[str, Any]
) -> None:
    able = examined(f"{kinds}/{kind}/v1")

    async def ask() -> dict[str, Any]:
        client = client_of(f"{kinds}/{kind}/v1")
        client.found(able)
        try:
            await client.choice(Choice("judge", "s", "f", MESSAGES, ("3", "7")))
            chosen = Kinds.asked[-1][1]
            assert {**chosen, **sent}.keys() == chosen.keys()
            return dict(json.loads((await client.chat(Request("answer", "s", "f", MESSAGES, sampling))).params))
        finally:
            await client.close()

    recorded = asyncio.run(ask())
    body = {name: value for name, value in Kinds.asked[-1][1].items() if name not in ("model", "messages")}
    assert body == recorded  # what stands in `generations` is what went over the wire
    beyond = {*ALL, "repeat_penalty", "generation_config"} & body.keys()
    assert {name: body[name] for name in beyond} == sent


@pytest.mark.parametrize(
    ("drawing", "sampling", "says"),
    [
        (Drawing(True, {"top_k": "top_k"}), {"answer": {"min_p": 0.1}}, "sampling.answer.min_p=0.1: the server"),
        (Drawing(False), {}, "says the same at any temperature"),
        (Drawing(True, ALL), {"answer": {"min_p": 0.1, "top_k": 3}}, None),
        (Drawing(False), {"answers": 1, "answer": {"temperature": 0.0}}, None),
        (None, {"answer": {"min_p": 0.1}}, None),
    ],
)
def test_what_cannot_be_drawn_so_is_refused_before_anything_is_paid_for(
    drawing: Drawing | None, sampling: dict[str, Any], says: str | None
) -> None:
    settings, able = config(sampling=sampling), Capabilities(drawing=drawing)
    if says is None:
        return require(settings, "policy", able)
    with pytest.raises(UserError, match=says):
        require(settings, "policy", able)
    return None


def test_replicas_are_sent_what_all_of_them_understand_and_an_older_manifest_changes_nothing() -> None:
    one, other = Capabilities(drawing=Drawing(True, ALL)), Capabilities(drawing=Drawing(True, {"top_k": "top_k"}, 0))
    both = common([one, other]).drawing
    assert both is not None and both.params({}, 1.0) == {"top_k": 0}
    assert Capabilities.read(one.stored()) == one
    before = {name: value for name, value in VLLM.stored().items() if name != "drawing"}
    assert Capabilities.read(before).beyond({"top_k": 3}, 1.0) == {"top_k": 3}
