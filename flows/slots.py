"""One heavy flow at a time on a machine: a run that a worker starts waits for its turn at the server's limit `gpu`.

A round from the command line does not ask: its user has chosen the machine, and may have no server at all.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prefect import runtime
from prefect.concurrency.asyncio import concurrency

LIMIT = "gpu"


@asynccontextmanager
async def gpu() -> AsyncIterator[None]:
    """Hold the slot while the body runs. The server takes it back from a run that died."""
    if runtime.deployment.id is None:
        yield
        return
    async with concurrency(LIMIT, occupy=1):
        yield
