"""What the latency-modelled server says: valid answers for every role, as long as given distributions say.

They are the stand-in's own (`tasks.engine.fake`), made longer with marked sentences. A token is four characters, which
is about what English has in today's vocabularies, so that counting costs nothing.
"""

import hashlib
import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from benchmarks.latency_model import BLOCK
from tasks.engine.fake import text
from tasks.engine.fake.logprobs import chat_logprobs, prompt_logprobs
from tasks.engine.fake.schema import instance
from tasks.engine.fake.wire import RequestError
from tasks.engine.fake.words import LEXICON, MARK, Draw, Writer

CHARS = 4  # a token
Body = dict[str, Any]

# Median and deviation of the logarithm, in tokens: of plain texts, and of fields of JSON. Assumed, for a 7B model
# that is asked for a few hundred words; nothing was measured.
LENGTHS: Mapping[str, tuple[float, float]] = {
    "text": (400, 0.5), "problem": (60, 0.3), "reference_answer": (400, 0.4), "description": (40, 0.3),
    "gold": (25, 0.4), "thoughts": (60, 0.4),
}  # fmt: skip


def sentences(count: int = 1021) -> list[str]:
    """Sentences to lengthen texts with, the same in every process."""
    draw = random.Random(0)
    made = (" ".join(draw.choice(LEXICON) for _ in range(draw.randint(6, 14))) for _ in range(count))
    return [f" {one.capitalize()}." for one in made]


BANK = sentences()
OF_DOCUMENT = ("reference_answer", "gold")
PASSAGE = 40  # words of a piece of evidence
_DOCUMENT = re.compile(r"<document[^>]*>\n(.*?)\n</document>", re.DOTALL)


class BankWriter(Writer):
    """Writes whole sentences of the bank: word by word, long texts would cost more than their requests."""

    def text(self, words: int, between: str = " ") -> str:
        """About so many words; `between` is for lines, which structured outputs have none of."""
        made = [BANK[self.draw.below(len(BANK))] for _ in range(max(1, words // 10))]
        return MARK + between.join(one.strip() for one in made)


@dataclass(frozen=True)
class Said:
    """A reply, and what it costs.

    Attributes:
        costs: (tokens of the prompt, names of its whole blocks, tokens of the completion) of each of its sequences.
    """

    reply: Body
    costs: list[tuple[int, list[int], int]]


class ModelAnswers:
    """Replies to both generation endpoints; which one follows from the request alone."""

    def __init__(self, model: str, max_model_len: int, lengths: Mapping[str, tuple[float, float]], seed: int) -> None:
        self._model, self._max_model_len, self._lengths, self._seed = (
            model,
            max_model_len,
            {**LENGTHS, **lengths},
            seed,
        )

    def chat(self, body: bytes) -> Said:
        """Of POST /v1/chat/completions."""
        asked = json.loads(body)
        self._require_known(asked)
        prompt = rendered(asked["messages"])
        names, tokens = blocks_of_text(prompt), tokens_of(prompt)
        limit = self._limit(asked, tokens, asked.get("max_completion_tokens") or asked.get("max_tokens"))
        ask = _ask(asked, hashlib.blake2b(body, digest_size=16).hexdigest(), prompt)
        choices, costs = [], []
        for index in range(asked.get("n") or 1):
            content, reason = self._content(ask, index, limit, _stops(asked))
            written = 1 if ask.choices else max(1, tokens_of(content))
            message = {"role": "assistant", "content": content, "refusal": None}
            logprobs = chat_logprobs(ask, content, asked.get("top_logprobs") or 0) if asked.get("logprobs") else None
            choices.append({"index": index, "message": message, "logprobs": logprobs, "finish_reason": reason})
            costs.append((tokens, names, written))
        return Said(self._reply("chat.completion", body, choices, costs), costs)

    def completions(self, body: bytes) -> Said:
        """Of POST /v1/completions: texts or token ids, with `prompt_logprobs` or without."""
        asked = json.loads(body)
        self._require_known(asked)
        given, top = asked["prompt"], asked.get("prompt_logprobs")
        prompts = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
        choices, costs = [], []
        for index, prompt in enumerate(prompts):
            if not prompt:
                raise RequestError("The decoder prompt cannot be empty")
            ids = tokenized(prompt) if isinstance(prompt, str) else prompt
            limit = self._limit(asked, len(ids), asked.get("max_tokens") or 16)
            whole = prompt if isinstance(prompt, str) else ""
            digest = hashlib.blake2b(repr((self._seed, prompt)).encode(), digest_size=16).hexdigest()
            content, reason = self._content(_ask(asked, digest, whole), 0, limit, _stops(asked))
            scored = prompt_logprobs(ids, [""] * len(ids), top, "") if top is not None else None
            choice = {"text": content, "logprobs": None, "finish_reason": reason, "prompt_logprobs": scored}
            choices.append({"index": index, **choice})
            # vLLM reads no cached blocks where the log-probabilities of their tokens are wanted
            names = blocks_of_ids(ids) if top is None else []
            costs.append((len(ids), names, max(1, tokens_of(content))))
        return Said(self._reply("text_completion", body, choices, costs), costs)

    def _content(self, ask: text.Ask, index: int, limit: int, stops: Sequence[str]) -> tuple[str, str]:
        """Text and finish reason."""
        if ask.choices:
            return text.compose(ask, index), "stop"
        draw = Draw(self._seed, ask.prompt, ask.sampling, index)
        if ask.schema is not None:
            made = instance(ask.schema, BankWriter(draw, ask.pieces))
            filled = self._filled(made, limits_of(json.dumps(ask.schema)), draw, ask.pieces)
            content = json.dumps(filled, separators=(",", ":"))
        else:
            content = self._longer(text.compose(ask, index), draw)
        ends = [at for at in (content.find(word) for word in stops if word) if at >= 0]
        content = content[: min(ends)] if ends else content
        return (content, "stop") if tokens_of(content) <= limit else (content[: limit * CHARS], "length")

    def _longer(self, content: str, draw: Draw) -> str:
        """A plain text of sentences as long as its distribution says; lines, questions and tags stay as they are."""
        if not content.endswith(".") or "\n" in content or "<" in content:
            return content
        first = content[: content.index(".") + 1]
        return grown(first, self._drawn("text", draw) * CHARS, draw)

    def _filled(self, made: Any, limits: Mapping[str, int], draw: Draw, source: Sequence[str]) -> Any:
        """A structured output whose named fields are as long as their distributions say.

        What must rest on the document is made of its words.
        """
        if isinstance(made, list):
            return [self._filled(item, limits, draw, source) for item in made]
        if not isinstance(made, dict):
            return made
        filled = {}
        for key, value in made.items():
            if key in self._lengths and isinstance(value, str):
                chars = min(self._drawn(key, draw) * CHARS, limits.get(key, 10**6))
                filled[key] = quoted(source, chars, draw) if key in OF_DOCUMENT and source else grown(MARK, chars, draw)
            else:
                filled[key] = self._filled(value, limits, draw, source)
        return filled | stated(len(filled["gold"]), draw, source) if filled.get("gold") and source else filled

    def _drawn(self, name: str, draw: Draw) -> int:
        """A length in tokens, log-normal by the Irwin-Hall sum of the draw's own numbers."""
        median, deviation = self._lengths[name]
        normal = sum(draw.unit() for _ in range(12)) - 6.0
        return max(1, round(median * math.exp(deviation * normal)))

    def _limit(self, asked: Body, prompt: int, wanted: int | None) -> int:
        room = self._max_model_len - prompt
        if asked.get("stream"):
            raise RequestError("this server does not stream")
        if room < (wanted or 1):
            raise RequestError(
                f"This model's maximum context length is {self._max_model_len} tokens. However, you requested "
                f"{prompt + (wanted or 1)} tokens ({prompt} in the messages, {wanted or 1} in the completion). "
                "Please reduce the length of the messages or completion."
            )
        return wanted or room

    def _require_known(self, asked: Body) -> None:
        if asked.get("model") not in (None, self._model):
            raise RequestError(f"The model `{asked['model']}` does not exist.", 404)

    def _reply(self, kind: str, body: bytes, choices: list[Body], costs: list[tuple[int, list[int], int]]) -> Body:
        prompts = costs[:1] if kind == "chat.completion" else costs
        read, written = sum(cost[0] for cost in prompts), sum(cost[2] for cost in costs)
        return {
            "id": f"modelled-{hashlib.blake2b(body, digest_size=8).hexdigest()}", "object": kind, "created": 0,
            "model": self._model, "choices": choices,
            "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
        }  # fmt: skip


def _ask(asked: Body, digest: str, prompt: str) -> text.Ask:
    """What the answer depends on: the digest stands for the prompt."""
    form, output = asked.get("response_format") or {}, asked.get("structured_outputs") or {}
    schema = output.get("json") or (form.get("json_schema") or {}).get("schema")
    if schema is None and form.get("type") == "json_object":
        schema = {"type": "object", "minProperties": 1}
    sampling = (asked.get("temperature", 1.0), asked.get("top_p"), asked.get("seed"))
    last = str((asked.get("messages") or [{}])[-1].get("content") or prompt)
    found = _DOCUMENT.search(last)
    words = found.group(1).split() if found else ()
    return text.Ask(
        str(asked.get("model")), digest, last[-text.TAIL_CHARS :], words, sampling, schema,
        tuple(dict.fromkeys(output.get("choice") or ())),
    )  # fmt: skip


def _stops(asked: Body) -> list[str]:
    stop = asked.get("stop") or []
    return [stop] if isinstance(stop, str) else list(stop)


def rendered(messages: Sequence[Mapping[str, Any]]) -> str:
    """A conversation as one prompt, as a chat template makes it."""
    turns = (f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in messages)
    return "".join(turns) + "<|im_start|>assistant\n"


def tokens_of(content: str) -> int:
    """How many tokens a text has."""
    return -(-len(content) // CHARS)


def tokenized(content: str) -> list[int]:
    """Its tokens' ids: 31 bits, the same in every process."""
    pieces = (content[at : at + CHARS] for at in range(0, len(content), CHARS))
    return [int.from_bytes(piece.encode("utf-8", "surrogatepass")[:8], "little") % 0x7FFFFFFF for piece in pieces]


def blocks_of_text(content: str) -> list[int]:
    """Names of a prompt's whole blocks: each stands for all that comes before it too."""
    names, before, size = [], 0, BLOCK * CHARS
    for at in range(0, len(content) - size + 1, size):
        before = hash((before, content[at : at + size]))
        names.append(before)
    return names


def blocks_of_ids(ids: Sequence[int]) -> list[int]:
    """The same of token ids."""
    names, before = [], 0
    for at in range(0, len(ids) - BLOCK + 1, BLOCK):
        before = hash((before, *ids[at : at + BLOCK]))
        names.append(before)
    return names


def quoted(words: Sequence[str], chars: int, draw: Draw) -> str:
    """A text's words from somewhere in it on, each once, and then sentences of the bank, up to so many characters."""
    at = draw.below(len(words))
    once = " ".join([*words[at:], *words[:at]])[: max(chars - len(MARK) - 1, 2)].rstrip(" .") + "."
    return grown(MARK + once, chars, draw) if len(MARK + once) < chars else (MARK + once)[:chars]


def stated(chars: int, draw: Draw, source: Sequence[str]) -> dict[str, str]:
    """A gold fact of about so many characters, and as its evidence the passage that it is from, word for word."""
    at = draw.below(max(1, len(source) - PASSAGE))
    passage = " ".join(source[at : at + PASSAGE])
    fact, _, _ = f"{passage} "[: max(chars - len(MARK), len(source[at]) + 1)].rpartition(" ")  # a word cut is another
    return {"gold": f"{MARK}{fact.rstrip('.')}.", "evidence": passage}


def grown(content: str, chars: int, draw: Draw) -> str:
    """The text with sentences of the bank up to so many characters; one that is longer stays."""
    parts, length = [content], len(content)
    while length < chars:
        sentence = BANK[draw.below(len(BANK))]
        if length + len(sentence) > chars and len(parts) > 1:
            break
        parts.append(sentence[: max(chars - length, 2)])
        length += len(parts[-1])
    return "".join(parts)


@lru_cache(maxsize=256)
def limits_of(schema: str) -> dict[str, int]:
    """`maxLength` by a property's name, anywhere in a schema."""
    found: dict[str, int] = {}

    def look(part: Any) -> None:
        if isinstance(part, dict):
            for name, one in (part.get("properties") or {}).items():
                options = [one, *(one.get("anyOf") or ())] if isinstance(one, dict) else []
                found.update((name, option["maxLength"]) for option in options if "maxLength" in option)
            for one in part.values():
                look(one)
        elif isinstance(part, list):
            for one in part:
                look(one)

    look(json.loads(schema))
    return found
