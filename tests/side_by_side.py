"""Two workers at once: the long tests first, and those that measure seconds last, while no other test runs.

Tests marked `alone` are the writers of a lock between the workers, all others its readers; in one process it costs
nothing and changes nothing. Whole files go to a worker (`--dist loadfile`), in the order given here
(`--no-loadscope-reorder`: else pytest-xdist begins with the files of most tests, which are not the longest).
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LONG = ("tests/e2e/", "tests/chaos/", "tests/flows/", "tests/training/", "tests/storage/test_object_store.py")


def long_first(items: list[pytest.Item]) -> None:
    """So that no worker is left alone with a long one at the end, or waits for one to have the machine to itself."""
    order = {prefix: place for place, prefix in enumerate(LONG)}
    alone = {item.path for item in items if item.get_closest_marker("alone")}

    def place(item: pytest.Item) -> tuple[bool, int]:
        return item.path in alone, min((order[p] for p in LONG if item.nodeid.startswith(p)), default=len(LONG))

    items.sort(key=place)


@contextmanager
def turn(folder: Path, alone: bool) -> Iterator[None]:
    """Run beside the other worker's test, or wait until there is none and keep the next one waiting."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    with (folder / "gate").open("w") as gate, (folder / "lock").open("w") as lock:
        fcntl.flock(gate, fcntl.LOCK_EX)  # first come, first served: readers do not pass a writer that waits
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield
