"""A call to a model until it is answered, or known to stay without an answer: the bound, tries, replicas, breaker."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

from schemas.config import EngineConfig
from tasks.engine.faults import Fault, Rejected, refusal
from tasks.engine.replicas import Replica, Replicas
from tasks.engine.replies import NotAReply, count_of
from tasks.engine.tries import Breaker, Patience, Tries, Watched
from tasks.engine.wire import ODD

T = TypeVar("T")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Call:
    """A call's address and time; where no answer came, its finish reason and why."""

    url: str
    seconds: float
    finish: str = ""
    message: str = ""


class Calls:
    """The calls to one model.

    Args:
        gate: bounds how many are in flight at once, over all models.
        name: what the model is called at its servers.
    """

    def __init__(
        self, model: str, name: str, replicas: list[Replica], engine: EngineConfig,
        gate: AbstractAsyncContextManager[Any], server: Watched | None, say: Say,
    ) -> None:  # fmt: skip
        self._gate, self._first = gate, replicas[0]
        self._choose = Replicas(replicas, engine.timeout_sec, say)
        self.tries = Tries(engine, server, Patience(name, say))
        self._breaker = Breaker(model, engine.max_failed_share)

    async def answered(self, send: Callable[[Replica], Awaitable[T]]) -> tuple[T | None, Call]:
        """What `send` gives, in its last try; without an answer, why there is none.

        A request that alone gets no answer, from a server that has answered others, is a failed row. One that none of
        the others fares better than is a failure of the stage.
        """
        used, began = self._first.url, time.monotonic()

        async def at(replica: Replica) -> T:
            nonlocal used, began
            used, began = replica.url, time.monotonic()  # it may move while it answers
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
            return answer, Call(used, round(time.monotonic() - began, 3))
        if finish not in ("too_long", "filtered"):  # which are the request's own fault
            self._breaker.note(False, message)
        return None, Call(used, round(time.monotonic() - began, 3), finish, message)

    async def counted(self, count: Callable[[Replica], Awaitable[int | None]]) -> int | None:
        """What a server counts; None where it does not say.

        Raises:
            Fault: none of them is there.
        """
        try:
            return await self.tries(lambda: self._choose.send(count))
        except Fault as fault:
            if fault.kind == "away":
                raise
            return None

    async def context(self, replicas: list[Replica], name: str, limit_sec: float) -> int | None:
        """The least context, in tokens, that the servers' lists of models tell of; None where none does.

        Raises:
            Fault: none of them is there.
        """

        async def ask() -> list[int | None]:
            asked = (_listed_length(replica, name, limit_sec) for replica in replicas)
            found = await asyncio.gather(*asked, return_exceptions=True)
            lengths = [length for length in found if not isinstance(length, BaseException)]
            if not lengths:
                raise next(error for error in found if isinstance(error, BaseException))
            return lengths

        return min(filter(None, await self.tries(ask)), default=None)


async def _listed_length(replica: Replica, name: str, limit_sec: float) -> int | None:
    try:
        async with asyncio.timeout(limit_sec):
            cards = (await replica.wire.get(f"{replica.url}/models")).json()["data"]
        sizes = [card.get("max_model_len") for card in cards if card.get("id") == name]
    except TimeoutError:
        raise Fault(replica.url, "slow", "no list of models in time") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # a server may have no such list
    return count_of(sizes[0]) if sizes else None


def read_by(read: Callable[[Any], T], url: str, body: Any) -> T:
    """Read an answer.

    Raises:
        Fault: it is none. Where it is an error that came with status 200, what that means.
    """
    try:
        return read(body)
    except NotAReply as no:
        error = body.get("error") if isinstance(body, dict) else None
        if error:
            code = count_of(error.get("code")) if isinstance(error, dict) else None
            raise refusal(url, code if code and 400 <= code < 600 else 502, body) from None
        raise Fault(url, "broken", f"{ODD}: {no}") from None
