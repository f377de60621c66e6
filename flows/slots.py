"""One heavy flow at a time on a machine: a run that a worker starts waits for its turn at the server's limit `gpu`.

A round from the command line does not ask: its user has chosen the machine, and may have no server at all.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from prefect import runtime
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.concurrency.asyncio import concurrency
from prefect.concurrency.context import ConcurrencyContext

LIMIT = "gpu"
LEASE_SEC = 60.0  # the least that Prefect allows: so long is the slot of a dead run taken, and up to 15 s more
FIRST_WORD_SEC = 3.0
LOOK_SEC = 15.0
SAY_AGAIN_SEC = 900.0
LOST_SEC = 120.0  # a slot that is taken so long after its run has ended is given back by nobody any more
ACQUIRED = "prefect.concurrency-limit.acquired"
_HELD: list[UUID] = []


@dataclass(frozen=True)
class Holder:
    """Who took the slot last: a flow run, since when, and how and when it has ended, if it has."""

    run: str
    since: datetime
    ended: str | None = None
    end: datetime | None = None

    def __str__(self) -> str:
        how = "" if self.ended is None else f", a run that has ended ({self.ended.lower()}): free again within a minute"
        return f"{self.run} since {self.since:%Y-%m-%d %H:%M:%S} UTC{how}"


@asynccontextmanager
async def gpu(say: Callable[[str], None]) -> AsyncIterator[None]:
    """Hold the slot while the body runs, and say who has it while it is waited for.

    The server takes it back from a run that died.
    """
    if runtime.deployment.id is None:
        yield
        return
    waiting = asyncio.create_task(_tell(say))
    async with contextlib.AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(concurrency(LIMIT, occupy=1, lease_duration=LEASE_SEC))
        finally:
            waiting.cancel()
            await asyncio.wait([waiting])
        leases = ConcurrencyContext.get()
        _HELD.extend(leases.cleanup_lease_ids if leases else ())
        try:
            yield
        finally:
            _HELD.clear()


def held() -> list[UUID]:
    """The leases of the slots that this process holds, for whoever ends it."""
    return list(_HELD)


async def holder(client: PrefectClient) -> Holder | None:
    """Who took the slot last, by the server's events; None where it is free or nobody knows."""
    limit = await client.read_global_concurrency_limit_by_name(LIMIT)
    if limit.active_slots < limit.limit:
        return None
    wanted = {"event": {"name": [ACQUIRED]}, "resource": {"id": [f"prefect.concurrency-limit.{limit.id}"]}}
    answer = await _asked(client, "/events/filter", {"filter": wanted, "limit": 1})
    for event in answer["events"]:
        related = {one["prefect.resource.role"]: one for one in event["related"]}
        run = related.get("flow-run")
        if run is not None:
            now = await client.read_flow_run(UUID(run["prefect.resource.id"].rpartition(".")[2]))
            state = now.state
            over = state is not None and state.is_final()
            return Holder(now.name, datetime.fromisoformat(event["occurred"]),
                          state.name if state and over else None, now.end_time if over else None)  # fmt: skip
    return None


async def free_lost(client: PrefectClient, who: Holder, now: datetime) -> bool:
    """Give back the slot of a run that ended long ago, whose lease the server has lost; whether it was so."""
    if who.end is None or (now - who.end).total_seconds() < LOST_SEC:
        return False
    taken = (await client.read_global_concurrency_limit_by_name(LIMIT)).active_slots
    left = GlobalConcurrencyLimitUpdate(active_slots=max(0, taken - 1))  # the others may be held by runs that live
    await client.update_global_concurrency_limit(LIMIT, left)
    return True


async def _asked(client: PrefectClient, path: str, body: dict[str, Any]) -> Any:
    answer = await client._client.post(path, json=body)
    return answer.raise_for_status().json()


async def _tell(say: Callable[[str], None]) -> None:
    """Say whom this run waits for: soon, when that changes, and now and then."""
    said, before = 0.0, ""
    seen: Holder | None = None
    await asyncio.sleep(FIRST_WORD_SEC)
    async with get_client() as client:
        while True:
            with contextlib.suppress(httpx.HTTPError, ValueError, KeyError):
                who, now = await holder(client), asyncio.get_running_loop().time()
                text = f"waiting for the limit `{LIMIT}`, one heavy run at a time: " + (
                    f"held by {who}" if who else "held by another run"
                )
                if text != before or now - said > SAY_AGAIN_SEC:
                    say(text)
                    said, before = now, text
                # seen twice: the server writes its events down with a delay, and the slot may just have been taken
                if who and who == seen and await free_lost(client, who, datetime.now(UTC)):
                    say(f"the limit `{LIMIT}` was still held for {who.run}, which has ended; it is free again")
                seen = who
            await asyncio.sleep(LOOK_SEC)
