"""Servers of one model on a cluster: each comes up again elsewhere when its node goes, at another address."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.config import ClusterConfig, EngineConfig
from schemas.errors import DependencyError, PopError
from schemas.load import PROJECT
from tasks.cluster.driver import UNABLE, Driver, nodes_of, order
from tasks.cluster.places import divided, room, share
from tasks.engine.group import Group
from tasks.engine.server import WATCH_EVERY_SEC, healthy
from tasks.processes.guarded import end_orphans, in_thread, tail

Say = Callable[[str], None]
ROOM_SEC = 45.0  # after the first server is up, for those that have no room yet
MOVING_SEC = 120.0  # in which Ray tells that a node is lost; until then a server there is only silent


@dataclass(frozen=True)
class Serving:
    """What is served on a cluster: a command line with `{host}` and `{port}`, which each node fills in.

    Attributes:
        gpus: of each server; a part of one where several models share them.
        part: the share of a node that this model may have beside the others that are served at once.
        needs: files and folders that every node must see.
        log: the servers' logs, with `{}` for the number.
    """

    title: str
    command: list[str]
    env: Mapping[str, str]
    gpus: int
    part: float
    needs: tuple[str, ...]
    log: Path


class Moving:
    """One of the servers. Its address follows it."""

    def __init__(self, name: str, log: Path, config: EngineConfig, say: Say) -> None:
        self.url, self.restarts = "", 0
        self.lost: DependencyError | None = None
        self.followers: list[Callable[[str], None]] = []
        self._name, self._log, self._config, self._say = name, log, config, say
        self._up, self._since = asyncio.Event(), time.monotonic()
        self._starting = self._was_up = False

    @property
    def is_up(self) -> bool:
        """Whether it was there when it was last looked at."""
        return self._up.is_set() and self.lost is None

    async def ready(self) -> None:
        """See `Watched.ready`."""
        await self._up.wait()
        if self.lost:
            raise DependencyError(str(self.lost))

    async def answers(self) -> bool:
        """Whether it is there now; also where it never will be again."""
        return self.lost is not None or (self.is_up and await healthy(self.url))

    async def was_gone(self, restarts: int) -> bool:
        """See `Watched.was_gone`."""
        over = time.monotonic() + MOVING_SEC
        while self.restarts == restarts and self.lost is None:
            if time.monotonic() > over or await self.answers():
                return False
            await asyncio.sleep(WATCH_EVERY_SEC)
        return True

    def _moved(self) -> None:
        for follower in self.followers:
            follower(self.url)

    def take(self, event: Mapping[str, Any]) -> None:
        """Something has happened to it: it was started somewhere, its process or node went, or it will not be back."""
        if self.lost:
            return  # whoever waited for it has been told
        if event["event"] == "started":
            host = f"[{event['host']}]" if ":" in event["host"] else event["host"]
            self.url, self._starting, self._since = f"http://{host}:{event['port']}/v1", True, time.monotonic()
        elif event["event"] == "lost" or event["last"] or not (self._was_up or event["node"]):
            after = f"; its log ({self._log}) ends:\n{tail(self._log)}" if event["event"] == "gone" else ""
            self.give_up(f"{self._name}: {event['why']}{after}")
        else:
            self.restarts += 1
            self._up.clear()
            self._starting = False
            self._say(f"{self._name}: {event['why']}; it comes up again where there is room "
                      f"({self.restarts} of at most {self._config.max_restarts} times)")  # fmt: skip
            self._moved()  # who waits for an answer of a node without power would wait for long

    def give_up(self, why: str) -> None:
        """It will not be back."""
        if self.lost is None:
            self.lost, self._starting = DependencyError(why), False
            self._up.set()
            self._moved()

    async def look(self) -> None:
        """Whether the server that was started answers by now."""
        if not self._starting:
            return
        url, waited, most = self.url, time.monotonic() - self._since, self._config.start_timeout_sec
        if await healthy(url) and self.url == url and self._starting:
            self._starting, self._was_up = False, True
            self._say(f"{self._name} is ready at {url} after {waited:.0f} s")
            self._moved()
            self._up.set()
        elif waited > most:
            self.give_up(f"{self._name} was not ready within {most:.0f} s (engine.start_timeout_sec); its log "
                         f"({self._log}) ends:\n{tail(self._log)}")  # fmt: skip


class _Kept:
    """The servers, and the program that keeps them up."""

    def __init__(self, what: dict[str, Any], serving: Serving, config: EngineConfig, say: Say) -> None:
        self._what, self._config, self._say = what, config, say
        self._log, many = serving.log.with_name(serving.log.name.format("-ray")), what["count"]
        self.members = [
            Moving(
                f"{serving.title} ({n + 1} of {many})" if many > 1 else serving.title,
                Path(what["log"].format(n + 1)), config, say,
            )
            for n in range(many)
        ]  # fmt: skip
        self._driver, self._again = Driver(what, self._log), 0

    async def watch(self) -> None:
        """Follow what happens, until it is cancelled or none of them will be back."""
        try:
            await self._watched()
        except (PopError, OSError) as error:
            self._give_up(str(error))

    async def _watched(self) -> None:
        while not all(member.lost for member in self.members):
            await asyncio.sleep(WATCH_EVERY_SEC)
            code = self._driver.process.poll()
            for event in self._driver.events():
                member = self.members[event["replica"]]
                member.take(event)
                if member.lost and not all(one.lost for one in self.members):
                    self._say(f"{member.lost}\nthe other servers go on")
            if code is not None:
                self._begin_again(code)
            await asyncio.gather(*(member.look() for member in self.members))

    def _begin_again(self, code: int) -> None:
        why = self._driver.process.tail(1) if code == UNABLE else f"what holds it by Ray ended with exit code {code}"
        if self._again >= self._config.max_restarts or not any(member.url for member in self.members):
            self._give_up(f"{why} (the Ray driver's log: {self._log})")
            return
        self._again += 1
        for member in self.members:
            member.take({"event": "gone", "why": why, "node": True, "last": False})
        self._driver = Driver(self._what, self._log)

    def _give_up(self, why: str) -> None:
        for member in self.members:
            member.give_up(why)

    def stop(self) -> None:
        """End all of it."""
        self._driver.process.stop()


@asynccontextmanager
async def serve_on_cluster(
    serving: Serving, wanted: int, cluster: ClusterConfig, config: EngineConfig, say: Say, waiting: Say
) -> AsyncIterator[Group]:
    """Run `wanted` servers, or as many as the cluster has room for, while the body runs.

    Raises:
        UserError: there is no room for one.
        DependencyError: there is no Ray or no cluster, or one of them died or was not ready in time.
    """
    for orphan in end_orphans():
        say(f"ended what a dead run left behind: {orphan}")
    folder = serving.log.parent
    nodes = await in_thread(lambda: nodes_of(cluster, folder))
    each = share(cluster, nodes, serving.gpus)
    each, many = divided(each, room(nodes, each, wanted, serving.title), serving.part)
    if many < wanted:
        say(f"the cluster has room for {many} of {wanted} servers of {serving.title}")
    name = serving.log.name.format("-ray").removesuffix(".log")
    what = order(
        "serve", cluster, folder / f"{name}.jsonl", each, many, command=serving.command,
        env=dict(serving.env), needs=list(serving.needs), log=str(serving.log).replace("{}", "-{}" if many > 1 else ""),
        folder=str(PROJECT), restarts=config.max_restarts, place_sec=config.start_timeout_sec,
    )  # fmt: skip
    kept = _Kept(what, serving, config, say)
    watching = asyncio.create_task(kept.watch())
    try:
        yield Group(await _all_up(kept.members, waiting, say))
    finally:
        watching.cancel()
        kept.stop()


async def _all_up(members: list[Moving], waiting: Say, say: Say) -> list[Moving]:
    """Wait until all of them are there, but not for long for one that found no room: its node may just have gone.

    Raises:
        DependencyError: one of them was started and will not come, or there is room for none.
    """
    waits = {asyncio.ensure_future(member.ready()): member for member in members}
    began = first = time.monotonic()
    try:
        while left := [wait for wait in waits if not wait.done()]:
            now = time.monotonic()
            waiting(f"{len(left)} of {len(members)} servers are starting on the cluster: {now - began:.0f} s")
            done, _ = await asyncio.wait(left, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                if waits[one].url or not any(member.url for member in members):
                    one.result()
            first = first if any(member.is_up for member in members) else now
            if now - first > ROOM_SEC and not any(waits[wait].url for wait in left):
                say(f"{len(left)} of {len(members)} servers find no room on the cluster: the others go on without them")
                break
    finally:
        waiting("")
        for wait in waits:
            wait.cancel()
    if not (there := [member for member in members if member.is_up]):
        raise next(member.lost for member in members if member.lost)
    return there
