"""One writer a run: the lock is the operating system's, so a dead holder's is free at once."""

import errno
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from schemas.errors import DependencyError, UserError, unwritable
from tasks.store import Store


@contextmanager
def run_lock(store: Store) -> Iterator[None]:
    """Hold the run while the body runs.

    Raises:
        UserError: another process holds it; the text names it.
        DependencyError: the root cannot be written.
    """
    folder = store.workdir
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        (folder / ".holder.json").write_text(json.dumps(_holder()))
    except Timeout:
        who = _who(store)
        raise UserError(f"the run {store.run} is in use by {who}; wait for it, or choose another --run") from None
    except OSError as error:
        lock.release()
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise unwritable(folder, error) from None
        raise DependencyError(f"cannot write in {folder}: {error.strerror}; choose another --root") from None
    try:
        yield
    finally:
        _tidy(folder)
        lock.release()


def _tidy(folder: Path) -> None:
    """A round that was refused before it wrote anything leaves no folder behind."""
    if {path.name for path in folder.iterdir()} <= {".lock", ".holder.json"}:
        shutil.rmtree(folder, ignore_errors=True)


def _holder() -> dict[str, str | int]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": datetime.now(UTC).isoformat(timespec="seconds")}


def _who(store: Store) -> str:
    try:
        holder = json.loads((store.workdir / ".holder.json").read_text())
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"
