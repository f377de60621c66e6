"""Which of two like problems is the duplicate: decided by the order of the shards, not by which is finished first."""

import asyncio
from collections.abc import Sequence
from typing import Any

from tasks.staging.plan import Plan
from tasks.storage.store import Store
from tasks.texts.duplicates import Known

Row = dict[str, Any]


class ShardOrder:
    """Lets the shards of a round be looked at one after the other, in order, whatever order they are finished in.

    So which of two like problems is the duplicate depends on the shards' order alone. A shard waits for those before it
    to have their problems, not for anything later.
    """

    def __init__(self, plan: Plan, store: Store, shards: Sequence[str]) -> None:
        self._plan, self._store = plan, store
        self._place = {shard: n for n, shard in enumerate(shards)}
        self._finished = [asyncio.Event() for _ in shards]
        self._known: Known | None = None
        self._read = 0  # shards whose problems are in `_known`

    async def mark(self, shard: str, rows: list[Row]) -> list[Row]:
        """Wait for the shards before this one, then mark its duplicates. `finish` must follow."""
        place = self._place[shard]
        for finished in self._finished[:place]:
            await finished.wait()
        known = self._up_to(place)
        self._read = place + 1
        return known.mark(rows)

    def finish(self, shard: str) -> None:
        """The shard's problems are published."""
        self._finished[self._place[shard]].set()

    def _up_to(self, place: int) -> Known:
        """What was seen before a shard; files are read only where this process did not make them."""
        number = self._plan.round
        if self._known is None or self._read > place:  # later already: the shard is asked for once more after a failure
            self._known, self._read = Known(self._plan.config.task.max_similarity), 0
            for earlier in range(number):
                for name in self._store.files("problems", earlier):
                    _add_file(self._known, self._store, earlier, name)
        for name in list(self._place)[self._read : place]:
            _add_file(self._known, self._store, number, name)
        return self._known


def _add_file(known: Known, store: Store, round_: int, name: str) -> None:
    for row in store.read("problems", round_, name, ["problem_id", "problem", "status"]):
        if row["status"] == "ok":
            known.add(row["problem_id"], row["problem"])
