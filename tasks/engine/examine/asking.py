"""Tiny requests to one server, and what they may come to: refused, failed, late, or nobody there."""

import asyncio
import math
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar, cast

from schemas.errors import PopError
from tasks.engine.client import UNKNOWN_CONTEXT, Client
from tasks.engine.dialects import Dialect, among, word_logprobs
from tasks.engine.faults import Fault, Rejected
from tasks.engine.parameters import params_of, shaped
from tasks.engine.replicas import Replica
from tasks.engine.wire import ODD

T = TypeVar("T")
Body = dict[str, Any]

_LIMIT_SEC = 120.0  # for one tiny request
DIGITS = ("3", "7")
PROMPT, NATURAL = "Say hello.", "Say one digit, 3 or 7."
MARKS = tuple(
    f"Mark an answer to a question.\n\nQuestion: {question}\n\nAnswer: {answer}\n\n"
    "Is it right? 7: yes. 3: no. Reply with the digit alone."
    for question, answer in (("What is the capital of France?", "Paris."), ("How many days has a week?", "Twelve."))
)


class Asking:
    """Asks one server about one model.

    Attributes:
        name: what the model is called there.
        standard: the parameters that requests of its roles carry, without those that were found to be refused.
        requests: that were made so far.
        assumed: the context in tokens that is counted on where the server does not tell it.
    """

    def __init__(self, client: Client, replica: Replica, standard: Mapping[str, Any]) -> None:
        self._client, self._replica = client, replica
        self.name, self.url = client.served_name, replica.url
        self.changes, self.standard = params_of(client.config), dict(standard)
        self.requests = 0
        self.assumed = client.config.max_model_len or UNKNOWN_CONTEXT

    async def patiently(self, body: Body) -> Body:
        """Tried again after a fault; but where there are other replicas, one that is away is not waited for."""
        alone = len(self._client.replicas) == 1
        return await (self._client.tries(lambda: self.chat(body)) if alone else self.chat(body))

    async def optional(self, body: Body, constraint: Body | None = None, prompt: str = PROMPT) -> Body | None:
        """The answer to a request that a server may refuse or fail at; None where it does, twice if it fails."""
        for _ in range(2):
            try:
                return await self.chat(body, constraint, prompt)
            except Fault as fault:
                require_there(fault)
            except (Rejected, PopError):
                break
        return None

    async def chat(self, body: Body, constraint: Body | None = None, prompt: str = PROMPT) -> Body:
        """A chat completion.

        Raises:
            Rejected, UserError, Fault: as `Wire.ask`.
        """
        asked = {"model": self.name, "messages": [{"role": "user", "content": prompt}]}
        asked |= shaped(body, self.changes) | (constraint or {})
        whole = await self._once(self._replica.wire.ask("chat/completions", asked))
        if not isinstance(whole, dict) or not isinstance(whole.get("choices"), list) or not whole["choices"]:
            raise Fault(self.url, "broken", ODD)
        return whole

    async def completion(self, prompt: list[int], extra: Body) -> Any:
        """A completion of token ids, of one token."""
        body = {"model": self.name, "prompt": prompt, "max_tokens": 1, "temperature": 0.0} | extra
        return await self._once(self._replica.wire.ask("completions", body))

    async def get(self, url: str) -> Any:
        """What a GET gives, as JSON; None where it gives nothing. A path is taken from beside /v1."""
        try:
            response = await self._once(self._replica.wire.get(url))
            return response.json() if response.status == 200 else None
        except (Fault, ValueError):
            return None

    async def post(self, path: str, body: Body) -> Any:
        """What a POST beside /v1 gives, as JSON.

        Raises:
            Fault, ValueError: nothing of the kind.
        """
        return (await self._once(self._replica.wire.post(path, body))).json()

    async def _once(self, asking: Awaitable[T]) -> T:
        self.requests += 1
        try:
            async with asyncio.timeout(_LIMIT_SEC):
                return await asking
        except TimeoutError:
            raise Fault(self.url, "slow", f"no answer to a tiny request in {_LIMIT_SEC:.0f} s") from None


def require_there(error: Exception) -> None:
    """A server that is gone has not said that it cannot."""
    if isinstance(error, Fault) and error.kind == "away":
        raise error


def content_of(answer: Body | None) -> list[Body] | None:
    """The tokens' log-probabilities of an answer, where it has some in the form that it should."""
    try:
        content = cast(Body, answer)["choices"][0]["logprobs"]["content"]
    except (KeyError, TypeError, IndexError):
        return None
    return content if isinstance(content, list) and all(isinstance(one, dict) for one in content) else None


def text_of(answer: Body) -> str:
    """What the model said; empty where it said nothing."""
    try:
        content = answer["choices"][0]["message"]["content"]
    except (KeyError, TypeError, IndexError):
        return ""
    return content if isinstance(content, str) else ""


def tells(answer: Body, dialect: Dialect) -> bool:
    """Whether an answer lists the log-probability of a digit where the digit stands."""
    return any(str(word).strip() in DIGITS for word, _ in _listed(answer, dialect))


def held_by_digits(answer: Body, dialect: Dialect) -> float:
    """Their share of the probability that is listed where the digit stands."""
    shares = [(str(word).strip() in DIGITS, math.exp(min(0.0, nats))) for word, nats in _listed(answer, dialect)]
    whole = sum(share for _, share in shares)
    return sum(share for digit, share in shares if digit) / whole if whole else 0.0


def _listed(answer: Body, dialect: Dialect) -> list[tuple[Any, float]]:
    told = word_logprobs(text_of(answer), content_of(answer) or [])
    told = among(DIGITS, told) if dialect.picked else told
    return [(word, nats) for word, nats in told if isinstance(nats, int | float)]
