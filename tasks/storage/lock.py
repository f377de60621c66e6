"""One writer a run: the lock is the operating system's, so a dead holder's is free at once."""

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout

from schemas.errors import DependencyError, unwritable
from tasks.storage.lease import Holder, holder, in_use, lease
from tasks.storage.store import Store


@contextmanager
def run_lock(store: Store, say: Callable[[str], None] = lambda _: None) -> Iterator[None]:
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
        (folder / ".holder.json").write_text(json.dumps(holder()))
    except Timeout:
        raise in_use(store.run, _who(store)) from None
    except OSError as error:
        lock.release()
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise unwritable(folder, error) from None
        raise DependencyError(f"cannot write in {folder}: {error.strerror}; choose another --root") from None
    try:
        with nullcontext() if store.local else lease(store, say):
            yield
    finally:
        _tidy(folder)
        lock.release()


def _tidy(folder: Path) -> None:
    """A round that was refused before it wrote anything leaves no folder behind."""
    if {path.name for path in folder.iterdir()} <= {".lock", ".holder.json"}:
        shutil.rmtree(folder, ignore_errors=True)


def _who(store: Store) -> Holder:
    try:
        found = json.loads((store.workdir / ".holder.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
