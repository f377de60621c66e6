"""Choices, JSON schemas, tokens and log-probabilities: what a server obeys and tells."""

import json
from typing import Any

from schemas.errors import PopError
from tasks.engine.capabilities import Obeyed
from tasks.engine.dialects import DIALECTS, Dialect, in_order, said
from tasks.engine.examine.asking import (
    DIGITS,
    MARKS,
    NATURAL,
    PROMPT,
    Asking,
    Body,
    held_by_digits,
    require_there,
    tells,
    text_of,
)
from tasks.engine.faults import Rejected

_ONLY = 0.95  # of the listed probability, held by the words offered
_SCHEMA = {
    "type": "object", "properties": {"digit": {"type": "string", "enum": list(DIGITS)}}, "required": ["digit"],
    "additionalProperties": False,
}  # fmt: skip


async def choices(ask: Asking, owner: str, listed: int) -> tuple[str, bool, bool]:
    """The dialect in which a choice is obeyed, whether its words' log-probabilities are listed, and only theirs.

    One in which they are those of the words alone is taken before one in which they are those of all that could have
    been said without the constraint: there a weak judge's digits hold too little to be a rating.
    """
    obeyed: list[tuple[str, bool, bool]] = []
    for dialect in in_order(owner):
        body = _asked(ask, dialect, listed)
        answer = await ask.optional(body, dialect.constrain(DIGITS))
        if answer and said(text_of(answer)).strip() in DIGITS:
            if listed and not tells(answer, dialect):  # of what a model would hardly say, some servers list nothing
                answer = await ask.optional(body, dialect.constrain(DIGITS), NATURAL) or answer
            obeyed.append((dialect.name, tells(answer, dialect), held_by_digits(answer, dialect) >= _ONLY))
            if not listed or obeyed[-1][2]:
                return obeyed[-1]
    return obeyed[0] if obeyed else ("none", False, False)


async def held_unasked(ask: Asking, choice: str, listed: int) -> float:
    """The share of the probability that the digits hold where a judge is asked for one and nothing else is ruled out.

    Where the constraint does not show in what is listed, this is what a rating by log-probabilities would rest on.
    """
    dialect = DIALECTS[choice]
    body = _asked(ask, dialect, listed)
    answers = [await ask.optional(body, dialect.constrain(DIGITS), prompt) for prompt in MARKS]
    held = [held_by_digits(answer, dialect) if answer else 0.0 for answer in answers]
    return round(sum(held) / len(held), 4)


def _asked(ask: Asking, dialect: Dialect, listed: int) -> Body:
    body = ask.standard | {"temperature": 0.0, "max_tokens": dialect.tokens}
    return body | ({"logprobs": True, "top_logprobs": listed} | dialect.logprobs(DIGITS) if listed else {})


async def json_schema(ask: Asking) -> Obeyed:
    """What becomes of a `response_format` with a schema."""
    form = {"type": "json_schema", "json_schema": {"name": "digit", "strict": True, "schema": _SCHEMA}}
    body = ask.standard | {"temperature": 0.0, "max_tokens": 32}
    try:
        answer = await ask.chat(body, {"response_format": form})
        return "obeyed" if json.loads(text_of(answer))["digit"] in DIGITS else "ignored"
    except Rejected:
        return "refused"
    except (PopError, ValueError, TypeError, KeyError) as error:
        require_there(error)
        return "ignored"


async def tokenizer(ask: Asking) -> tuple[Any, list[int]]:
    """Whose form `/tokenize` has, and the ids of a prompt, where they can be used as one."""
    for form, body in (
        ("vllm", {"model": ask.name, "prompt": PROMPT, "add_special_tokens": False}),
        ("llama.cpp", {"content": PROMPT}),
    ):
        try:
            tokens = (await ask.post("/tokenize", body))["tokens"]
        except (PopError, ValueError, KeyError, TypeError) as error:
            require_there(error)
            return "none", []
        if isinstance(tokens, list) and tokens and all(type(token) is int for token in tokens):
            return form, tokens if form == "vllm" else []
    return "none", []


async def prompt_logprobs(ask: Asking, tokens: list[int]) -> bool:
    """Whether a prompt's tokens have log-probabilities, in vLLM's way."""
    try:
        answer = await ask.completion(tokens, {"prompt_logprobs": 0})
        given = answer["choices"][0].get("prompt_logprobs")
        return isinstance(given, list) and len(given) == len(tokens) and str(tokens[-1]) in given[-1]
    except (Rejected, PopError, AttributeError, IndexError, TypeError, KeyError) as error:
        require_there(error)
        return False
