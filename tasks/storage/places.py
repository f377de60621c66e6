"""Where a folder of a run is said to lie, so that a root can be moved or copied: below the root, not from `/` on."""

from pathlib import Path

from tasks.storage.store import Store

TRAINING = "training"  # the folder of a run that holds its models


def below_root(store: Store, path: str) -> str:
    """A path as a table keeps it: from the root on where it lies in it, else whole."""
    root = str(Path(store.base).parent)
    return str(Path(path).relative_to(root)) if store.local and Path(path).is_relative_to(root) else path


def located(store: Store, path: str) -> str:
    """Where a path out of a table is now.

    A table may come from another place, by a root that was moved or copied, and name the old one: what lies in this
    run's own folder goes before it, or a copy would promote, and prune, the original's models.
    """
    _, found, tail = path.rpartition(f"/{TRAINING}/")
    own = store.workdir / TRAINING / tail
    if found and own.exists():
        return str(own)
    if Path(path).is_absolute():
        return path
    return str(Path(store.base).parent / path)
