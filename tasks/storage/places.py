"""Where a folder of a run is said to lie, so that a root can be moved or copied: below the root, not from `/` on."""

from pathlib import Path

from tasks.storage.remote import is_url
from tasks.storage.store import Store

TRAINING = "training"  # the folder of a run that holds its models


def below_root(store: Store, path: str) -> str:
    """A path or URL as a table keeps it: from the root on where it lies in it, else whole."""
    root = str(Path(store.base).parent) if store.local else _root(store)
    return path.removeprefix(f"{root}/")


def located(store: Store, path: str) -> str:
    """Where a path out of a table is now: a folder of this machine, or a URL.

    A table may come from another place, by a root that was moved or copied, and name the old one: what lies in this
    run's own folder goes before it, or a copy would promote, and prune, the original's models.
    """
    run, found, tail = path.rpartition(f"/{TRAINING}/")
    own = store.workdir / TRAINING / tail
    if found and own.exists():
        return str(own)
    if Path(path).is_absolute() or is_url(path):
        return path
    if store.local:
        return str(Path(store.base).parent / path)
    copied = found and run != store.run and store.fs.exists(f"{store.base}/{TRAINING}/{tail}")
    return f"{_root(store)}/{store.run}/{TRAINING}/{tail}" if copied else f"{_root(store)}/{path}"


def at(store: Store, url: str) -> str:
    """The path of what lies below the root, in the store's own file system."""
    return f"{store.base.removesuffix(f'/{store.run}')}{url.removeprefix(_root(store))}"


def _root(store: Store) -> str:
    return store.root.rstrip("/")
