"""The fake engine's tokens and how likely they are, in the shapes of vLLM's answers."""

import math
import re
import zlib
from collections.abc import Sequence
from typing import Any

from tasks.engine.fake.text import Ask, choice_probabilities
from tasks.engine.fake.words import LEXICON

_TOKEN = re.compile(r"<\|\w+\|>|\w+|[^\w\s]")


def tokenize(text: str) -> list[str]:
    """Words and single punctuation marks; white space is no token."""
    return _TOKEN.findall(text)


def token_id(piece: str) -> int:
    """31 bits, the same in every process; two words of a prompt all but never share one."""
    return zlib.crc32(piece.encode("utf-8", "surrogatepass")) & 0x7FFFFFFF


def cut(text: str, max_tokens: int, stop: Sequence[str]) -> tuple[str, str, int]:
    """Text up to the first stop string and `max_tokens`, its finish reason, and its number of tokens."""
    ends = [at for at in (text.find(word) for word in stop if word) if at >= 0]
    text = text[: min(ends)] if ends else text
    count = len(tokenize(text))
    if count <= max_tokens:
        return text, "stop", count
    end = 0
    for match, _ in zip(_TOKEN.finditer(text), range(max_tokens), strict=False):
        end = match.end()
    return text[:end], "length", max_tokens


def chat_logprobs(ask: Ask, content: str, top: int) -> dict[str, Any]:
    """Of a choice: one token, with the likeliest choices beside it. Of other text: one entry a token."""
    if ask.choices:
        likely = {choice: round(math.log(p), 6) for choice, p in choice_probabilities(ask).items()}
        others = [_logprob(*pair) for pair in list(likely.items())[:top]]
        return {"content": [{**_logprob(content, likely.get(content, -20.0)), "top_logprobs": others}]}
    entries = []
    for piece, value in _written([token_id(piece) for piece in ask.pieces], content):
        others = [_logprob(token, other) for token, other, _ in _alternatives(value, top)]
        entries.append({**_logprob(piece, value), "top_logprobs": others})
    return {"content": entries}


def completion_logprobs(ids: Sequence[int], content: str, top: int) -> dict[str, Any]:
    """Parallel lists, an entry a token of the completion."""
    written = _written(ids, content)
    offsets, at = [], 0
    for piece, _ in written:
        offsets.append(content.index(piece, at))
        at = offsets[-1] + len(piece)
    return {
        "tokens": [piece for piece, _ in written],
        "token_logprobs": [value for _, value in written],
        "top_logprobs": [
            {token: v for token, v, _ in _alternatives(value, top)} | {piece: value} for piece, value in written
        ],
        "text_offset": offsets,
    }


def prompt_logprobs(ids: Sequence[int], pieces: Sequence[str], top: int | None, fault: str) -> Any:
    """vLLM's shape: null for the first token, then the true token and `top` others, by token id."""
    if top is None or fault == "malformed":
        return None
    positions: list[dict[str, Any] | None] = [None]
    for token, piece, value in list(zip(ids, pieces, _log_probabilities(ids), strict=True))[1:]:
        shown = float("nan") if fault == "garbage" else value
        position = {str(token): {"logprob": shown, "rank": _rank(value), "decoded_token": piece}}
        for word, other, rank in _alternatives(value, top) if top else ():
            position.setdefault(str(token_id(word)), {"logprob": other, "rank": rank, "decoded_token": word})
        positions.append(position)
    return positions[: len(positions) // 2] if fault == "truncated" else positions


def _logprob(token: str, value: float) -> dict[str, Any]:
    return {"token": token, "logprob": value, "bytes": list(token.encode("utf-8", "surrogatepass"))}


def _written(ids: Sequence[int], content: str) -> list[tuple[str, float]]:
    """The tokens of a completion and their log-probabilities, given the prompt's ids."""
    pieces = tokenize(content)
    values = _log_probabilities([*ids, *map(token_id, pieces)])[len(ids) :]
    return list(zip(pieces, values, strict=True))


def _log_probabilities(ids: Sequence[int]) -> list[float]:
    """Of each token, in nats: -0.5 to -1.5 where the same token came before, else -3 to -6.

    So a text becomes likelier by what was said before it, which is what rating by likelihood measures. Beside that
    it depends on the token and the one before it only: the same words after two contexts differ by the contexts alone.
    """
    seen: set[int] = set()
    values, previous = [], 0
    for token in ids:
        unit = ((token * 2654435761 ^ previous * 2246822519) >> 7 & 0xFFFFF) / 0xFFFFF
        values.append(round(-0.5 - unit if token in seen else -3.0 - 3.0 * unit, 6))
        seen.add(token)
        previous = token
    return values


def _rank(log_probability: float) -> int:
    """A rank that goes with a log-probability: 1 for a token seen before, far down for others."""
    return 1 if log_probability >= -1.5 else 10 + int(-log_probability * 500)


def _alternatives(log_probability: float, count: int) -> list[tuple[str, float, int]]:
    """Made-up other tokens (text, log-probability, rank), ranked around the true one and in order."""
    first = 2 if _rank(log_probability) == 1 else 1
    base, step = (log_probability - 1.0, 0.5) if first == 2 else (-1.0, (-log_probability - 1.0) / (count + 1))
    return [(LEXICON[n % len(LEXICON)], round(base - step * n, 6), first + n) for n in range(count)]
