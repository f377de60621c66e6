"""How every stage works on a shard: reuse what is done, resume what was begun, publish what is finished."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks.engine.journal import Journal
from tasks.engine.protocol import Engine, EngineError
from tasks.engine.recorder import Recorder
from tasks.staging.plan import TABLE_OF, Plan
from tasks.staging.reconcile import journal_path, known_calls, reconcile
from tasks.staging.reuse import copy_shard
from tasks.staging.shard_order import ShardOrder
from tasks.storage.store import Damaged, Row, Store

T = TypeVar("T")
Work = Callable[..., Awaitable[list[Row] | dict[str, list[Row]]]]


class Progress(Protocol):
    """Who shows a person how far the round is. `done` counts the finished shards of each stage."""

    done: dict[str, int]

    def say(self, text: str) -> None:
        """One line of news."""

    def expect(self, stage: str, shards: int) -> None:
        """So many shards (training: steps) does a stage have."""

    def call(self, stage: str) -> None:
        """One model call of a stage is finished."""

    def shard(self, stage: str, reused: bool) -> None:
        """One shard of a stage is done."""

    def reused(self, stage: str, shards: int) -> None:
        """That many shards of a stage are there already."""


class Round:
    """What the tasks of a running round share. A plain class: Prefect does not look inside."""

    def __init__(self, plan: Plan, store: Store, engines: Mapping[str, Engine], progress: Progress) -> None:
        self.plan, self.store, self.engines, self.progress = plan, store, engines, progress
        self.shards: tuple[str, ...] = ()
        self.shard_order = ShardOrder(plan, store, ())
        self.cutoff: float | None = None  # see `tasks.pair`
        self.most_at_once = 0  # shards that were on their way
        self._finished: set[tuple[str, str]] = set()

    def set_shards(self, shards: Sequence[str]) -> None:
        """Say which shards there are, in order."""
        self.shards = tuple(shards)
        self.shard_order = ShardOrder(self.plan, self.store, shards)
        for shard in shards:
            if self.done("propose", shard):
                self.shard_order.finish(shard)

    def read(self, table: str, shard: str, columns: Sequence[str] | None = None) -> list[Row]:
        """The rows of a table's shard in this round, or some columns of them.

        Raises:
            Damaged: it does not hold what was written; it is set aside, so that the next start makes it again.
        """
        try:
            return self.store.read(table, self.plan.round, shard, columns)
        except Damaged:
            self.store.set_aside(self.store.path(table, self.plan.round, shard))
            raise

    def done(self, stage: str, shard: str) -> bool:
        """Whether the shard's file was written by exactly this stage with exactly these settings."""
        if (stage, shard) in self._finished:
            return True
        footer = self.store.footer(TABLE_OF[stage], self.plan.round, shard)
        return footer is not None and footer.get("fingerprint") == self.plan.fingerprints[stage]

    def called(self, stage: str) -> None:
        """A call of a stage is finished.

        Raises:
            DependencyError: this process may not write any more, so no other call is paid for.
        """
        self.store.require()
        self.progress.call(stage)

    def reconcile(self, force: str | None = None) -> None:
        """Set aside what other settings made and what is damaged; what is done is known after this without a look."""
        self._finished = reconcile(self.store, self.plan, force, self.progress.say)


def _retryable(_task: object, _run: object, state: State[Any]) -> bool:
    """Only a server that is away is worth a second try; a mistake stays one."""
    error = getattr(state.data, "result", state.data)
    return isinstance(error, EngineError) and error.worth_another


TASK_OPTIONS: dict[str, Any] = {
    "cache_policy": NO_CACHE, "persist_result": False, "retries": 2, "retry_delay_seconds": [2, 10],
    "retry_condition_fn": _retryable,
}  # fmt: skip


@task(name="reused", task_run_name="{stage}: {shards} shards", cache_policy=NO_CACHE, persist_result=False)
async def reused_task(round_: Round, stage: str, shards: int) -> Any:
    """Show many finished shards of a stage as one task run in the state `Reused`."""
    round_.progress.reused(stage, shards)
    return Completed(name="Reused", message=f"{shards} shards are there already")


async def run_stage(round_: Round, stage: str, shard: str, reads: Sequence[str], work: Work) -> Any:
    """Do one stage of one shard, or end in the state `Reused` where its file is there already.

    `work(plan, *rows, engine)` gets the rows of each table in `reads` and the engine of the stage's role, and makes the
    rows of the stage's table, or of several tables by name. The stage's own is written last, so that its existence
    means that the others and the generations are there too.
    """
    plan, store = round_.plan, round_.store
    if round_.done(stage, shard):
        round_.progress.shard(stage, reused=True)
        return Completed(name="Reused", message=f"{shard} is there already")
    if stage in plan.reused:
        source = await off_the_loop(partial(copy_shard, plan, store, stage, shard))
        round_.progress.shard(stage, reused=False)
        return Completed(name="Reused", message=f"{shard} comes from {source.name}")
    engine = round_.engines[plan.model_of(stage)] if plan.asks(stage) else None
    journal = await off_the_loop(lambda: Journal(journal_path(store, plan.round, stage, shard)))
    known = await off_the_loop(lambda: known_calls(store, plan.round, shard, stage))
    recorder = Recorder(engine, journal, lambda: round_.called(stage), known)
    try:
        rows = [await off_the_loop(partial(round_.read, table, shard)) for table in reads]
        made = await work(plan, *rows, recorder)
    except BaseException:
        await recorder.stop()
        raise
    finally:
        journal.close()
    footer = plan.footer(stage) | {"model": recorder.model or None, "shard": shard}
    tables = made if isinstance(made, dict) else {TABLE_OF[stage]: made}
    own = tables.pop(TABLE_OF[stage])

    def publish() -> None:
        calls = [vars(recorder.used[key]) for key in sorted(recorder.used)]
        store.write("generations", plan.round, f"{shard}.{stage}", calls, footer)
        for name, others in tables.items():
            store.write(name, plan.round, shard, others, footer)
        store.write(TABLE_OF[stage], plan.round, shard, own, footer)
        journal.remove()

    await off_the_loop(publish)
    round_.progress.shard(stage, reused=False)
    return {"shard": shard, "rows": len(own), "calls": len(recorder.used)}


async def off_the_loop(work: Callable[[], T]) -> T:
    """What blocking work gives, done in a thread; it is waited for even by who is being ended.

    Else the run's lock would be let go while a file is still written.
    """
    doing = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait([doing])
        raise
