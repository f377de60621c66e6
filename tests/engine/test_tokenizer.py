"""Tokens counted here are those that the model's server counts, or its server is asked."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from benchmarks.standin import FastEngine
from tasks.engine.client import Client
from tasks.engine.protocol import Likelihood, Message
from tasks.engine.tokenizer import LocalTokenizer, local_tokenizer
from tests.samples import config

TEXTS = [
    "Why is the sky blue? Because air scatters short waves most.",
    "a fact",
    " \n\tTwo  lines.\n",
    "水は青い \U0001f30a",
    "",
]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] | trim }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_folder(folder: Path, bos: bool = True, template: str = TEMPLATE) -> Path:
    """A folder with a byte-level tokenizer, which may begin a text with <s>, and a chat template."""
    folder.mkdir()
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<s>", "<|user|>", "<|assistant|>", "<|end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        TEXTS, trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet, vocab_size=320)
    )
    if bos:
        made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    made.enable_truncation(8)  # as some folders have it: a server does not
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "chat_template": template}))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder, as far as tokens go."""
    return make_folder(tmp_path_factory.mktemp("models") / "m")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[FastEngine]:
    """A server of that model."""
    with FastEngine("policy", tokenizer=str(folder)) as engine:
        yield engine


def asked(url: str, tokenizer: LocalTokenizer | None, ask: Callable[[Client], Awaitable[Any]]) -> tuple[bool, Any]:
    """Whether the tokenizer is used, and what comes of asking."""

    async def run() -> tuple[bool, Any]:
        settings = config()
        client = Client("m", settings.models["policy"], settings.engine, [url], asyncio.Semaphore(8))
        try:
            return await client.count_by(tokenizer), await ask(client)
        finally:
            await client.close()

    return asyncio.run(run())


def likelihoods(client: Client) -> Awaitable[Any]:
    """Ten answers rated by two facts."""
    facts = ("Air scatters short waves most.", "a fact")
    return asyncio.gather(*(client.likelihood(Likelihood("judge", f"s{n}", f"answer {n}", facts)) for n in range(10)))


def test_a_text_has_the_ids_that_the_server_gives_it_and_the_server_is_asked_no_more(
    served: FastEngine, folder: Path
) -> None:
    before = served.requests().get("/tokenize", 0)
    used, mine = asked(served.url, local_tokenizer(str(folder)), likelihoods)
    between = served.requests()["/tokenize"]
    theirs = asked(served.url, None, likelihoods)[1]
    assert used and [(one.completion, one.prompt_tokens) for one in mine] == [
        (one.completion, one.prompt_tokens) for one in theirs
    ]
    assert between - before == 3  # two texts and a conversation, to see that they agree
    assert served.requests()["/tokenize"] - between == 10 + 2  # each text once


@pytest.mark.parametrize("content", [*TEXTS, "<|end|> typed by a user", "x" * 30_000])
def test_a_conversation_has_as_many_tokens_as_the_server_says(served: FastEngine, folder: Path, content: str) -> None:
    messages: list[Message] = [{"role": "user", "content": content}]

    async def count(client: Client) -> int | None:
        return await client.tokens.count(client.replicas[0], messages)

    mine = asked(served.url, local_tokenizer(str(folder)), count)
    assert mine == (True, asked(served.url, None, count)[1])


@pytest.mark.parametrize("other", [{"bos": False}, {"template": TEMPLATE.replace("trim", "upper")}])
def test_one_that_makes_others_is_not_used_for_them(served: FastEngine, tmp_path: Path, other: dict[str, Any]) -> None:
    tokenizer = local_tokenizer(str(make_folder(tmp_path / "m", **other)))
    assert tokenizer is not None
    used, _ = asked(served.url, tokenizer, likelihoods)
    assert used == ("template" in other) and (not used or not tokenizer.renders)


def test_what_cannot_be_read_here_leaves_counting_to_the_server(tmp_path: Path, served: FastEngine) -> None:
    assert local_tokenizer(None) is local_tokenizer(str(tmp_path)) is None
    (tmp_path / "tokenizer.json").write_text('{"version": "9.0"}')
    assert local_tokenizer(str(tmp_path)) is None
    assert asked(served.url, None, likelihoods)[0] is False
