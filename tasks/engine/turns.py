"""Slices of work on the event loop: a thousand tasks that are ready at once must not hold up everything else.

A step of a call (rendering a prompt, hashing an id, reading an answer) takes some tenths of a millisecond, that of a
whole case some milliseconds. Each asks for a turn before it, and one pass of the loop has only so much time for them.
"""

import asyncio
import inspect
import time
from collections import deque
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")
SLICE_SEC = 0.008  # of one pass; a step that has begun is not cut
AT_ONCE = 16  # tasks that are made, or woken, in one pass


class _Turns:
    """Of one event loop."""

    def __init__(self) -> None:
        self._end: float | None = None  # of the slice, which begins with its first step
        self._looking = self._woken = False  # woken: some that waited come next, before anybody new
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._late: deque[asyncio.Future[None]] = deque()  # woken when no time was left: before all others next time

    async def one(self) -> None:
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._next)
        if not (self._woken or self._waiting or self._late) and self._time_left():
            return
        queue = self._waiting
        while True:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            queue.append(turn)
            await turn
            if self._time_left():
                return
            queue = self._late

    def _time_left(self) -> bool:
        now = time.perf_counter()
        if self._end is None:
            self._end = now + SLICE_SEC
        return now < self._end

    def _next(self) -> None:
        """The loop's next pass: time again, until there has been a pass in which nobody wanted any."""
        self._looking = self._end is not None or bool(self._waiting or self._late)
        self._end = None
        self._waiting.extendleft(reversed(self._late))
        self._late.clear()
        self._woken = bool(self._waiting)
        for _ in range(min(AT_ONCE, len(self._waiting))):
            if not (turn := self._waiting.popleft()).done():
                turn.set_result(None)
        if self._looking:
            asyncio.get_running_loop().call_soon(self._next)


_OF_LOOP: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = WeakKeyDictionary()


async def turn() -> None:
    """Wait until this pass of the loop has time left."""
    loop = asyncio.get_running_loop()
    if (turns := _OF_LOOP.get(loop)) is None:
        turns = _OF_LOOP[loop] = _Turns()
    await turns.one()


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What all of them give, in their order; they are made and begun a few at a time."""
    made: list[Coroutine[Any, Any, T]] = []
    begun: list[asyncio.Task[T]] = []

    async def after_a_turn(work: Coroutine[Any, Any, T]) -> T:
        await turn()
        return await work

    rest = iter(works)
    try:
        for work in rest:
            made.append(work)
            begun.append(asyncio.create_task(after_a_turn(work)))
            if len(begun) % AT_ONCE == 0:
                await turn()
        return list(await asyncio.gather(*begun))
    except asyncio.CancelledError:
        await _ended(begun)
        for work in [*made, *rest]:
            if inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
                work.close()  # it had no turn yet, and will have none
        raise


async def _ended(tasks: list[asyncio.Task[T]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
