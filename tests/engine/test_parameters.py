"""`models.NAME.params`: added, renamed, left out, a part of the identity, with presets by family; checked words."""

from typing import Any

import pytest

from schemas.errors import UserError
from schemas.roles import ModelConfig
from tasks.engine.dialects import DIALECTS, said, word_logprobs
from tasks.engine.parameters import family_of, params_of, shaped
from tasks.models.resolve import resolve
from tasks.staging.plan import make_plan
from tests.samples import config

BODY = {"temperature": 0.0, "max_tokens": 8, "seed": 1, "logprobs": True, "top_logprobs": 20}


def served(name: str, **more: Any) -> ModelConfig:
    """A model at a server of the user's."""
    return ModelConfig(base_urls=("http://h/v1",), served_name=name, **more)


@pytest.mark.parametrize(
    ("changes", "sent"),
    [
        ({}, BODY),
        ({"seed": False}, {name: value for name, value in BODY.items() if name != "seed"}),
        ({"max_tokens": "limit"}, {"limit": 8} | {n: v for n, v in BODY.items() if n != "max_tokens"}),
        ({"top_logprobs": 5}, BODY | {"top_logprobs": 5}),
        ({"logprobs": False}, {n: v for n, v in BODY.items() if "logprobs" not in n}),
        ({"min_p": 0.0, "echo": False, "seed": "seed"}, BODY | {"min_p": 0.0, "echo": False}),
    ],
)
def test_parameters_are_added_renamed_or_left_out(changes: dict[str, Any], sent: dict[str, Any]) -> None:
    assert shaped(BODY, changes) == sent


@pytest.mark.parametrize(
    ("name", "family"),
    [
        *((name, "GPT-5 and o-series") for name in ("gpt-5", "gpt-5.1-mini", "openai/gpt-5", "o3", "o4-mini")),
        *((name, "Claude 4.1 and later") for name in ("claude-opus-4-1", "anthropic/claude-sonnet-4.5", "claude-x-5")),
        *((name, "Mistral's API") for name in ("mistral-large-latest", "codestral-2508", "ministral-8b-latest")),
        *((name, None) for name in ("gpt-4o", "openai/gpt-oss-120b", "olmo-2", "claude-3-5-sonnet-20241022",
                                    "claude-opus-4-20250514", "mistralai/Mistral-7B-Instruct-v0.3", "o3x", "qwen3")),
    ],
)  # fmt: skip
def test_a_family_that_refuses_the_usual_parameters_is_known_by_its_name(name: str, family: str | None) -> None:
    found = family_of(served(name))
    assert (found[0] if found else None) == family


def test_a_familys_preset_is_overridden_by_ones_own_and_is_not_for_weights_served_here() -> None:
    assert params_of(served("gpt-5", params={"stop": "stop"}))["stop"] == "stop"
    assert params_of(ModelConfig(path="a/b", served_name="gpt-5")) == {}


def test_parameters_are_part_of_the_identity_and_their_default_is_not() -> None:
    def identity(**params: Any) -> str:
        return resolve(
            "policy", config(engine={"kind": "vllm"}, models={"policy": served("m", params=params).model_dump()}), print
        ).identity

    assert identity() == "served:m"
    assert len({identity(), identity(top_k=20), identity(top_k=30)}) == 3
    keys = [
        make_plan(config(), "r", 0, {"policy": name}).fingerprints["answer"]
        for name in (identity(), identity(top_k=20))
    ]
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"messages": []}, "none of the parameters"), ({"seed": 3}, "seed = false leaves it out"),
        ({"temperature": True}, "leaves it out"), ({"top_logprobs": 40}, "leaves it out"),
        ({"x": float("nan")}, "a text, a number"),
    ],
)  # fmt: skip
def test_a_change_that_means_nothing_is_refused(params: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        config(models={"policy": {"path": "a/b", "params": params}})


def entry(token: str, *others: str) -> dict[str, Any]:
    """A token with what it stood against."""
    tops = [{"token": other, "logprob": -float(n)} for n, other in enumerate((token, *others))]
    return {"token": token, "logprob": 0.0, "top_logprobs": tops}


@pytest.mark.parametrize(
    ("text", "tokens", "found"),
    [
        ("2", [entry("2", "1")], [["2", 0.0], ["1", -1.0]]),
        ('{"choice": "2"}', [entry('{"'), entry("choice"), entry('":'), entry(' "'), entry("2", "1"), entry('"}')],
         [["2", 0.0], ["1", -1.0]]),
        ('{"choice":"2"}', [entry('{"choice'), entry('":"'), entry('2"}', '1"}', "no")],
         [["2", 0.0], ["1", -1.0], ["no", -2.0]]),
        ('{"choice":"2"}', [entry('{"choice":'), entry('"2', '"1', "null"), entry('"}')], [["2", 0.0], ["1", -1.0]]),
        ("2", [{"token": "2", "top_probs": [{"token": "2", "prob": 1.0}, {"token": "1", "prob": 0.0}]}], [["2", 0.0]]),
        ('{"choice": "2"}', [entry("```json\n"), entry('{"choice": "'), entry("2", "1"), entry('"}\n```')],
         [["2", 0.0], ["1", -1.0]]),
        ("2", [], []),
        ('{"choice":"2"}', [{"token": None}], []),
    ],
)  # fmt: skip
def test_the_words_probabilities_are_found_where_the_word_begins(
    text: str, tokens: list[dict[str, Any]], found: list[list[Any]]
) -> None:
    assert word_logprobs(text, tokens) == found


def test_words_are_quoted_for_their_grammar_and_read_out_of_their_json() -> None:
    words = ('a"b', "c.d")
    assert DIALECTS["gbnf"].constrain(words) == {"grammar": 'root ::= "a\\"b" | "c.d"'}
    assert DIALECTS["regex"].constrain(words) == {"regex": '(a"b|c\\.d)'}
    assert said('{"choice": "partly"}') == "partly" and said("partly {}") == "partly {}"
