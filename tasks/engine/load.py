"""What the servers say of their own load: by it the gate lets more or fewer requests in, and a round says how full they
were.

A server that has as many requests as it can work on at once gains nothing from more: they wait there instead of here,
where the oldest shard's go first. vLLM, SGLang and llama.cpp tell it under names of their own (`GET /metrics`); of a
server that does not tell, nothing is known, and the gate stays as wide as `engine.max_in_flight`.
"""

import asyncio
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from tasks.engine.faults import Fault
from tasks.engine.gate import Gate
from tasks.engine.replicas import Replica

EVERY_SEC = 1.0
_KEPT = 0.99  # of the seats that were seen, a second: a server whose memory fills up has fewer after a while
_GIVEN_UP = 3  # answers without a figure in a row, after which a server is not asked again
_LIMIT_SEC = 10.0
_LINE = re.compile(r"^([a-z_]+:[a-z_]+)(?:\{[^}]*\})? ([0-9.eE+-]+)", re.MULTILINE)
_RUNNING = ("vllm:num_requests_running", "sglang:num_running_reqs", "llamacpp:requests_processing")
_WAITING = ("vllm:num_requests_waiting", "sglang:num_queue_reqs", "llamacpp:requests_deferred")
_COUNTERS = {
    "prefix_queries": ("vllm:prefix_cache_queries_total", "vllm:prefix_cache_queries"),
    "prefix_hits": ("vllm:prefix_cache_hits_total", "vllm:prefix_cache_hits"),
    "prompt_tokens": ("vllm:prompt_tokens_total", "sglang:prompt_tokens_total", "llamacpp:prompt_tokens_total"),
    "written_tokens": ("vllm:generation_tokens_total", "sglang:generation_tokens_total",
                       "llamacpp:tokens_predicted_total"),
}  # fmt: skip


@dataclass
class Load:
    """Of one model's servers, added up over the time in which they had work.

    Attributes:
        seconds: with something in flight.
        full_seconds: of them, in which a request waited at every server, or as many ran as are allowed.
        running_seconds, waiting_seconds: requests times seconds.
        prefix_queries, prefix_hits: tokens of prompts, and those of them found in the prefix cache.
    """

    seconds: float = 0.0
    full_seconds: float = 0.0
    running_seconds: float = 0.0
    waiting_seconds: float = 0.0
    prefix_queries: float = 0.0
    prefix_hits: float = 0.0
    prompt_tokens: float = 0.0
    written_tokens: float = 0.0

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> "Load":
        """Out of a manifest, of this version or another."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: float(value) for name, value in stored.items() if name in known})

    def stored(self) -> dict[str, float]:
        """For a manifest."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


@dataclass
class _Server:
    """One server, and what it said last."""

    replica: Replica
    running: float = 0.0
    waiting: float = 0.0
    counters: dict[str, float] = field(default_factory=dict)
    silent: int = 0  # answers without a figure, in a row

    @property
    def asked(self) -> bool:
        """Whether it plays a part: it takes us."""
        return not self.replica.left_out

    @property
    def tells(self) -> bool:
        return self.silent == 0 and self.asked

    async def look(self) -> dict[str, float]:
        """What has been counted since the last look."""
        if self.silent >= _GIVEN_UP or self.replica.left_out:
            return {}
        try:
            async with asyncio.timeout(_LIMIT_SEC):
                answer = await self.replica.wire.get("/metrics")
        except (Fault, TimeoutError):
            self.silent += self.silent < _GIVEN_UP - 1  # it may be starting again
            return {}
        figures = read_metrics(answer.content.decode(errors="replace")) if answer.status == 200 else {}
        if _first(figures, _RUNNING) is None:
            self.silent += 1
            return {}
        self.silent, before = 0, self.counters
        self.running, self.waiting = _first(figures, _RUNNING) or 0.0, _first(figures, _WAITING) or 0.0
        counted = {name: _first(figures, names) for name, names in _COUNTERS.items()}
        self.counters = {name: figure for name, figure in counted.items() if figure is not None}
        # one that is smaller than it was began anew with its server
        return {name: now - before[name] if now >= before[name] else now
                for name, now in self.counters.items() if name in before}  # fmt: skip


class Pulse:
    """Asks the servers of all models, every second, and keeps the gate as wide as they have use for.

    Args:
        servers: the replicas of each model, by its name.
        known: the loads of earlier starts, which are added to.
    """

    def __init__(self, gate: Gate, servers: Mapping[str, Sequence[Replica]], known: Mapping[str, Load]) -> None:
        self._gate = gate
        self._servers = {name: [_Server(replica) for replica in replicas] for name, replicas in servers.items()}
        self.loads = {name: known.get(name, Load()) for name in servers}
        self._seats = 0.0  # as many have run at once
        self.told: set[str] = set()  # models of which a server told something

    async def beat(self) -> None:
        """Until it is cancelled."""
        before = time.monotonic()
        while any(
            server.asked and server.silent < _GIVEN_UP for servers in self._servers.values() for server in servers
        ):
            await asyncio.sleep(EVERY_SEC)
            now = time.monotonic()
            await self.look(now - before)
            before = now

    async def look(self, seconds: float) -> None:
        """Ask all of them once, so many seconds after the last time."""
        await asyncio.gather(*(self._look_at(name, seconds) for name in self._servers))
        asked = [server for servers in self._servers.values() for server in servers if server.asked]
        if asked and all(server.tells for server in asked):
            running, waiting = sum(one.running for one in asked), sum(one.waiting for one in asked)
            before, self._seats = self._seats, max(running, self._seats * _KEPT**seconds)
            limit = limit_of(self._gate, running, waiting, self._seats)
            if running <= before or limit > self._gate.limit:  # else those that wait are still on their way to a seat
                self._gate.set_limit(limit)
        else:  # what goes to one that tells nothing cannot be told from the others: all are let in
            self._gate.set_limit(self._gate.most)

    async def _look_at(self, name: str, seconds: float) -> None:
        servers, load = self._servers[name], self.loads[name]
        for counted in await asyncio.gather(*(server.look() for server in servers)):
            for counter, more in counted.items():
                setattr(load, counter, getattr(load, counter) + more)
        told = [server for server in servers if server.tells]
        if not told:
            return
        self.told.add(name)
        running, waiting = sum(one.running for one in told), sum(one.waiting for one in told)
        if running + waiting == 0:
            return
        load.seconds += seconds
        load.running_seconds += seconds * running
        load.waiting_seconds += seconds * waiting
        if all(one.waiting > 0 for one in told) or running + waiting >= self._gate.most:
            load.full_seconds += seconds


def limit_of(gate: Gate, running: float, waiting: float, seats: float = 0.0) -> int:
    """How many requests are to be in flight: those that can run, and a few that wait, so that no end leaves a gap.

    Figures are in the server's own measure, of which a request may be several (one a prompt in it).

    Args:
        seats: as many have run at once lately. Who waits may wait for a prompt to be read, and not for a seat.

    Example: 256 in flight, of which 64 run and 192 wait: 64 + 16 from now on. Of 80 in flight 78 run and 2 wait: more
    may come.
    """
    seats = max(seats, running)
    queue = max(4.0, seats / 4)
    if running + waiting > seats + 2 * queue:
        return math.ceil(gate.in_flight * (seats + queue) / (running + waiting))
    if waiting <= queue / 2 and gate.room <= 0:
        limit = max(gate.limit, gate.in_flight)
        return limit + max(8, limit // 4)
    return gate.limit


def read_metrics(text: str) -> dict[str, float]:
    """The figures of Prometheus' text form by name, added up over their labels (an engine, a model)."""
    found: dict[str, float] = {}
    for name, figure in _LINE.findall(text):
        try:
            found[name] = found.get(name, 0.0) + float(figure)
        except ValueError:
            continue
    return found


def _first(figures: Mapping[str, float], names: Sequence[str]) -> float | None:
    return next((figures[name] for name in names if name in figures), None)
