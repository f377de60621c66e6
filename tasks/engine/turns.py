"""Slices of work on the event loop: a thousand tasks that are ready at once must not hold up everything else.

A step of a call (rendering a prompt, hashing an id, reading an answer) takes some tenths of a millisecond. Each asks
for a turn before it, and a turn of the loop has only so many.
"""

import asyncio
import inspect
from collections import deque
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")
STEPS = 16  # in one turn of the loop: some 5 to 10 ms


class _Turns:
    """Of one event loop."""

    def __init__(self) -> None:
        self._left, self._counting = STEPS, False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def one(self) -> None:
        if not self._counting:
            self._counting = True
            asyncio.get_running_loop().call_soon(self._next)
        if self._left and not self._waiting:
            self._left -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    def _next(self) -> None:
        self._left = STEPS
        while self._waiting and self._left:
            if not (turn := self._waiting.popleft()).done():
                self._left -= 1
                turn.set_result(None)
        self._counting = self._left < STEPS
        if self._counting:
            asyncio.get_running_loop().call_soon(self._next)


_OF_LOOP: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = WeakKeyDictionary()


async def turn() -> None:
    """Wait until this turn of the loop has a step left."""
    loop = asyncio.get_running_loop()
    if (turns := _OF_LOOP.get(loop)) is None:
        turns = _OF_LOOP[loop] = _Turns()
    await turns.one()


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What all of them give, in their order; they are begun a few at a time."""
    all_of_them = list(works)

    async def after_a_turn(work: Coroutine[Any, Any, T]) -> T:
        await turn()
        return await work

    try:
        return list(await asyncio.gather(*map(after_a_turn, all_of_them)))
    except asyncio.CancelledError:
        for work in all_of_them:
            if inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
                work.close()  # it had no turn yet, and will have none
        raise
