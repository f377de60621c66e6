"""The servers of one model: requests go to the one with the fewest in flight, of those that are there and take us."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from schemas.errors import UserError
from tasks.engine.faults import Fault
from tasks.engine.wire import Wire

T = TypeVar("T")
_REST_SEC = 10.0  # for which a replica that failed is asked only if all are resting


class Replica:
    """One base URL of a model."""

    def __init__(self, base_url: str, api_key: str, own: bool = False) -> None:
        self.wire, self._key, self._own = Wire(base_url, api_key, own), api_key, own
        self.url = self.wire.url
        self.in_flight = 0
        self.rests_until = 0.0
        self.has_answered = self.left_out = False

    def move(self, url: str) -> None:
        """It is at another address from now on. What is in flight to the old one fails, and is asked again."""
        self._closing = asyncio.ensure_future(self.wire.close())
        self.wire, self.rests_until = Wire(url, self._key, self._own), 0.0
        self.url = self.wire.url

    async def close(self) -> None:
        """Close the connections."""
        await self.wire.close()


class Replicas:
    """All of them, and how one is chosen.

    Args:
        timeout_sec: the time for one request at one server, from its first byte sent to the last received.
        say: gets a line when one is left out.
    """

    def __init__(self, replicas: Sequence[Replica], timeout_sec: float, say: Callable[[str], None]) -> None:
        self._all, self._timeout_sec, self._say = list(replicas), timeout_sec, say

    async def send(self, send: Callable[[Replica], Awaitable[T]], works: bool = False) -> T:
        """What `send` gives at one of the servers.

        A server that is away costs nothing but the next one. One that refuses the key or the name, and has never
        answered, is left out for good, and that is said.

        Args:
            works: whether any of them has answered lately; then a refusal is one odd reply, not a mistake.

        Raises:
            Fault: it failed at the last one that could be asked.
            UserError: none of them will have us.
        """
        asked: set[str] = set()
        while True:
            replica = self._next(asked)
            asked.add(replica.url)
            replica.in_flight += 1
            try:
                async with asyncio.timeout(self._timeout_sec):
                    answer = await send(replica)
            except (Fault, TimeoutError) as error:
                fault = error if isinstance(error, Fault) else _late(replica)
                if not self._goes_on(replica, fault, asked, works):
                    raise fault from None
            else:
                replica.has_answered, replica.rests_until = True, 0.0
                return answer
            finally:
                replica.in_flight -= 1

    def _next(self, asked: set[str]) -> Replica:
        if len(self._all) == 1:
            return self._all[0]
        now = time.monotonic()
        able = [replica for replica in self._all if not replica.left_out] or self._all
        return min(able, key=lambda one: (one.url in asked, one.rests_until > now, one.in_flight))

    def _goes_on(self, replica: Replica, fault: Fault, asked: set[str], works: bool) -> bool:
        """Whether another server is to be asked at once."""
        replica.rests_until = time.monotonic() + _REST_SEC
        others = [one for one in self._all if one is not replica and not one.left_out]
        if fault.kind == "unfit" and not replica.has_answered:
            if not others and not works:
                raise UserError(str(fault)) from None
            if others and not replica.left_out:
                replica.left_out = True
                self._say(f"left out: {fault}")
        return fault.kind in ("away", "unfit") and any(one.url not in asked for one in others)


def _late(replica: Replica) -> Fault:
    return Fault(replica.url, "slow", "no answer in time (engine.timeout_sec)")
