"""What the tests of faults share: small settings, and the rows that a server is good for."""

import asyncio
from typing import Any

from tasks.engine.client import Client
from tasks.engine.protocol import Engine
from tasks.engine.tries import Watched
from tasks.propose import propose
from tasks.staging.plan import Plan
from tasks.staging.stage import Round, run_stage
from tasks.storage.store import Store
from tests.samples import Quiet, Row, config, document, plan_of

DOCUMENTS = [document(n) for n in range(12)]
STRUCTURED: Row = {"task": {"dialect": "structured", "max_attempts": 1, "min_reference_words": 1}}


def plan_with(**engine: Any) -> Plan:
    """Small settings, and a context that no server need be asked for."""
    return plan_of(config(STRUCTURED, engine={"timeout_sec": 5, "max_retries": 5, "max_model_len": 4096} | engine))


def proposed(url: str, store: Store, plan: Plan, server: Watched | None = None) -> list[Row]:
    """The rows that the propose stage publishes."""

    async def work(plan: Plan, engine: Engine) -> list[Row]:
        return await propose(plan, DOCUMENTS, engine)

    async def run() -> list[Row]:
        gate = asyncio.Semaphore(plan.config.engine.max_in_flight)
        client = Client("fake:policy", plan.config.models["policy"], plan.config.engine, [url], gate, server)
        try:
            await run_stage(Round(plan, store, {"policy": client}, Quiet()), "propose", "shard-00000", (), work)
        finally:
            await client.close()
        return store.read("problems", 0, "shard-00000")

    return asyncio.run(run())
