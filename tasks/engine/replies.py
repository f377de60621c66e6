"""What a server has answered, read out of the JSON that came: everything in it is checked, and nothing is made up.

Servers follow OpenAI's form more or less. What cannot be an answer is a `NotAReply`; what is only said oddly (content
in parts, thoughts in a field of their own, counts in text) is read; what is missing or impossible is None.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.engine.protocol import CUT, WHOLE

Body = Mapping[str, Any]
_STOPS = ("stop_reason", "matched_stop", "stop_sequence", "stopping_word")
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")  # fields in which servers put what they split off


class NotAReply(ValueError):
    """It has not the form of an answer; the message says what is wrong."""


@dataclass(frozen=True)
class Reply:
    """A chat completion.

    Attributes:
        text: everything that was written; thoughts that the server split off stand before it as `<think>…</think>`.
        content: the text without what the server split off.
        finish: the server's finish reason as it is, or `refusal` where the message is one (its words are the text).
        tokens: `logprobs.content`, one entry a token; empty where the server tells none.
        stop_reason: the stop text that ended it, empty where the model itself did; None where the server does not say.
    """

    text: str
    content: str
    finish: str
    prompt_tokens: int | None
    completion_tokens: int | None
    tokens: list[dict[str, Any]] = field(default_factory=list)
    stop_reason: str | None = None

    @property
    def ended(self) -> bool:
        """Whether it came to its own end, or to that of `max_tokens`."""
        return self.finish.casefold() in WHOLE | CUT


def read_chat(body: Any) -> Reply:
    """A chat completion out of its JSON.

    Raises:
        NotAReply: it is none.
    """
    choice = choices_of(body)[0]
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise NotAReply("its first choice has no message")
    thoughts, content, refusal = _words(message)
    if refusal:
        content, finish = refusal, "refusal"
    else:
        finish = finish_of(choice)
    if thoughts and content.strip() == thoughts.strip():  # thoughts given out as the answer, as when they were cut
        content = ""
    text = f"<think>{thoughts}</think>{content}" if thoughts else content
    usage = body.get("usage")
    counts = usage if isinstance(usage, Mapping) else {}
    return Reply(
        text, content, finish, count_of(counts.get("prompt_tokens")), count_of(counts.get("completion_tokens")),
        _tokens(choice.get("logprobs")), stop_reason_of(choice),
    )  # fmt: skip


def choices_of(body: Any) -> list[Body]:
    """The choices of an answer, in the order of their `index` where they have one each, else as they came.

    Raises:
        NotAReply: there is none.
    """
    choices = body.get("choices") if isinstance(body, Mapping) else None
    if not isinstance(choices, list) or not choices or not all(isinstance(one, Mapping) for one in choices):
        raise NotAReply("it has no list of choices")
    numbers = [one.get("index") for one in choices]
    if sorted(map(repr, numbers)) == sorted(map(repr, range(len(choices)))):
        return sorted(choices, key=lambda one: int(one["index"]))
    return choices


def finish_of(choice: Body) -> str:
    """The server's word for why the text ends; `none` where it has none."""
    finish = choice.get("finish_reason")
    return finish if isinstance(finish, str) else "none" if finish is None else json.dumps(finish)[:60]


def stop_reason_of(choice: Body) -> str | None:
    """Which stop text ended a completion, as vLLM (`stop_reason`), SGLang (`matched_stop`) and others tell it: empty
    for the model's own end, and for a number for a token that ends it; None where the server does not say."""
    for name in _STOPS:
        if name in choice:
            return choice[name] if isinstance(choice[name], str) else ""
    return None


def count_of(value: Any) -> int | None:
    """A number of tokens, also one in text; None for what is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != value // 1:
        return None
    return int(value)


def alternatives(tokens: list[dict[str, Any]]) -> list[list[Any]]:
    """Token and log-probability, as the server gave them, of what could have come first; empty where it tells none.

    A token that a constraint rules out could not, and some servers list it with -Infinity.
    """
    listed = tokens[0].get("top_logprobs") if tokens else None
    told = [(_name(one), _nats(one.get("logprob"))) for one in listed or () if isinstance(one, Mapping)]
    return [[name, nats] for name, nats in told if nats != -math.inf]


def _nats(value: Any) -> Any:
    """A log-probability, also one in text; anything else as it is, for the judge to refuse."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _name(token: Mapping[str, Any]) -> str:
    if isinstance(name := token.get("token"), str):
        return name
    code = token.get("bytes")
    known = isinstance(code, list) and all(isinstance(one, int) and 0 <= one < 256 for one in code)
    return bytes(code or ()).decode(errors="replace") if known else ""


def _words(message: Body) -> tuple[str, str, str]:
    """Thoughts, content and refusal of a message."""
    thoughts = next((text for name in _THOUGHTS if (text := _plain(message.get(name)))), "")
    content, refusal = message.get("content"), message.get("refusal")
    refused = refusal if isinstance(refusal, str) else ""
    if content is None or isinstance(content, str):
        return thoughts, content or "", refused
    written = []
    for part in content if isinstance(content, list) else [content]:
        kind, text = _part(part)
        if kind == "thoughts":
            thoughts += text
        elif kind == "refusal":
            refused += text
        else:
            written.append(text)
    return thoughts, "".join(written), refused


def _part(part: Any) -> tuple[str, str]:
    """What a part of a content is, and its text."""
    if isinstance(part, str):
        return "text", part
    if not isinstance(part, Mapping):
        raise NotAReply("its content is neither text nor parts of one")
    kind = str(part.get("type"))
    if "think" in kind or "reason" in kind:
        return "thoughts", _plain(part)
    if kind == "refusal":
        return "refusal", str(part.get("refusal") or "")
    if kind in ("text", "output_text", "None"):
        if not isinstance(part.get("text"), str):
            raise NotAReply("a part of its content has no text")
        return "text", part["text"]
    return "other", ""  # a picture, a call of a tool


def _plain(value: Any) -> str:
    """The text in a thought, which may be a text, an object that holds one, or a list of either."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(_plain, value))
    if isinstance(value, Mapping):
        return next((text for key in ("thinking", "reasoning", "text", "summary", "content")
                     if (text := _plain(value.get(key)))), "")  # fmt: skip
    return ""


def _tokens(logprobs: Any) -> list[dict[str, Any]]:
    if not isinstance(logprobs, Mapping):
        return []
    if isinstance(content := logprobs.get("content"), list):
        return [dict(token) for token in content if isinstance(token, Mapping)]
    names, tops = logprobs.get("tokens"), logprobs.get("top_logprobs")  # the form of the older completions
    if not isinstance(names, list) or not isinstance(tops, list):
        return []
    return [
        {"token": name, "top_logprobs": [{"token": token, "logprob": nats} for token, nats in top.items()]}
        for name, top in zip(names, tops, strict=False)
        if isinstance(top, Mapping)
    ]
