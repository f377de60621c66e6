"""The OpenAI-compatible client: replicas, a bound on requests in flight, token budgets, log-probabilities."""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from schemas.config import EngineConfig
from schemas.errors import UserError
from schemas.ids import canonical
from schemas.roles import ModelConfig
from tasks.engine.calls import Call, Calls, read_by
from tasks.engine.capabilities import VLLM, Capabilities
from tasks.engine.counting import Tokens
from tasks.engine.dialects import DIALECTS, among, said
from tasks.engine.faults import Fault, Rejected
from tasks.engine.parameters import params_of, shaped
from tasks.engine.protocol import Budget, Choice, Generation, Likelihood, Message, Request
from tasks.engine.replicas import Replica
from tasks.engine.replies import Reply, choices_of, read_chat
from tasks.engine.scores import first_token, mean_logprob, target_logprob
from tasks.engine.tokenizer import LocalTokenizer
from tasks.engine.tries import Watched
from tasks.texts.secrets import keep_secret, struck_known

_TOP_LOGPROBS = 20  # the most that servers give
_SCORE_TRIES = 3  # for log-probabilities that are missing or no numbers
_LISTING_SEC = 30.0  # for the list of models
UNKNOWN_CONTEXT = 8192  # tokens, where no server says
_TEMPLATE_TOKENS = 64  # what a chat template adds at most, for the bound that needs no counting


class Client:
    """A named model behind one or several servers. `model` is its identity (weights or name), not its address."""

    def __init__(
        self, model: str, config: ModelConfig, engine: EngineConfig, urls: Sequence[str],
        gate: AbstractAsyncContextManager[Any], server: Watched | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self.model, self.config, self.served_name = model, config, config.served_name or "policy"
        self._engine, self.server = engine, server
        self.replicas = [Replica(url, _api_key(config), own=server is not None) for url in urls]
        # engine.max_model_len is that of the servers started here; another's context is its own
        self._max_model_len = config.max_model_len or (None if config.base_urls else engine.max_model_len)
        self.able, self._changes = VLLM, params_of(config)
        self.tokens = Tokens(self.served_name)
        self._calls = Calls(model, self.served_name, self.replicas, engine, gate, server, say)
        self.tries = self._calls.tries

    @property
    def urls(self) -> tuple[str, ...]:
        """The servers' addresses, for a program of its own that talks to them."""
        return tuple(replica.url for replica in self.replicas)

    def move(self, number: int, url: str) -> None:
        """A server of ours is at another address from now on."""
        self.replicas[number].move(url)

    @property
    def scores_prompts(self) -> bool:
        """See `Engine.scores_prompts`."""
        return self.able.prompt_logprobs and self.tokens.form == "vllm"

    def found(self, able: Capabilities) -> None:
        """Ask from now on as the servers were found to understand it."""
        self.able = able
        self._max_model_len = min(filter(None, (self._max_model_len, able.context)), default=None)
        self.tokens.form = able.tokenizer

    async def count_by(self, tokenizer: LocalTokenizer | None) -> bool:
        """Count tokens by the model's own tokenizer, where it agrees with all servers; whether it does."""
        there = [replica for replica in self.replicas if not replica.left_out]
        if tokenizer is None or not all([await self.tokens.agrees(tokenizer, replica) for replica in there]):
            return False
        self.tokens.local = tokenizer
        return True

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
        if request.logprobs and self.able.top_logprobs:  # some servers tell none without alternatives beside them
            params |= {"logprobs": True, "top_logprobs": 1}
        beyond = self.able.beyond(request.sampling.beyond_openai(), request.sampling.temperature)
        params = shaped(params | beyond, self._changes)
        answer, call = await self._chat(request.messages, request.sampling.max_tokens, params)
        return Generation(
            generation_id=request.generation_id(self.model), subject_id=request.subject_id, role=request.role,
            model=self.model, endpoint=call.url, messages=list(request.messages), params=canonical(params),
            completion=_storable(answer.text if answer else call.message),
            finish_reason=answer.finish if answer else call.finish,
            prompt_tokens=answer.prompt_tokens if answer else None,
            completion_tokens=answer.completion_tokens if answer else None, seconds=call.seconds,
            attempt=request.attempt,
            mean_logprob=mean_logprob(answer.tokens) if answer and request.logprobs else None,
            stop_reason=answer.stop_reason if answer else None,
        )  # fmt: skip

    async def likelihood(self, request: Likelihood) -> Generation:
        """See `Engine.likelihood`. Context and target are tokenized apart, so the border between them is exact."""
        tokens = 0
        scores: list[dict[str, Any]] = []
        prompts: list[list[int]] = []

        async def send(replica: Replica) -> None:
            nonlocal tokens, scores, prompts
            targets = [await self.tokens.ids(replica, " " + one.strip()) for one in request.targets]
            if not prompts:  # else it is another try
                context = await self.tokens.ids(replica, request.context, special=True)
                prompts = [context + target for target in targets]
                tokens = sum(map(len, prompts))
            longest = max(map(len, prompts)) + 1
            if longest > (limit := await self.max_model_len()):
                raise Rejected("too_long", f"not sent: {longest} tokens, and the context is {limit}")
            body = {
                "model": self.served_name, "max_tokens": 1, "temperature": 0.0, "prompt": prompts,
                "prompt_logprobs": 0,
            }  # fmt: skip
            for _ in range(_SCORE_TRIES):
                choices = read_by(choices_of, replica.url, await replica.wire.ask("completions", body))
                if len(choices) != len(targets):
                    raise Fault(replica.url, "broken", f"it gave {len(choices)} choices for {len(targets)} prompts")
                found = [target_logprob(choice, target) for choice, target in zip(choices, targets, strict=True)]
                values = zip(targets, found, strict=True)
                scores = [{"tokens": len(target), "logprob": nats} for target, (nats, _) in values]
                if all(nats is not None for nats, _ in found):
                    return
            if all(nats is None for nats, _ in found):
                raise Rejected("unscored", f"{found[0][1]}, {_SCORE_TRIES} times")

        _, call = await self._calls.answered(send)
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
        params: dict[str, Any] = {"temperature": 0.0, "max_tokens": dialect.tokens} | self.able.beyond({}, 0.0)
        if request.logprobs:
            params |= {"logprobs": True, "top_logprobs": min(_TOP_LOGPROBS, self.able.top_logprobs)}
            params |= dialect.logprobs(request.choices)
        params, extra = shaped(params, self._changes), dialect.constrain(request.choices)
        answer, call = await self._chat(request.messages, dialect.tokens, params, extra)
        text = said(answer.text) if answer else call.message
        if answer and request.logprobs:
            listed = first_token(answer.content, answer.tokens)
            listed = among(request.choices, listed) if dialect.picked else listed
            text = json.dumps({"choice": text, "logprobs": listed})
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
    ) -> tuple[Reply | None, Call]:  # fmt: skip
        """A chat completion, or why there is none."""
        body = {"model": self.served_name, "messages": messages, **params, **(extra or {})}

        async def send(replica: Replica) -> Reply:
            await self._require_room(replica, messages, max_tokens)
            return read_by(read_chat, replica.url, await replica.wire.ask("chat/completions", body))

        return await self._calls.answered(send)

    async def budget(self, messages: Sequence[Message], max_tokens: int) -> Budget:
        """Counted only when a bound (a token is at least a byte) does not settle it."""
        limit = await self.max_model_len()
        if (bound := _bound(messages)) + max_tokens <= limit:
            return Budget(bound + max_tokens, limit)
        if self.tokens.can_count:
            count = await self._calls.counted(lambda replica: self.tokens.count(replica, messages))
            if count is not None:
                return Budget(count + max_tokens, limit, exact=True)
        return Budget(bound // 3 + max_tokens, limit)  # no tokenizer to be had: 3 bytes a token

    async def prompt_ids(self, messages: Sequence[Message]) -> list[int] | None:
        """The token ids that the server makes of a prompt; None where it does not say."""
        there = next((one for one in self.replicas if not one.left_out), self.replicas[0])
        return await self.tokens.prompt_ids(there, messages)

    async def _require_room(self, replica: Replica, messages: Sequence[Message], max_tokens: int) -> None:
        """Raise `Rejected` for a request that is known not to fit; an estimate is left to the server to judge."""
        limit = await self.max_model_len()
        if _bound(messages) + max_tokens <= limit or not self.tokens.can_count:
            return
        try:
            count = await self.tokens.count(replica, messages)
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
            seconds = min(_LISTING_SEC, self._engine.timeout_sec)
            found = await self._calls.context(self.replicas, self.served_name, seconds)
            self._max_model_len = found or UNKNOWN_CONTEXT
        return self._max_model_len


def _bound(messages: Sequence[Message]) -> int:
    """Tokens of a conversation at most."""
    return sum(len(message["content"].encode(errors="replace")) + _TEMPLATE_TOKENS for message in messages)


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
