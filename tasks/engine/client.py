"""The OpenAI-compatible client: replicas, a bound on requests in flight, token budgets, log-probabilities."""

import asyncio
import json
import math
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import httpx
import openai
from openai.types.chat import ChatCompletion

from schemas.config import EngineConfig, ModelConfig
from schemas.errors import UserError
from schemas.ids import canonical
from tasks.engine.capabilities import VLLM, Capabilities
from tasks.engine.counting import llama_cpp_count
from tasks.engine.dialects import DIALECTS, said, word_logprobs
from tasks.engine.parameters import params_of, shaped
from tasks.engine.protocol import Budget, Choice, Generation, Likelihood, Message, Request
from tasks.engine.tries import Breaker, Fault, Rejected, Tries, Watched, sent, unreachable

T = TypeVar("T")

_TOP_LOGPROBS = 20  # the most that servers give
_RULED_OUT = -1000.0  # nats
_SCORE_TRIES = 3  # for log-probabilities that are missing or no numbers
_REST_SEC = 10.0  # for which a replica that is away is asked only if all are
_TEMPLATE_TOKENS = 64  # what a chat template adds at most, for the bound that needs no counting


class Replica:
    """One base URL of a model."""

    def __init__(self, base_url: str, api_key: str, engine: EngineConfig) -> None:
        self.url = base_url.rstrip("/")
        self.in_flight = 0
        self.away_until = 0.0
        self.client = openai.AsyncOpenAI(
            base_url=self.url,
            api_key=api_key,
            timeout=engine.timeout_sec,
            max_retries=0,  # `Tries` has its own
        )
        # /tokenize lies beside /v1, not under it
        self.http = httpx.AsyncClient(
            base_url=self.url.removesuffix("/v1"), timeout=engine.timeout_sec,
            headers={"Authorization": f"Bearer {api_key}"},
        )  # fmt: skip


class Client:
    """A named model behind one or several servers. `model` is its identity (weights or name), not its address."""

    def __init__(
        self, model: str, config: ModelConfig, engine: EngineConfig, urls: Sequence[str], gate: asyncio.Semaphore,
        server: Watched | None = None,
    ) -> None:  # fmt: skip
        self.model, self.config, self.served_name = model, config, config.served_name or "policy"
        self._gate, self._engine = gate, engine
        self.replicas = [Replica(url, _api_key(config), engine) for url in urls]
        self._max_model_len = config.max_model_len or engine.max_model_len
        self.able, self._changes = VLLM, params_of(config)
        self._can_tokenize: bool | None = None
        self._tokens: dict[str, list[int]] = {}
        self.tries, self._breaker = Tries(engine, server), Breaker(model, engine.max_failed_share)

    @property
    def urls(self) -> tuple[str, ...]:
        """The servers' addresses, for a program of its own that talks to them."""
        return tuple(replica.url for replica in self.replicas)

    def found(self, able: Capabilities) -> None:
        """Ask from now on as the servers were found to understand it."""
        self.able = able
        self._max_model_len = min(filter(None, (self._max_model_len, able.context)), default=None)
        self._can_tokenize = None if able.tokenizer == "vllm" else False

    async def close(self) -> None:
        """Close the connections."""
        for replica in self.replicas:
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
        params = shaped(params | request.sampling.beyond_openai(), self._changes)
        answer, call = await self._chat(request.messages, request.sampling.max_tokens, params)
        choice = answer.choices[0] if answer else None
        text = _full_text(answer) if answer else call.message
        finish = str(choice.finish_reason) if choice else call.finish
        usage = answer.usage if answer else None
        return Generation(
            generation_id=request.generation_id(self.model), subject_id=request.subject_id, role=request.role,
            model=self.model, endpoint=call.url, messages=list(request.messages),
            params=canonical(params), completion=_storable(text), finish_reason=finish,
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None, seconds=call.seconds, attempt=request.attempt,
        )  # fmt: skip

    async def likelihood(self, request: Likelihood) -> Generation:
        """See `Engine.likelihood`. Context and target are tokenized apart, so the border between them is exact."""
        tokens = 0
        scores: list[dict[str, Any]] = []

        async def send(replica: Replica) -> None:
            nonlocal tokens, scores
            context = await self._tokenize(replica, request.context, special=True)
            targets = [await self._target_tokens(replica, " " + target.strip()) for target in request.targets]
            tokens = sum(len(context) + len(target) for target in targets)
            longest = max(len(context) + len(target) for target in targets) + 1
            if longest > (limit := await self.max_model_len()):
                raise Rejected("too_long", f"not sent: {longest} tokens, and the context is {limit}")
            create: Any = replica.client.completions.create
            for _ in range(_SCORE_TRIES):
                answer: Any = await sent(
                    replica.url, create, model=self.served_name, max_tokens=1, temperature=0.0,
                    prompt=[context + target for target in targets], extra_body={"prompt_logprobs": 0},
                )  # fmt: skip
                choices = sorted(answer.choices or (), key=lambda choice: choice.index)
                if len(choices) != len(targets):
                    raise Fault(replica.url, "broken", "it does not answer as an OpenAI-compatible server does")
                pairs = zip(choices, targets, strict=True)
                scores = [_target_logprob(choice.model_dump(), target) for choice, target in pairs]
                if all(score["logprob"] is not None for score in scores):
                    return
            if all(score["logprob"] is None for score in scores):
                raise Rejected("unscored", f"the server gave no log-probabilities, {_SCORE_TRIES} times")

        _, call = await self._answered(send)
        partly = any(score["logprob"] is None for score in scores)
        return Generation(
            generation_id=request.generation_id(self.model), subject_id=request.subject_id, role=request.role,
            model=self.model, endpoint=call.url,
            messages=[{"role": "context", "content": request.context}]
            + [{"role": "target", "content": target} for target in request.targets],
            params=canonical({"prompt_logprobs": 0, "max_tokens": 1}),
            completion=_storable(call.message or json.dumps(scores)),
            finish_reason=call.finish or ("partly_scored" if partly else "scored"), prompt_tokens=tokens,
            completion_tokens=0, seconds=call.seconds, attempt=0,
        )  # fmt: skip

    async def choice(self, request: Choice) -> Generation:
        """See `Engine.choice`. A server that cannot be constrained is read as it answers."""
        dialect = DIALECTS[self.able.choices if self.config.output_format == "json_schema" else "none"]
        params: dict[str, Any] = {"temperature": 0.0, "max_tokens": dialect.tokens}
        if request.logprobs:
            params |= {"logprobs": True, "top_logprobs": min(_TOP_LOGPROBS, self.able.top_logprobs)}
            params |= dialect.logprobs(request.choices)
        params, extra = shaped(params, self._changes), dialect.constrain(request.choices)
        answer, call = await self._chat(request.messages, dialect.tokens, params, extra)
        text = said(_full_text(answer)) if answer else call.message
        if answer and request.logprobs:
            text = json.dumps({"choice": text, "logprobs": _first_token(answer)})
        usage = answer.usage if answer else None
        params |= {"choice": list(request.choices)} | ({} if dialect.name == "choice" else extra)
        return Generation(
            generation_id=request.generation_id(self.model), subject_id=request.subject_id, role=request.role,
            model=self.model, endpoint=call.url, messages=list(request.messages),
            params=canonical(params), completion=_storable(text),
            finish_reason="chosen" if answer else call.finish, prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None, seconds=call.seconds, attempt=0,
        )  # fmt: skip

    async def _chat(
        self, messages: tuple[Message, ...], max_tokens: int, params: dict[str, Any],
        extra: dict[str, Any] | None = None,
    ) -> tuple[ChatCompletion | None, "_Call"]:  # fmt: skip
        """A chat completion, or why there is none."""

        async def send(replica: Replica) -> ChatCompletion:
            await self._require_room(messages, max_tokens)
            create: Any = replica.client.chat.completions.create
            answer = await sent(
                replica.url, create, model=self.served_name, messages=list(messages),
                extra_body=params | (extra or {}),
            )  # fmt: skip
            if not _is_chat(answer):
                raise Fault(replica.url, "broken", "it does not answer as an OpenAI-compatible server does")
            return cast(ChatCompletion, answer)

        return await self._answered(send)

    async def _answered(self, send: Callable[[Replica], Awaitable[T]]) -> tuple[T | None, "_Call"]:
        """What `send` gives, in its last try; without an answer, why there is none.

        A request that alone gets no answer, from a server that has answered others, is a failed row. One that none of
        the others fares better than is a failure of the stage.
        """
        used = self.replicas[0]
        began = time.monotonic()

        async def once() -> T:
            nonlocal used, began
            async with self._gate, _InFlight(self.replicas) as used:
                began = time.monotonic()
                try:
                    return await send(used)
                except Fault as fault:
                    used.away_until = time.monotonic() + _REST_SEC if fault.kind == "away" else 0.0
                    raise

        try:
            answer = await self.tries(once)
        except Rejected as rejected:
            finish, message = rejected.status, rejected.message
        except Fault as fault:
            if fault.kind in ("away", "busy") or not self._breaker.works:
                raise
            finish, message = "failed", f"no answer in {self._engine.max_retries + 1} tries: {fault.message}"
        else:
            self._breaker.note(True)
            return answer, _Call(used.url, round(time.monotonic() - began, 3))
        if finish != "too_long":  # which is the request's own fault
            self._breaker.note(False, message)
        return None, _Call(used.url, round(time.monotonic() - began, 3), finish, message)

    async def budget(self, messages: Sequence[Message], max_tokens: int) -> Budget:
        """Counted by the server only when a bound (a token is at least a byte) does not settle it."""
        limit = await self.max_model_len()
        bound = sum(len(message["content"].encode(errors="replace")) + _TEMPLATE_TOKENS for message in messages)
        if bound + max_tokens <= limit:
            return Budget(bound + max_tokens, limit)
        if self.able.tokenizer == "llama.cpp":
            if (count := await llama_cpp_count(self.replicas[0].http, messages)) is not None:
                return Budget(count + max_tokens, limit, exact=True)
        elif self._can_tokenize is not False:
            response = await self._post_tokenize(
                self.replicas[0], {"messages": list(messages), "add_generation_prompt": True}
            )
            if response is not None and isinstance(response.get("count"), int):
                return Budget(int(response["count"]) + max_tokens, limit, exact=True)
        return Budget(bound // 3 + max_tokens, limit)  # no tokenizer to be had: 3 bytes a token

    async def prompt_ids(self, messages: Sequence[Message]) -> list[int] | None:
        """The token ids that the server makes of a prompt; None where it does not say."""
        if self._can_tokenize is False:
            return None
        response = await self._post_tokenize(
            self.replicas[0], {"messages": list(messages), "add_generation_prompt": True}
        )
        found = response.get("tokens") if response else None
        return found if found and isinstance(found, list) and all(isinstance(one, int) for one in found) else None

    async def _require_room(self, messages: Sequence[Message], max_tokens: int) -> None:
        """Raise `Rejected` for a request that is known not to fit; an estimate is left to the server to judge."""
        budget = await self.budget(messages, max_tokens)
        if budget.exact and not budget.fits:
            message = f"not sent: {budget.tokens} tokens with max_tokens, and the context is {budget.limit}"
            raise Rejected("too_long", message)

    async def max_model_len(self) -> int:
        """The context in tokens: as configured, else as the server's model list says, else 8,192."""
        if self._max_model_len is None:
            first = self.replicas[0]
            listing: Any = first.client.models.list
            models: Any = await self.tries(lambda: sent(first.url, listing))
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

        async def send() -> dict[str, Any] | None:
            try:
                response = await replica.http.post("/tokenize", json={"model": self.served_name, **body})
            except httpx.HTTPError as error:  # also a kept connection that the server closed just now
                raise unreachable(replica.url, error) from None
            if response.status_code >= 500 and response.status_code != 501:
                raise Fault(replica.url, "broken", f"/tokenize fails: {response.status_code}")
            self._can_tokenize = response.status_code == 200
            return dict(response.json()) if self._can_tokenize else None

        return await self.tries(send)


@dataclass(frozen=True)
class _Call:
    """A call's address and time; where no answer came, its finish reason and why."""

    url: str
    seconds: float
    finish: str = ""
    message: str = ""


class _InFlight:
    """The replica with the fewest requests in flight of those that are there, counted while one more is on its way."""

    def __init__(self, replicas: list[Replica]) -> None:
        now = time.monotonic()
        self._replica = min(replicas, key=lambda replica: (replica.away_until > now, replica.in_flight))

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
    listed = word_logprobs(answer.choices[0].message.content or "", [token.model_dump() for token in content])
    # vLLM says -9999 of a token that the constraint rules out
    return [[token, nats] for token, nats in listed if nats > _RULED_OUT]


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
