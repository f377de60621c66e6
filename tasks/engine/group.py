"""Several servers of one model on this machine, each watched and started again by itself."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Protocol

from schemas.errors import DependencyError
from tasks.engine.server import Served
from tasks.processes.guarded import end_orphans

_AGAIN_SEC = 1.0  # before a request that met a dying server is sent again


class Member(Protocol):
    """One of the servers of a model."""

    url: str
    restarts: int
    followers: list[Callable[[str], None]]  # told of its address when that is another, or nobody answers there now

    async def ready(self) -> None: ...
    async def answers(self) -> bool: ...
    async def was_gone(self, restarts: int) -> bool: ...


class Group:
    """The servers of a model, as one to wait for: see `tasks.engine.tries.Watched`."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = list(members)

    def follow(self, move: Callable[[int, str], None]) -> None:
        """Call `move` with a server's number and address whenever it comes up at another one."""
        for number, member in enumerate(self.members):
            member.followers.append(partial(move, number))

    @property
    def urls(self) -> tuple[str, ...]:
        """Where they are."""
        return tuple(member.url for member in self.members)

    @property
    def restarts(self) -> int:
        """How often any of them was started again."""
        return sum(member.restarts for member in self.members)

    async def ready(self) -> None:
        """Wait until one of them is there.

        Raises:
            DependencyError: none of them will come back.
        """
        waits = [asyncio.ensure_future(member.ready()) for member in self.members]
        try:
            for first in asyncio.as_completed(waits):
                try:
                    await first
                except DependencyError as error:
                    lost = error
                else:
                    return
        finally:
            for wait in waits:
                wait.cancel()
        raise lost

    async def was_gone(self, restarts: int) -> bool:
        """See `Watched.was_gone`. With another server at hand nobody waits until the dead one is back."""
        if len(self.members) == 1:
            return await self.members[0].was_gone(restarts)
        if self.restarts == restarts and all(await asyncio.gather(*(member.answers() for member in self.members))):
            return False
        await asyncio.sleep(_AGAIN_SEC)
        return True


@asynccontextmanager
async def serve_all(members: Sequence[Served], say: Callable[[str], None]) -> AsyncIterator[Group]:
    """Run the servers while the body runs. Whatever happens, nothing of them stays behind.

    Raises:
        DependencyError: one of them died or was not ready in time; the message ends with the last lines of its log.
    """
    for orphan in end_orphans():
        say(f"ended what a dead run left behind: {orphan}")
    async with AsyncExitStack() as stack:
        for member in members:
            stack.callback(member.stop)
        starts = [asyncio.ensure_future(member.start()) for member in members]
        try:
            await asyncio.gather(*starts)
        finally:
            for start in starts:
                start.cancel()
        for member in members:
            stack.callback(asyncio.create_task(_watched(member, members, say)).cancel)
        yield Group(members)


async def _watched(member: Served, members: Sequence[Served], say: Callable[[str], None]) -> None:
    await member.watch()
    if not all(one.lost for one in members):
        say(f"{member.lost}\nthe other servers go on")
