"""How servers are told that an answer must be one of a few words: each kind has a parameter of its own for it.

| dialect | sent | understood by |
| --- | --- | --- |
| `choice` | `structured_outputs: {choice: […]}` | vLLM |
| `gbnf` | `grammar: 'root ::= "a" \\| "b"'` | llama.cpp |
| `gbnf_listed` | the same, and a long list of log-probabilities | llama.cpp behind a proxy |
| `regex` | `regex: (a\\|b)` | SGLang |
| `json_schema` | `response_format` with an object of one enum | OpenAI, and most that follow it |
| `none` | nothing: the answer is read as it comes | all |

Which one a server obeys is found out by asking (`tasks.engine.examine`), since servers take parameters that they do not
know without a word.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.engine.replies import alternatives

Body = dict[str, Any]
_KEY = "choice"  # of the object that holds the word in JSON
_WORD = rf'\{{\s*"{_KEY}"\s*:\s*"([^"\\]*)"'
_LIFT_NATS = 50.0
_NEVER = 1e-12  # the probability of what was not lifted
_LONG = 1000  # log-probabilities a token; a small model's digits stand among the first 150
_MISSING = 0.01  # of what the listed words hold, by all that are not listed


@dataclass(frozen=True)
class Dialect:
    """One way to constrain a choice.

    Attributes:
        owner: what `/v1/models` calls the owner of a model, at servers that are known to speak it.
        tokens: enough for any word that is offered, with what stands around it.
        constrain: the parameters that say so, from the words.
        logprobs: what a request needs beside, where the log-probabilities of these words are wanted.
        picked: what is listed is of all that could be said without the constraint; the words are picked out of it.
    """

    name: str
    owner: str
    tokens: int
    constrain: Callable[[Sequence[str]], Body]
    logprobs: Callable[[Sequence[str]], Body] = lambda choices: {}
    picked: bool = False


def _schema(choices: Sequence[str]) -> Body:
    word = {"type": "string", "enum": list(choices)}
    # strict servers want an object at the top, every key required, and no other
    whole = {"type": "object", "properties": {_KEY: word}, "required": [_KEY], "additionalProperties": False}
    form = {"name": _KEY, "strict": True, "schema": whole}
    return {"response_format": {"type": "json_schema", "json_schema": form}}


def _grammar(choices: Sequence[str]) -> Body:
    return {"grammar": "root ::= " + " | ".join(json.dumps(choice) for choice in choices)}


def _as_drawn(choices: Sequence[str]) -> Body:
    """llama.cpp lists probabilities before the grammar, unless it is asked for those that it draws from.

    Drawn by a temperature of 1 and nothing else, they are the model's own. It draws before it looks at the grammar, and
    again if need be; the same lift for all words lets the first draw be one of them, so what is listed is always the
    model's own probabilities divided by their sum over the words.
    """
    lifted = [[choice, _LIFT_NATS] for choice in choices]
    drawn = {"temperature": 1.0, "top_p": 1.0, "samplers": ["temperature"], "seed": 0}
    return {"post_sampling_probs": True, "logit_bias": lifted, **drawn}


DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect("choice", "vllm", 8, lambda choices: {"structured_outputs": {"choice": list(choices)}}),
        Dialect("json_schema", "", 48, _schema),
        Dialect("gbnf", "llamacpp", 8, _grammar, _as_drawn),
        Dialect("gbnf_listed", "", 8, _grammar, lambda choices: {"top_logprobs": _LONG}, picked=True),
        Dialect("regex", "sglang", 8, lambda words: {"regex": f"({'|'.join(map(re.escape, words))})"}),
        Dialect("none", "-", 8, lambda choices: {}),
    )
}


def in_order(owner: str) -> list[Dialect]:
    """The dialects to try at a server, that of its kind first; without `none`."""
    known = [dialect for dialect in DIALECTS.values() if dialect.name != "none"]
    return sorted(known, key=lambda dialect: dialect.owner != owner)


def said(text: str) -> str:
    """The word of an answer, out of the JSON around it where there is some."""
    whole = re.fullmatch(rf"\s*{_WORD}\s*\}}\s*", text)
    return whole[1] if whole else text


def among(choices: Sequence[str], listed: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Of what is listed, the words offered, their probabilities divided by their sum: as a constraint makes them.

    One that is not listed is less likely than all that is. Where it could matter all the same, the list is given back
    as it is, for the judge to refuse.

    Example: of "The" 0.30, "2" 0.03, "1" 0.02 and hundreds more down to 1e-6, "2" has 0.6 and "1" has 0.4.
    """
    numbers = [nats for _, nats in listed if isinstance(nats, int | float)]
    found = [(word, nats) for word, nats in listed if word in choices and isinstance(nats, int | float)]
    whole = math.fsum(math.exp(min(0.0, nats)) for _, nats in found)
    missing = len(set(choices) - {word for word, _ in found})
    if not found or not whole or missing * math.exp(min(0.0, *numbers)) > _MISSING * whole:
        return [list(one) for one in listed]
    return [[word, nats - math.log(whole)] for word, nats in found]


def word_logprobs(text: str, tokens: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Token and log-probability of what could have stood where the word begins; empty where the server tells none.

    Args:
        text: the whole answer.
        tokens: `logprobs.content` of it, one entry a token; llama.cpp's have the Markdown fence that the answer lacks.

    Example: of `{"choice":"2"}`, cut into `{"`, `choice`, `":"`, `2`, `"}`, it is what `2` stood against.
    """
    pieces = [str(token.get("token") or "") for token in tokens]
    word = re.search(_WORD, "".join(pieces)) if said(text) != text else None
    at, begin = 0, word.start(1) if word else 0
    for token, piece in zip(tokens, pieces, strict=True):
        if at + len(piece) > begin or word is None:
            head = piece[: max(0, begin - at)]  # a token may hold the quotation mark and the word
            told = [(name, nats) for name, nats in _listed(token) if _fits(name, head)]
            return [[name.removeprefix(head).rstrip('"}') if word else name, nats] for name, nats in told]
        at += len(piece)
    return []


def _fits(name: Any, head: str) -> bool:
    return isinstance(name, str) and name.startswith(head)


def _listed(token: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    if drawn := token.get("top_probs"):  # llama.cpp's `post_sampling_probs`
        shares = [(top.get("token"), top.get("prob")) for top in drawn if isinstance(top, Mapping)]
        return [(name, math.log(p)) for name, p in shares if isinstance(p, int | float) and p > _NEVER]
    return [(name, nats) for name, nats in alternatives([dict(token)])]
