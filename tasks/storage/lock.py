"""One writer a run: the lock is the operating system's, so a dead holder's is free at once."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout

from schemas.errors import DependencyError, unwritable
from tasks.storage.lease import Holder, holder, in_use, lease
from tasks.storage.store import Store

_GONE = (
    "the folder of the run, {folder}, was removed or replaced while the run was at work, so it has ended: put it back "
    "and run the same command again, and it goes on; without it, the run begins anew"
)


@contextmanager
def run_lock(store: Store, say: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Hold the run while the body runs.

    Raises:
        UserError: another process holds it; the text names it.
        DependencyError: the root cannot be written, or the run's folder was removed while the body ran.
    """
    folder = store.workdir
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        (folder / ".holder.json").write_text(json.dumps(holder()))
    except Timeout:
        raise in_use(store.run, _who(store)) from None
    except OSError as error:
        lock.release()
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise unwritable(folder, error) from None
        raise DependencyError(f"cannot write in {folder}: {error.strerror}; choose another --root") from None
    before, held = store.still_there, _inode(folder)
    store.still_there = lambda: None if _inode(folder) == held else _GONE.format(folder=folder)
    try:
        with nullcontext() if store.local else lease(store, say):
            yield
    except Exception:
        if (gone := store.still_there()) is not None:  # whatever was not found: this is why
            raise DependencyError(gone) from None
        raise
    finally:
        _tidy(folder) if store.still_there() is None else None
        store.still_there = before
        lock.release()


def _inode(folder: Path) -> int | None:
    """The lock file's own number; another one at its path, or none, means that the folder is not the one locked."""
    try:
        return os.stat(f"{folder}/.lock").st_ino  # noqa: PTH116  (asked before every call: Path takes thrice as long)
    except OSError:
        return None


def _tidy(folder: Path) -> None:
    """A round that was refused before it wrote anything leaves no folder behind."""
    if {path.name for path in folder.iterdir()} <= {".lock", ".holder.json"}:
        shutil.rmtree(folder, ignore_errors=True)


def _who(store: Store) -> Holder:
    try:
        found = json.loads((store.workdir / ".holder.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
