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
from tasks.engine.fake.words import LEXICON, MARK, Draw, Writer
from tasks.texts.scripts import question_mark

TAIL_CHARS = 1500  # an output format stands at the end of a prompt
_PAIR = re.compile(r"<([A-Za-z_][\w-]*)>(.*?)</\1>", re.DOTALL)
_LINES = re.compile(r"\b(?:its own|a separate|one|each|per) line\b")
_ASKED = re.compile(r"Name (.{1,300}) in the question\.\s*Question:\s*$")  # one line, about the subject, is wanted
# what is written about a document says what stands there: facts, reference answers, gold facts, and quotes above all
_DOCUMENT = re.compile(r'<document[^>]*>\n(.*?)\n</document>|"""\n(.*?)\n"""', re.DOTALL)
_STATED = {"reference_answer": 3, "gold": 1, "evidence": 1}  # sentences
_SENTENCE = re.compile(r"[^.!?。！？]+[.!?。！？]+")
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


def compose(ask: Ask, index: int = 0, hostile: bool = False, lying: bool = False) -> str:
    """The completion of an ask, in full; `index` tells the samples of one request apart.

    Args:
        lying: what should come from a document that is shown is made up.
    """
    if ask.choices:
        return _sampled_choice(ask, index)
    writer = Writer(Draw(ask.model, ask.prompt, ask.sampling, index), ask.pieces, hostile)
    if ask.schema is not None:
        made = instance(ask.schema, writer)
        made = made if hostile or lying else _stated(made, _sentences(ask.prompt), writer.draw)
        return json.dumps(made, ensure_ascii=hostile, separators=(",", ":"))
    if tagged := _tagged(ask.tail, writer, () if lying else _sentences(ask.prompt)):
        return tagged
    if (subject := _ASKED.search(ask.tail)) and not hostile:
        mark = question_mark(subject.group(1))
        return f"{writer.text(6 + writer.draw.below(9)).rstrip('.')} {subject.group(1)}{mark}"
    if (there := _sentences(ask.prompt)) and not hostile and not lying:
        each = "\n" if "one sentence each" in ask.tail or "one short sentence each" in ask.tail else " "
        at = writer.draw.below(len(there))
        return each.join(_varied(one, writer.draw) for one in [*there[at:], *there][: 2 + writer.draw.below(3)])
    return writer.text(20 + writer.draw.below(101), "\n" if _LINES.search(ask.tail) else " ")


def _sentences(prompt: str) -> list[str]:
    """The sentences of the document that a prompt shows; none where it shows none."""
    match = _DOCUMENT.search(prompt)
    shown = (match.group(1) or match.group(2)) if match else ""
    found = [" ".join(one.split()) for one in _SENTENCE.findall(shown[:20_000])]
    return [one for one in found if len(one.split()) >= 3 or len(one) >= 12]


def _stated(made: Any, there: list[str], draw: Draw) -> Any:
    """An instance whose reference answers, gold facts and quotes are the document's sentences; a gold fact is what is
    quoted for it."""
    if isinstance(made, list):
        return [_stated(one, there, draw) for one in made]
    if not isinstance(made, dict) or not there:
        return made
    at = draw.below(len(there))
    new = {name: _stated(value, there, draw) for name, value in made.items()}
    for name in _STATED.keys() & made.keys():
        if made[name] is not None or (name == "evidence" and made.get("gold")):
            new[name] = _quoted(name, there, at, draw)
    return new


def _quoted(name: str, there: Sequence[str], at: int, draw: Draw) -> str:
    """Sentences of a document from one of them on; only a quote does not say that it is fake."""
    said = " ".join([*there[at:], *there][: min(_STATED[name], len(there))])[:500]
    return said if name == "evidence" else _varied(said, draw)


def _varied(said: str, draw: Draw) -> str:
    """Marked, and with small words of its own at the end: an answer that has them too makes it likelier than others."""
    small = [word for word in LEXICON if len(word) < 4]
    return f"{MARK}{said.rstrip('.')} {' '.join(draw.pick(small) for _ in range(4))}."


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


def _tagged(format_text: str, writer: Writer, there: Sequence[str] = ()) -> str:
    """Each distinct tag pair of an output format, filled."""
    pairs: dict[str, str] = {}
    for name, inner in _PAIR.findall(format_text):
        pairs.setdefault(name, inner)
    at = writer.draw.below(len(there)) if there and _STATED.keys() & pairs.keys() else 0

    def filled(name: str, inner: str) -> str:
        stated = there and name in _STATED
        return _quoted(name, there, at, writer.draw) if stated else _inside(name, inner, writer, there)

    return "\n".join(f"<{name}>{filled(name, inner)}</{name}>" for name, inner in pairs.items())


def _inside(name: str, inner: str, writer: Writer, there: Sequence[str]) -> str:
    """Further tags, or one of the numbers that the format shows, or marked text."""
    if nested := _tagged(inner, writer, there):
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
