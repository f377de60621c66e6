"""The bound on requests in flight, over all models: the oldest shard's go first, and what was asked together stays so.

An order matters: were all shards served alike, all would be finished at the end, and all their rows held until then.
"""

import asyncio
import heapq
from contextvars import ContextVar
from itertools import count
from types import TracebackType

# who goes first: the least; its last number is the shard's place in its round. Every task that works for it inherits it
PLACE: ContextVar[tuple[int, ...]] = ContextVar("place", default=(0,))


class Gate:
    """Lets `limit` in at once, of `most` at most; who waits comes in by its `PLACE`, then as it came.

    Attributes:
        limit: how many at present; follows the servers (`tasks.engine.load`).
        in_flight: how many are in.
        seen: shards, by their place in the round, of which a request has come already.
    """

    def __init__(self, most: int) -> None:
        self.most = self.limit = most
        self.in_flight = 0
        self.seen: set[int] = set()
        self._waiting: list[tuple[tuple[int, ...], int, asyncio.Future[None]]] = []
        self._number = count()

    @property
    def room(self) -> int:
        """How many more could be in; negative where some wait."""
        return self.limit - self.in_flight - len(self._waiting)

    async def __aenter__(self) -> None:
        place = PLACE.get()
        self.seen.add(place[-1])
        if self.in_flight < self.limit and not self._waiting:
            self.in_flight += 1
            return
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (place, next(self._number), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was let in, and is not coming
                self._leave()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def set_limit(self, limit: int) -> None:
        """Let in more or fewer from now on; nobody is sent away."""
        self.limit = max(1, min(limit, self.most))
        self._admit()

    def _leave(self) -> None:
        self.in_flight -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and (self.in_flight < self.limit or self._waiting[0][2].done()):
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)
