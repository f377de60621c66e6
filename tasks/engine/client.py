"""The OpenAI-compatible client: replicas, a bound on requests in flight, retries with back-off, token budgets."""

import asyncio
import json
import math
import os
import time
from collections.abc import Sequence
from typing import Any

import httpx
import openai
from openai.types.chat import ChatCompletion

from schemas.config import EngineConfig, ModelConfig
from schemas.errors import UserError
from schemas.ids import canonical
from tasks.engine.protocol import Budget, Choice, EngineError, Generation, Likelihood, Message, Request

_TOKENIZE_TRIES = 3
_CHOICE_TOKENS = 8  # enough for any word that is offered
_RULED_OUT = -1000.0
_TOP_LOGPROBS = 20  # the most that servers give
_TEMPLATE_TOKENS = 64  # what a chat template adds at most, for the bound that needs no counting


class Rejected(Exception):
    """The server will not take this request, now or ever: a row with a status, not a failure of the stage."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Replica:
    """One base URL of a model."""

    def __init__(self, base_url: str, api_key: str, engine: EngineConfig) -> None:
        self.url = base_url.rstrip("/")
        self.in_flight = 0
        self.client = openai.AsyncOpenAI(
            base_url=self.url, api_key=api_key, timeout=engine.timeout_sec, max_retries=engine.max_retries
        )
        # /tokenize lies beside /v1, not under it
        self.http = httpx.AsyncClient(
            base_url=self.url.removesuffix("/v1"), timeout=engine.timeout_sec,
            headers={"Authorization": f"Bearer {api_key}"},
        )  # fmt: skip


class Client:
    """A named model behind one or several servers. `model` is its identity (weights or name), not its address."""

    def __init__(
        self, model: str, config: ModelConfig, engine: EngineConfig, urls: Sequence[str], gate: asyncio.Semaphore
    ) -> None:
        self.model, self.config, self.served_name = model, config, config.served_name or "policy"
        self._gate = gate
        self._replicas = [Replica(url, _api_key(config), engine) for url in urls]
        self._max_model_len = config.max_model_len or engine.max_model_len
        self._can_tokenize: bool | None = None
        self._tokens: dict[str, list[int]] = {}

    async def close(self) -> None:
        """Close the connections."""
        for replica in self._replicas:
            await replica.client.close()
            await replica.http.aclose()

    async def chat(self, request: Request) -> Generation:
        """See `Engine.chat`."""
        params: dict[str, Any] = {
            "temperature": request.sampling.temperature,
            "top_p": request.sampling.top_p,
            "max_tokens": request.sampling.max_tokens,
            "seed": request.seed(self.model),
        }
        if request.sampling.stop:
            params["stop"] = list(request.sampling.stop)
        if request.output and self.config.output_format == "json_schema":
            name, schema = request.output
            params["response_format"] = {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}
        async with self._gate, _InFlight(self._replicas) as replica:
            started = time.monotonic()
            try:
                await self._require_room(request)
                answer = await _sent(
                    replica, replica.client.chat.completions.create,
                    model=self.served_name, messages=list(request.messages), **params,
                )  # fmt: skip
            except Rejected as rejected:
                text, finish, usage = rejected.message, rejected.status, None
            else:
                if not _is_chat(answer):
                    raise EngineError(f"{replica.url} does not answer as an OpenAI-compatible server does")
                text, finish = _full_text(answer), str(answer.choices[0].finish_reason)
                usage = answer.usage
        return Generation(
            generation_id=request.generation_id(self.model), subject_id=request.subject_id, role=request.role,
            model=self.model, endpoint=replica.url, messages=list(request.messages), params=canonical(params),
            completion=_storable(text), finish_reason=finish, prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
            seconds=round(time.monotonic() - started, 3), attempt=request.attempt,
        )  # fmt: skip

    async def likelihood(self, request: Likelihood) -> Generation:
        """See `Engine.likelihood`. Context and target are tokenized apart, so the border between them is exact."""
        async with self._gate, _InFlight(self._replicas) as replica:
            started = time.monotonic()
            context = await self._tokenize(replica, request.context, special=True)
            targets = [await self._target_tokens(replica, " " + target.strip()) for target in request.targets]
            try:
                longest = max(len(context) + len(target) for target in targets) + 1
                if longest > (limit := await self.max_model_len()):
                    raise Rejected("too_long", f"not sent: {longest} tokens, and the context is {limit}")
                answer = await _sent(
                    replica, replica.client.completions.create, model=self.served_name, max_tokens=1,
                    temperature=0.0, prompt=[context + target for target in targets],
                    extra_body={"prompt_logprobs": 0},
                )  # fmt: skip
            except Rejected as rejected:
                text, finish = rejected.message, rejected.status
            else:
                choices = sorted(answer.choices, key=lambda choice: choice.index)
                pairs = zip(choices, targets, strict=True)
                text, finish = json.dumps([_target_logprob(c.model_dump(), t) for c, t in pairs]), "scored"
        return Generation(
            generation_id=request.generation_id(self.model), subject_id=request.subject_id, role=request.role,
            model=self.model, endpoint=replica.url,
            messages=[{"role": "context", "content": request.context}]
            + [{"role": "target", "content": target} for target in request.targets],
            params=canonical({"prompt_logprobs": 0, "max_tokens": 1}), completion=_storable(text),
            finish_reason=finish, prompt_tokens=sum(len(context) + len(target) for target in targets),
            completion_tokens=0, seconds=round(time.monotonic() - started, 3), attempt=0,
        )  # fmt: skip

    async def choice(self, request: Choice) -> Generation:
        """See `Engine.choice`. A server that cannot be constrained is read as it answers."""
        params: dict[str, Any] = {"temperature": 0.0, "max_tokens": _CHOICE_TOKENS}
        if request.logprobs:
            params |= {"logprobs": True, "top_logprobs": _TOP_LOGPROBS}
        extra = {"structured_outputs": {"choice": list(request.choices)}}
        async with self._gate, _InFlight(self._replicas) as replica:
            started = time.monotonic()
            usage = None
            try:
                answer = await _sent(
                    replica, replica.client.chat.completions.create, model=self.served_name,
                    messages=list(request.messages), **params,
                    extra_body=extra if self.config.output_format == "json_schema" else None,
                )  # fmt: skip
            except Rejected as rejected:
                text, finish = rejected.message, rejected.status
            else:
                if not _is_chat(answer):
                    raise EngineError(f"{replica.url} does not answer as an OpenAI-compatible server does")
                text, finish, usage = _full_text(answer), "chosen", answer.usage
                if request.logprobs:
                    text = json.dumps({"choice": text, "logprobs": _first_token(answer)})
        return Generation(
            generation_id=request.generation_id(self.model), subject_id=request.subject_id, role=request.role,
            model=self.model, endpoint=replica.url, messages=list(request.messages),
            params=canonical(params | {"choice": list(request.choices)}), completion=_storable(text),
            finish_reason=finish, prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
            seconds=round(time.monotonic() - started, 3), attempt=0,
        )  # fmt: skip

    async def budget(self, messages: Sequence[Message], max_tokens: int) -> Budget:
        """Counted by the server only when a bound (a token is at least a byte) does not settle it."""
        limit = await self.max_model_len()
        bound = sum(len(message["content"].encode(errors="replace")) + _TEMPLATE_TOKENS for message in messages)
        if bound + max_tokens <= limit:
            return Budget(bound + max_tokens, limit)
        if self._can_tokenize is not False:
            response = await self._post_tokenize(
                self._replicas[0], {"messages": list(messages), "add_generation_prompt": True}
            )
            if response is not None:
                return Budget(int(response["count"]) + max_tokens, limit, exact=True)
        return Budget(bound // 3 + max_tokens, limit)  # no tokenizer to be had: 3 bytes a token

    async def _require_room(self, request: Request) -> None:
        """Raise `Rejected` for a request that is known not to fit; an estimate is left to the server to judge."""
        budget = await self.budget(request.messages, request.sampling.max_tokens)
        if budget.exact and not budget.fits:
            message = f"not sent: {budget.tokens} tokens with max_tokens, and the context is {budget.limit}"
            raise Rejected("too_long", message)

    async def max_model_len(self) -> int:
        """The context in tokens: as configured, else as the server's model list says, else 8,192."""
        if self._max_model_len is None:
            models = await _sent(self._replicas[0], self._replicas[0].client.models.list)
            found = [m.model_dump().get("max_model_len") for m in models.data if m.id == self.served_name]
            self._max_model_len = int(found[0]) if found and found[0] else 8192
        return self._max_model_len

    async def _target_tokens(self, replica: Replica, text: str) -> list[int]:
        """Remembered: a rubric's facts come with every answer."""
        if text not in self._tokens:
            if len(self._tokens) > 20_000:
                self._tokens.clear()
            self._tokens[text] = await self._tokenize(replica, text)
        return self._tokens[text]

    async def _tokenize(self, replica: Replica, text: str, special: bool = False) -> list[int]:
        response = await self._post_tokenize(replica, {"prompt": text, "add_special_tokens": special})
        if response is None:
            raise UserError(
                f"{replica.url} has no /tokenize, which rating.mode='likelihood' needs (vLLM has it); "
                "set rating.mode=pointwise or another judge"
            )
        return list(response["tokens"])

    async def _post_tokenize(self, replica: Replica, body: dict[str, Any]) -> dict[str, Any] | None:
        """What /tokenize says; None where the server has none."""
        for left in reversed(range(_TOKENIZE_TRIES)):
            try:
                response = await replica.http.post("/tokenize", json={"model": self.served_name, **body})
            except httpx.HTTPError as error:  # also a kept connection that the server closed just now
                if not left:
                    raise EngineError(f"{replica.url} does not answer: {type(error).__name__}") from error
                continue
            if response.status_code >= 500 and response.status_code != 501:
                raise EngineError(f"{replica.url}/tokenize fails: {response.status_code}")
            self._can_tokenize = response.status_code == 200
            return dict(response.json()) if self._can_tokenize else None
        raise AssertionError("unreachable")


class _InFlight:
    """The replica with the fewest requests in flight, counted while one more is on its way."""

    def __init__(self, replicas: list[Replica]) -> None:
        self._replica = min(replicas, key=lambda replica: replica.in_flight)

    async def __aenter__(self) -> Replica:
        self._replica.in_flight += 1
        return self._replica

    async def __aexit__(self, *_: object) -> None:
        self._replica.in_flight -= 1


def _api_key(config: ModelConfig) -> str:
    if config.api_key_env is None:
        return "none"
    key = os.environ.get(config.api_key_env)
    if not key:
        raise UserError(f"the environment variable {config.api_key_env} (api_key_env of a model) is not set")
    return key


async def _sent(replica: Replica, call: Any, **arguments: Any) -> Any:
    """Send, turning a server that stays away into one clear line. A request refused as such raises `Rejected`."""
    try:
        return await call(**arguments)
    except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
        raise Rejected("too_long" if "context length" in error.message else "rejected", error.message) from None
    except (openai.AuthenticationError, openai.PermissionDeniedError):
        raise UserError(f"{replica.url} refuses the API key; check api_key_env") from None
    except openai.NotFoundError as error:
        raise UserError(f"{replica.url}: {error.message}") from None
    except openai.APIError as error:
        if isinstance(error, openai.APIStatusError) and error.status_code == 413:
            raise Rejected("too_long", error.message) from None
        raise EngineError(f"{replica.url} keeps failing: {type(error).__name__}: {error.message}") from error
    except json.JSONDecodeError:
        raise EngineError(f"{replica.url} answers with something that is not JSON") from None


def _is_chat(answer: Any) -> bool:
    """Whether a server's answer has the form of a chat completion, which the openai client does not look at."""
    if not isinstance(answer, ChatCompletion) or not answer.choices:
        return False
    message: Any = answer.choices[0].message
    return message is not None and isinstance(message.content, str | None)


def _first_token(answer: ChatCompletion) -> list[list[Any]]:
    """Token and log-probability of what could have come first, likeliest first; empty where the server tells none."""
    content = answer.choices[0].logprobs.content if answer.choices[0].logprobs else None
    if not content:
        return []
    # vLLM says -9999 of a token that the constraint rules out
    return [[top.token, top.logprob] for top in content[0].top_logprobs if top.logprob > _RULED_OUT]


def _storable(text: str) -> str:
    """Half of a surrogate pair, which JSON can carry, is no Unicode text: no table could hold it."""
    return text.encode(errors="replace").decode()


def _full_text(answer: ChatCompletion) -> str:
    """The answer with what a reasoning parser split off put back before it, so that `text` keeps everything."""
    message = answer.choices[0].message
    thoughts = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    return f"<think>{thoughts}</think>{message.content or ''}" if thoughts else message.content or ""


def _target_logprob(choice: dict[str, Any], target: list[int]) -> dict[str, Any]:
    """Sum of the target tokens' log-probabilities from vLLM's `prompt_logprobs` (None where a value is missing)."""
    entries = (choice.get("prompt_logprobs") or [])[-len(target) :] if target else []
    values = [(entry or {}).get(str(token), {}).get("logprob") for entry, token in zip(entries, target, strict=False)]
    known = len(values) == len(target) > 0 and all(value is not None and math.isfinite(value) for value in values)
    return {"tokens": len(target), "logprob": sum(values) if known else None}
