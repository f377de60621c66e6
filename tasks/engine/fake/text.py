"""What the fake engine says: text, JSON and log-probabilities drawn by hash from the request alone.

Nothing here knows of time, order or other requests, so that a test, a resumed run and a second server see the same
completions. Every piece of text says that it is fake.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.engine.fake.schema import instance
from tasks.engine.fake.words import MARK, Draw, Writer
from tasks.texts.scripts import question_mark

TAIL_CHARS = 1500  # an output format stands at the end of a prompt
_PAIR = re.compile(r"<([A-Za-z_][\w-]*)>(.*?)</\1>", re.DOTALL)
_LINES = re.compile(r"\b(?:its own|a separate|one|each|per) line\b")
_ASKED = re.compile(r"Name (.{1,300}) in the question\.\s*Question:\s*$")  # one line, about the subject, is wanted
_NUMBERS = {"rating": ("0", "1", "2"), "weight": ("1", "2", "3")}  # tags that hold a number whatever the format shows


@dataclass(frozen=True)
class Ask:
    """What a completion depends on.

    Attributes:
        pieces: the prompt's tokens.
        sampling: temperature, top_p and seed; for greedy decoding the seed is left out.
        schema: the JSON schema asked for, if any.
        choices: the choices asked for, if any.
    """

    model: str
    prompt: str
    tail: str
    pieces: Sequence[str] = field(repr=False)
    sampling: tuple[float | int | None, ...]
    schema: dict[str, Any] | None = None
    choices: tuple[str, ...] = ()


def compose(ask: Ask, index: int = 0, hostile: bool = False) -> str:
    """The completion of an ask, in full; `index` tells the samples of one request apart."""
    if ask.choices:
        return _sampled_choice(ask, index)
    writer = Writer(Draw(ask.model, ask.prompt, ask.sampling, index), ask.pieces, hostile)
    if ask.schema is not None:
        return json.dumps(instance(ask.schema, writer), ensure_ascii=hostile, separators=(",", ":"))
    if tagged := _tagged(ask.tail, writer):
        return tagged
    if (subject := _ASKED.search(ask.tail)) and not hostile:
        mark = question_mark(subject.group(1))
        return f"{writer.text(6 + writer.draw.below(9)).rstrip('.')} {subject.group(1)}{mark}"
    return writer.text(20 + writer.draw.below(101), "\n" if _LINES.search(ask.tail) else " ")


def choice_probabilities(ask: Ask) -> dict[str, float]:
    """How likely each choice is, most likely first; sums to 1 and does not depend on the seed."""
    draw = Draw(ask.model, ask.prompt, "choice")
    weights = {choice: math.exp(3 * draw.unit()) for choice in ask.choices}
    total = sum(weights.values())
    return {choice: weights[choice] / total for choice in sorted(weights, key=lambda c: -weights[c])}


def _sampled_choice(ask: Ask, index: int) -> str:
    probabilities = choice_probabilities(ask)
    left = Draw(ask.model, ask.prompt, ask.sampling, index).unit() if ask.sampling[0] else 0.0
    for choice, probability in probabilities.items():
        left -= probability
        if left < 0:
            return choice
    return next(iter(probabilities))


def _tagged(format_text: str, writer: Writer) -> str:
    """Each distinct tag pair of an output format, filled."""
    pairs: dict[str, str] = {}
    for name, inner in _PAIR.findall(format_text):
        pairs.setdefault(name, inner)
    return "\n".join(f"<{name}>{_inside(name, inner, writer)}</{name}>" for name, inner in pairs.items())


def _inside(name: str, inner: str, writer: Writer) -> str:
    """Further tags, or one of the numbers that the format shows, or marked text."""
    if nested := _tagged(inner, writer):
        return f"\n{nested}\n"
    numbers = _NUMBERS.get(name, ())
    if not re.sub(r"\b(?:or|to|and)\b|[\s\d,|/-]", "", inner):
        numbers = tuple(re.findall(r"\d+", inner)) or numbers
    words = 3 + writer.draw.below(3) if name in ("name", "title") else 5 + writer.draw.below(56)
    return writer.draw.pick(numbers) if numbers else writer.text(words)


def spoiled(fault: str, ask: Ask, index: int) -> tuple[str, str]:
    """A completion as a bad server or a bad model gives it, with its finish reason.

    `malformed` is not in the form asked for, `truncated` breaks off half way, `garbage` is meant to hurt who reads it.
    """
    text = compose(ask, index)
    draw = Draw(fault, ask.prompt, ask.sampling, index)
    if fault == "truncated":
        return text[: len(text) // 2], "length"
    if fault == "malformed" and ask.schema is not None:
        broken = (text[:-1], text.replace('"', "'")) if text.startswith('{"') else ()
        return draw.pick((f"{MARK}Sure! Here is the JSON:", "", *broken)), "stop"
    if fault == "malformed":
        return f"{MARK}none of these" if ask.choices else "", "stop"
    if ask.schema is None:
        return Writer(draw, (), hostile=True).text(40 + draw.below(100)), "stop"
    numbers = '{"rating":NaN,"weight":1e999,"n":' + "9" * 5000 + ',"text":"\x00\x1b\n\\ud800"}'
    return draw.pick((compose(ask, index, hostile=True), '{"a":[' * 5000, numbers)), "stop"
