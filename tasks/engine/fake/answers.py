"""What the fake engine answers to a generation request, out of the request and its fault alone."""

import hashlib
from collections.abc import Sequence
from typing import Any

from tasks.engine.fake import text as text
from tasks.engine.fake.logprobs import chat_logprobs, completion_logprobs, cut, prompt_logprobs, token_id, tokenize
from tasks.engine.fake.wire import ChatRequest, CompletionRequest, RequestError, Sampling, prompts, rendered, wanted


class Answers:
    """The bodies of both generation endpoints.

    Args:
        models: the served names; the first one answers a request that names none.
        max_model_len: prompt and completion together, in tokens.
    """

    def __init__(self, models: Sequence[str], max_model_len: int) -> None:
        self._models, self._max_model_len = models, max_model_len

    def chat(self, body: bytes, fault: str) -> dict[str, Any]:
        """Of POST /v1/chat/completions."""
        asked = ChatRequest.model_validate_json(body)
        prompt = rendered(asked.messages, True)
        ask = self._ask(asked, prompt, tokenize(prompt), asked.messages[-1].plain())
        max_tokens = self._max_tokens(asked.max_completion_tokens or asked.max_tokens, len(ask.pieces))
        choices: list[dict[str, Any]] = []
        written = 0
        for index in range(asked.n or 1):
            content, reason, count, stop = _completion(ask, index, max_tokens, asked.stops(), fault)
            logprobs = chat_logprobs(ask, content, asked.top_logprobs or 0) if asked.logprobs else None
            message = {"role": "assistant", "content": content, "refusal": None}
            ended = {"finish_reason": reason, "stop_reason": stop}
            choices.append({"index": index, "message": message, "logprobs": logprobs, **ended})
            written += count
        return _reply("chat.completion", body, ask.model, choices, len(ask.pieces), written)

    def completions(self, body: bytes, fault: str) -> dict[str, Any]:
        """Of POST /v1/completions."""
        asked = CompletionRequest.model_validate_json(body)
        choices: list[dict[str, Any]] = []
        read, written, name = 0, 0, ""
        for prompt in prompts(asked.prompt):
            # ids are not looked up, so that the answer does not depend on what was tokenized before
            pieces = tokenize(prompt) if isinstance(prompt, str) else [f"<{token}>" for token in prompt]
            ids = [token_id(piece) for piece in pieces] if isinstance(prompt, str) else prompt
            if not ids:
                raise RequestError("The decoder prompt cannot be empty")
            whole = prompt if isinstance(prompt, str) else " ".join(pieces)
            ask = self._ask(asked, whole, pieces, whole if isinstance(prompt, str) else "")
            max_tokens, name = self._max_tokens(asked.max_tokens or 16, len(ids)), ask.model
            of_prompt = prompt_logprobs(ids, pieces, asked.prompt_logprobs, fault)
            for index in range(asked.n or 1):
                content, reason, count, stop = _completion(ask, index, max_tokens, asked.stops(), fault)
                logprobs = None if asked.logprobs is None else completion_logprobs(ids, content, asked.logprobs)
                choices.append({
                    "index": len(choices), "text": content, "logprobs": logprobs, "finish_reason": reason,
                    "stop_reason": stop, "prompt_logprobs": of_prompt,
                })  # fmt: skip
                written += count
            read += len(ids)
        return _reply("text_completion", body, name, choices, read, written)

    def _ask(self, asked: Sampling, prompt: str, pieces: Sequence[str], last: str) -> text.Ask:
        """What the completion depends on, out of the request.

        Raises:
            RequestError: an unknown model, or something that vLLM or the fake engine refuses.
        """
        model = self.known_model(asked.model)
        temperature = 1.0 if asked.temperature is None else asked.temperature
        if asked.stream:
            raise RequestError("the fake engine does not stream")
        if temperature == 0 and (asked.n or 1) > 1:
            raise RequestError("n must be 1 when using greedy sampling")
        schema, choices = wanted(asked)
        return text.Ask(model, prompt, last[-text.TAIL_CHARS :], pieces, asked.drawn(), schema, choices)

    def known_model(self, name: str | None) -> str:
        """The served name that is meant.

        Raises:
            RequestError: it is not served.
        """
        if name is not None and name not in self._models:
            raise RequestError(f"The model `{name}` does not exist.", 404)
        return name or self._models[0]

    def _max_tokens(self, asked: int | None, prompt_tokens: int) -> int:
        limit = self._max_model_len
        if prompt_tokens + (asked or 1) > limit:
            raise RequestError(
                f"This model's maximum context length is {limit} tokens. However, you requested "
                f"{prompt_tokens + (asked or 1)} tokens ({prompt_tokens} in the messages, {asked or 1} in the "
                "completion). Please reduce the length of the messages or completion."
            )
        return asked or limit - prompt_tokens


def _reply(
    kind: str, body: bytes, model: str, choices: list[dict[str, Any]], read: int, written: int
) -> dict[str, Any]:
    return {
        "id": f"fake-{hashlib.blake2b(body, digest_size=12).hexdigest()}", "object": kind, "created": 0,
        "model": model, "system_fingerprint": "pop-fake-engine", "choices": choices,
        "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
    }  # fmt: skip


def _completion(
    ask: text.Ask, index: int, max_tokens: int, stop: list[str], fault: str
) -> tuple[str, str, int, str | None]:
    """Text, finish reason, tokens, and the stop text that ended it."""
    if fault in ("malformed", "truncated", "garbage"):
        content, reason = text.spoiled(fault, ask, index)
        return content, reason, len(tokenize(content)), None
    whole = text.compose(ask, index, lying=fault == "lying")
    content, reason, count = cut(whole, max_tokens, stop)
    at = [word for word in stop if word and whole.startswith(content + word)] if reason == "stop" else []
    return content, reason, count, at[0] if at else None
