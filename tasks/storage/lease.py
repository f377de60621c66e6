"""One writer a run, also where the run lies in an object store that several machines reach.

An object store has no locks: an object names the holder, who changes it every few seconds for as long as it lives. A
holder on this machine is looked up among the processes; one on another machine is watched, and taken for dead when its
sign of life stands still. No clock is compared with another, so none can be wrong.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from schemas.errors import DependencyError, UserError
from tasks.processes.guarded import alive, boot, started_at
from tasks.storage.store import Store

BEAT_SEC = 10.0
DEAD_SEC = 45.0  # without a beat
Holder = dict[str, Any]


@contextlib.contextmanager
def lease(store: Store, say: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Hold the run while the body runs.

    Raises:
        UserError: another process holds it; the text names it.
        DependencyError: the store cannot be written.
    """
    path = f"{store.base}/.lock.json"
    own = holder() | {"token": uuid.uuid4().hex, "beat": 0}
    try:
        _take(store, path, own, say)
    except OSError as error:
        raise DependencyError(f"cannot write {path}: {error}; choose another --root") from None
    over = threading.Event()
    beating = threading.Thread(target=_beat, args=(store, path, own, over), name="lease", daemon=True)
    beating.start()
    try:
        yield
    finally:
        over.set()
        beating.join(BEAT_SEC)
        with contextlib.suppress(Exception):  # the next one takes it over from who is dead
            if not store.lost and (store.manifest(path) or {}).get("token") == own["token"]:
                store.fs.rm_file(path)


def holder() -> Holder:
    """Who this process is, for others to read."""
    return {
        "host": socket.gethostname(), "boot": boot(), "pid": os.getpid(), "started": started_at(os.getpid()),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def in_use(run: str, who: Holder) -> UserError:
    """The one line for a run that somebody else holds."""
    known = {"pid", "host", "since"} <= who.keys()
    name = "process {pid} on {host} since {since}".format_map(who) if known else "another process"
    return UserError(f"the run {run} is in use by {name}; wait for it, or choose another --run")


def _take(store: Store, path: str, own: Holder, say: Callable[[str], None]) -> None:
    content = json.dumps(own).encode()
    try:
        store.fs.pipe_file(path, content, mode="create")
        return
    except FileExistsError:
        other = store.manifest(path) or {}
    if _lives(store, path, other, say):
        raise in_use(store.run, other)
    store.fs.pipe_file(path, content)
    time.sleep(min(1.0, BEAT_SEC))  # two that take over at once: the last one to write has it
    if (found := store.manifest(path) or {}).get("token") != own["token"]:
        raise in_use(store.run, found)


def _lives(store: Store, path: str, other: Holder, say: Callable[[str], None]) -> bool:
    if other.get("boot") == boot():
        return alive(int(other["pid"]), float(other["started"]))
    if other:
        say(f"the run was last held by process {other.get('pid')} on {other.get('host')}: is it alive? (at most "
            f"{DEAD_SEC:.0f} s)")  # fmt: skip
    over = time.monotonic() + DEAD_SEC
    while time.monotonic() < over:
        time.sleep(min(1.0, DEAD_SEC / 10))
        now = store.manifest(path)
        if now is None:
            return False  # it was let go of
        if now != other:
            return True
    return False


def _beat(store: Store, path: str, own: Holder, over: threading.Event) -> None:
    while not over.wait(BEAT_SEC):
        # a store that is away for a moment, in whatever its client raises; publishing will say so
        with contextlib.suppress(Exception):
            if (found := store.manifest(path)) is not None and found.get("token") != own["token"]:
                store.lost = f"{in_use(store.run, found)}: it took this process for dead"
                return
            own["beat"] += 1
            store.fs.pipe_file(path, json.dumps(own).encode())
