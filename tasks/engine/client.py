"""The OpenAI-compatible client: replicas, a bound on requests in flight, token budgets, log-probabilities."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from schemas.config import EngineConfig, ModelConfig
from schemas.errors import UserError
from schemas.ids import canonical
from tasks.engine.capabilities import VLLM, Capabilities
from tasks.engine.counting import llama_cpp_count
from tasks.engine.dialects import DIALECTS, said
from tasks.engine.faults import Fault, Rejected, body_of, refusal, sent, unreachable
from tasks.engine.parameters import params_of, shaped
from tasks.engine.protocol import Budget, Choice, Generation, Likelihood, Message, Request
from tasks.engine.replicas import Replica, Replicas
from tasks.engine.replies import NotAReply, Reply, choices_of, count_of, read_chat
from tasks.engine.scores import first_token, target_logprob
from tasks.engine.tries import Breaker, Patience, Tries, Watched
from tasks.texts.secrets import keep_secret, struck_known

T = TypeVar("T")

_TOP_LOGPROBS = 20  # the most that servers give
_SCORE_TRIES = 3  # for log-probabilities that are missing or no numbers
_LISTING_SEC = 30.0  # for the list of models
_UNKNOWN_CONTEXT = 8192  # tokens, where no server says
_TEMPLATE_TOKENS = 64  # what a chat template adds at most, for the bound that needs no counting


class Client:
    """A named model behind one or several servers. `model` is its identity (weights or name), not its address."""

    def __init__(
        self, model: str, config: ModelConfig, engine: EngineConfig, urls: Sequence[str], gate: asyncio.Semaphore,
        server: Watched | None = None, say: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self.model, self.config, self.served_name = model, config, config.served_name or "policy"
        self._gate, self._engine, self.server = gate, engine, server
        self.replicas = [Replica(url, _api_key(config), engine) for url in urls]
        self._choose = Replicas(self.replicas, engine.timeout_sec, say)
        # engine.max_model_len is that of the servers started here; another's context is its own
        self._max_model_len = config.max_model_len or (None if config.base_urls else engine.max_model_len)
        self.able, self._changes = VLLM, params_of(config)
        self._can_tokenize: bool | None = None
        self._tokens: dict[str, list[int]] = {}
        self.tries = Tries(engine, server, Patience(self.served_name, say))
        self._breaker = Breaker(model, engine.max_failed_share)

    @property
    def urls(self) -> tuple[str, ...]:
        """The servers' addresses, for a program of its own that talks to them."""
        return tuple(replica.url for replica in self.replicas)

    @property
    def scores_prompts(self) -> bool:
        """See `Engine.scores_prompts`."""
        return self.able.prompt_logprobs and self.able.tokenizer == "vllm" and self._can_tokenize is not False

    def found(self, able: Capabilities) -> None:
        """Ask from now on as the servers were found to understand it."""
        self.able = able
        self._max_model_len = min(filter(None, (self._max_model_len, able.context)), default=None)
        self._can_tokenize = None if able.tokenizer == "vllm" else False

    async def close(self) -> None:
        """Close the connections."""
        for replica in self.replicas:
            await replica.close()

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
        return Generation(
            generation_id=request.generation_id(self.model), subject_id=request.subject_id, role=request.role,
            model=self.model, endpoint=call.url, messages=list(request.messages), params=canonical(params),
            completion=_storable(answer.text if answer else call.message),
            finish_reason=answer.finish if answer else call.finish,
            prompt_tokens=answer.prompt_tokens if answer else None,
            completion_tokens=answer.completion_tokens if answer else None, seconds=call.seconds,
            attempt=request.attempt, stop_reason=answer.stop_reason if answer else None,
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
                choices = self._read(replica, answer, choices_of)
                if len(choices) != len(targets):
                    raise Fault(replica.url, "broken", f"it gave {len(choices)} choices for {len(targets)} prompts")
                found = [target_logprob(choice, target) for choice, target in zip(choices, targets, strict=True)]
                values = zip(targets, found, strict=True)
                scores = [{"tokens": len(target), "logprob": nats} for target, (nats, _) in values]
                if all(nats is not None for nats, _ in found):
                    return
            if all(nats is None for nats, _ in found):
                raise Rejected("unscored", f"{found[0][1]}, {_SCORE_TRIES} times")

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
        text = said(answer.text) if answer else call.message
        if answer and request.logprobs:
            text = json.dumps({"choice": text, "logprobs": first_token(answer.content, answer.tokens)})
        params |= {"choice": list(request.choices)} | ({} if dialect.name == "choice" else extra)
        return Generation(
            generation_id=request.generation_id(self.model), subject_id=request.subject_id, role=request.role,
            model=self.model, endpoint=call.url, messages=list(request.messages),
            params=canonical(params), completion=_storable(text),
            # a word that was cut is none of those offered; of one that ended otherwise nothing is known
            finish_reason="chosen" if answer and answer.ended else answer.finish if answer else call.finish,
            prompt_tokens=answer.prompt_tokens if answer else None,
            completion_tokens=answer.completion_tokens if answer else None, seconds=call.seconds, attempt=0,
        )  # fmt: skip

    async def _chat(
        self, messages: tuple[Message, ...], max_tokens: int, params: dict[str, Any],
        extra: dict[str, Any] | None = None,
    ) -> tuple[Reply | None, "_Call"]:  # fmt: skip
        """A chat completion, or why there is none."""

        async def send(replica: Replica) -> Reply:
            await self._require_room(replica, messages, max_tokens)
            create: Any = replica.client.chat.completions.create
            answer = await sent(
                replica.url, create, model=self.served_name, messages=list(messages),
                extra_body=params | (extra or {}),
            )  # fmt: skip
            return self._read(replica, answer, read_chat)

        return await self._answered(send)

    async def _answered(self, send: Callable[[Replica], Awaitable[T]]) -> tuple[T | None, "_Call"]:
        """What `send` gives, in its last try; without an answer, why there is none.

        A request that alone gets no answer, from a server that has answered others, is a failed row. One that none of
        the others fares better than is a failure of the stage.
        """
        used, began = self.replicas[0], time.monotonic()

        async def at(replica: Replica) -> T:
            nonlocal used, began
            used, began = replica, time.monotonic()
            return await send(replica)

        async def once() -> T:
            async with self._gate:
                return await self._choose.send(at, self._breaker.works)

        try:
            answer = await self.tries(once)
        except Rejected as rejected:
            finish, message = rejected.status, rejected.message
        except Fault as fault:
            if fault.kind in ("away", "busy") or not self._breaker.works:
                raise
            finish, message = "failed", f"no answer in all tries: {fault.message}"
        else:
            self._breaker.note(True)
            return answer, _Call(used.url, round(time.monotonic() - began, 3))
        if finish not in ("too_long", "filtered"):  # which are the request's own fault
            self._breaker.note(False, message)
        return None, _Call(used.url, round(time.monotonic() - began, 3), finish, message)

    async def budget(self, messages: Sequence[Message], max_tokens: int) -> Budget:
        """Counted by the server only when a bound (a token is at least a byte) does not settle it."""
        limit = await self.max_model_len()
        bound = sum(len(message["content"].encode(errors="replace")) + _TEMPLATE_TOKENS for message in messages)
        if bound + max_tokens <= limit:
            return Budget(bound + max_tokens, limit)
        if self._counts:
            try:
                count = await self.tries(lambda: self._choose.send(lambda replica: self._count(replica, messages)))
            except Fault as fault:
                if fault.kind == "away":
                    raise
                count = None
            if count is not None:
                return Budget(count + max_tokens, limit, exact=True)
        return Budget(bound // 3 + max_tokens, limit)  # no tokenizer to be had: 3 bytes a token

    @property
    def _counts(self) -> bool:
        """Whether the servers may count tokens."""
        return self.able.tokenizer == "llama.cpp" or self._can_tokenize is not False

    async def prompt_ids(self, messages: Sequence[Message]) -> list[int] | None:
        """The token ids that the server makes of a prompt; None where it does not say."""
        if self._can_tokenize is False:
            return None
        response = await self._post_tokenize(
            self.replicas[0], {"messages": list(messages), "add_generation_prompt": True}
        )
        found = response.get("tokens") if response else None
        return found if found and isinstance(found, list) and all(isinstance(one, int) for one in found) else None

    async def _require_room(self, replica: Replica, messages: Sequence[Message], max_tokens: int) -> None:
        """Raise `Rejected` for a request that is known not to fit; an estimate is left to the server to judge."""
        limit = await self.max_model_len()
        bound = sum(len(message["content"].encode(errors="replace")) + _TEMPLATE_TOKENS for message in messages)
        if bound + max_tokens <= limit or not self._counts:
            return
        try:
            count = await self._count(replica, messages)
        except Fault as fault:
            if fault.kind == "away":
                raise
            return
        if count is not None and count + max_tokens > limit:
            message = f"not sent: {count + max_tokens} tokens with max_tokens, and the context is {limit}"
            raise Rejected("too_long", message)

    async def max_model_len(self) -> int:
        """The context in tokens: as configured, else the least that the servers' lists of models say, else 8,192."""
        if self._max_model_len is None:
            found = await self.tries(self._listed_lengths)
            self._max_model_len = min((length for length in found if length), default=_UNKNOWN_CONTEXT)
        return self._max_model_len

    async def _listed_lengths(self) -> list[int | None]:
        """Of every server that is there; one that lists nothing of the kind has None.

        Raises:
            Fault: none of them is there.
        """
        found = await asyncio.gather(*map(self._listed_length, self.replicas), return_exceptions=True)
        lengths = [length for length in found if not isinstance(length, BaseException)]
        if not lengths:
            raise next(error for error in found if isinstance(error, BaseException))
        return lengths

    async def _listed_length(self, replica: Replica) -> int | None:
        try:
            async with asyncio.timeout(min(_LISTING_SEC, self._engine.timeout_sec)):
                response = await replica.http.get(f"{replica.url}/models")
                cards = response.json()["data"]
            sizes = [card.get("max_model_len") for card in cards if card.get("id") == self.served_name]
        except httpx.HTTPError as error:
            raise unreachable(replica.url, error) from None
        except TimeoutError:
            raise Fault(replica.url, "slow", "no list of models in time") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None  # a server may have no such list
        return count_of(sizes[0]) if sizes else None

    async def _target_tokens(self, replica: Replica, text: str) -> list[int]:
        """Remembered: a rubric's facts come with every answer."""
        if text not in self._tokens:
            if len(self._tokens) > 20_000:
                self._tokens.clear()
            self._tokens[text] = await self._tokenize(replica, text)
        return self._tokens[text]

    async def _tokenize(self, replica: Replica, text: str, special: bool = False) -> list[int]:
        response = await self._post_tokenize(replica, {"prompt": text, "add_special_tokens": special})
        tokens = response.get("tokens") if response is not None else None
        if isinstance(tokens, list) and tokens and all(type(token) is int and token >= 0 for token in tokens):
            self._can_tokenize = True
            return tokens
        if self._can_tokenize:  # it could before: one odd reply
            raise Fault(replica.url, "broken", "/tokenize answers without tokens")
        raise UserError(
            f"{replica.url} has no /tokenize that gives token ids, which rating.mode='likelihood' needs (vLLM has it); "
            "set rating.mode=pointwise or another judge"
        )

    async def _count(self, replica: Replica, messages: Sequence[Message]) -> int | None:
        """Tokens of a conversation, by the server; None where it does not say."""
        if self.able.tokenizer == "llama.cpp":
            return await llama_cpp_count(replica.http, messages)
        response = await self._post_tokenize(replica, {"messages": list(messages), "add_generation_prompt": True})
        if response is None:
            return None
        tokens = response.get("tokens")
        return count_of(response.get("count")) or (len(tokens) if isinstance(tokens, list) and tokens else None)

    async def _post_tokenize(self, replica: Replica, body: dict[str, Any]) -> dict[str, Any] | None:
        """What /tokenize says; None where the server has none, or it is not an object.

        Raises:
            Fault: it may say something when it is asked again.
        """
        try:
            response = await replica.http.post("/tokenize", json={"model": self.served_name, **body})
        except httpx.HTTPError as error:  # also a kept connection that the server closed just now
            raise unreachable(replica.url, error) from None
        status = response.status_code
        if status != 200:
            why = refusal(replica.url, status, body_of(response), response.headers, "/tokenize")
            if isinstance(why, Fault) and why.kind != "unfit" and status != 501:
                raise why
            self._can_tokenize = self._can_tokenize or False
            return None
        try:
            told = response.json()
        except ValueError:
            return None
        return told if isinstance(told, dict) else None

    def _read(self, replica: Replica, answer: Any, read: Callable[[Any], T]) -> T:
        """Read an answer.

        Raises:
            Fault: it is none. Where it is an error that came with status 200, what that means.
        """
        body = answer.model_dump(warnings=False) if hasattr(answer, "model_dump") else answer
        try:
            return read(body)
        except NotAReply as no:
            error = body.get("error") if isinstance(body, dict) else None
            if error:
                code = count_of(error.get("code")) if isinstance(error, dict) else None
                raise refusal(replica.url, code if code and 400 <= code < 600 else 502, body) from None
            raise Fault(
                replica.url, "broken", f"it does not answer as an OpenAI-compatible server does: {no}"
            ) from None


@dataclass(frozen=True)
class _Call:
    """A call's address and time; where no answer came, its finish reason and why."""

    url: str
    seconds: float
    finish: str = ""
    message: str = ""


def _api_key(config: ModelConfig) -> str:
    if config.api_key_env is None:
        return "none"
    key = os.environ.get(config.api_key_env)
    if not key:
        raise UserError(f"the environment variable {config.api_key_env} (api_key_env of a model) is not set")
    keep_secret(key)
    return key


def _storable(text: str) -> str:
    """Without half surrogate pairs, which JSON can carry and no table can hold, and without a key that is repeated."""
    return struck_known(text.encode(errors="replace").decode())
