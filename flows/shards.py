"""A round's shards on their way through its stages: side by side, each as soon as the stage before has it."""

import asyncio
import gc
import math
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from flows.views.artifacts import StageProgress
from schemas.errors import PopError
from tasks.answer import answer_task
from tasks.engine.gate import PLACE, Gate
from tasks.pair import pair_task
from tasks.probe import probe_task
from tasks.propose import propose_task
from tasks.rate import rate_task
from tasks.rubric import rubric_task
from tasks.staging.stage import Round, reused_task

SHOWN_ONE_BY_ONE = 40
# new objects; collections of these, and of those that outlived one: some ms each. A look through all that is held stops
# the loop for some tenths of a second, so it comes once in some hundred thousand calls
_COLLECTED = (10_000, 2, 1_000)
_APART_SEC = 0.005  # between two begun: Prefect needs some 20 ms of the loop for each
_LOOK_SEC = 0.02  # between looks whether there is room for another shard
_LAST = 8  # times what the gate lets in: the answers of the shards that end a round side by side
_AFTER = {"answer": 1, "rate": 2, "probe": 2}  # among these; every other stage is 0 and goes first
TASKS = {
    "propose": propose_task, "answer": answer_task, "rubric": rubric_task, "rate": rate_task, "probe": probe_task,
    "pair": pair_task,
}  # fmt: skip


async def run_concurrently(works: Iterable[Coroutine[Any, Any, None]], room: Callable[[], bool] = lambda: True) -> None:
    """Do all at once, or begin the next one only when there is room; when one fails, the others are ended, and its
    error alone is what a person reads."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
                await asyncio.sleep(_APART_SEC)
                while not room():
                    await asyncio.sleep(_LOOK_SEC)
    except BaseExceptionGroup as failed:
        errors = list(_flat(failed))
        raise next((error for error in errors if isinstance(error, PopError)), errors[0]) from None


def _flat(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flat(error)
        else:
            yield error


async def run_shards(
    round_: Round, shards: Sequence[str], bars: StageProgress, stages: Sequence[str], gate: Gate
) -> None:  # fmt: skip
    """All shards through some stages, the oldest first, and only as many at once as keep the servers full.

    A shard is begun when all that those before it ask leaves room at the gate, so it is finished, published and out of
    memory while later ones have not begun, and how much is held does not grow with the corpus.

    The last few end side by side, what has most to come after it first: one after the other, the last one would be
    alone with the server in each of its stages. Their ratings fill it while answers and rubrics are waited for.
    """
    config = round_.plan.config
    least = min(config.corpus.documents_per_shard, gate.most)  # calls of a shard in its narrowest stage, roughly
    most = 2 + math.ceil(gate.most / least)
    answers = config.corpus.documents_per_shard * config.sampling.answers
    together_from = max(0, len(shards) - max(2, math.ceil(_LAST * gate.most / answers)))
    running: set[int] = set()

    async def one(place: int, shard: str) -> None:
        try:
            await run_stages(round_, shard, bars, stages, partial(turn_of, place, together_from))
        finally:
            running.discard(place)

    def works() -> Iterator[Coroutine[Any, Any, None]]:
        for place, shard in enumerate(shards):
            running.add(place)
            round_.most_at_once = max(round_.most_at_once, len(running))
            yield one(place, shard)

    def room() -> bool:
        coming = least * sum(place not in gate.seen for place in running)
        return not running or (len(running) < most and gate.room > coming)

    gate.seen.clear()
    with short_collections():
        await run_concurrently(works(), room)


@contextmanager
def short_collections() -> Iterator[None]:
    """Keep Python's garbage collector off what is there already: Prefect, DuckDB and pyarrow alone are half a million
    objects, and each look through all of them stops the event loop for some tenths of a second.

    And let it look less often: by Python's own numbers it took a tenth of the controller's time, since a call makes
    hundreds of objects that are soon gone by themselves."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_COLLECTED)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


async def skip_finished(round_: Round, shards: tuple[str, ...], bars: StageProgress) -> tuple[str, ...]:
    """Pass over the shards of which nothing is owed, if they are many; returns the others.

    A task run costs Prefect some 10 ms, so many shards share one a stage.
    """
    whole = {shard for shard in shards if all(round_.done(stage, shard) for stage in TASKS)}
    if len(whole) <= SHOWN_ONE_BY_ONE:
        return shards
    for stage in TASKS:
        await reused_task(round_, stage, len(whole))
        await bars.move(stage, len(whole), len(shards))
    return tuple(shard for shard in shards if shard not in whole)


def turn_of(place: int, together_from: int, stage: str) -> tuple[int, int, int]:
    """When a shard's calls go, the least first: the oldest's, and from `together_from` on those of the earlier stages.

    Rubrics go with the problems: they are few, and many ratings wait for each.
    """
    return min(place, together_from), _AFTER.get(stage, 0), place


async def run_stages(
    round_: Round, shard: str, bars: StageProgress, stages: Sequence[str], turn: Callable[[str], tuple[int, ...]]
) -> None:  # fmt: skip
    """One shard through some stages, without waiting for the others."""
    for stage in stages:
        PLACE.set(turn(stage))
        await TASKS[stage](round_, shard)
        await bars.move(stage, round_.progress.done.get(stage, 0), len(round_.shards))
