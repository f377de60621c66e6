"""A trained model on its way to a run whose root is an object store: files first, what they are last.

Until its manifest is there, nobody takes the folder for a model; a killed upload goes on behind its last whole file.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fsspec.callbacks import Callback

from schemas.errors import DependencyError, PopError
from tasks.models.contents import MANIFEST, Contents, contents_of, sized
from tasks.models.fetching import adopt
from tasks.models.pace import Pace
from tasks.storage.places import TRAINING
from tasks.storage.remote import remote_error
from tasks.storage.store import Store

Say = Callable[[str], None]


class _Told(Callback):  # type: ignore[misc]
    """Hands the bytes of an upload on to who counts them."""

    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self._pace = pace

    def relative_update(self, inc: int = 1) -> None:
        self._pace(inc)


def send(folder: Path, store: Store, round_: int, weights_sha256: str, say: Say) -> str:
    """Copy a model's folder into its run; where it is there, from the root on. The same call again goes on.

    It is in this machine's cache then, too, so that the next round here does not fetch what it has just sent.

    Raises:
        DependencyError: the store cannot be written, or the weights here are not those that were checked.
    """
    known = contents_of(folder)
    if known.weights_sha256 != weights_sha256:
        raise DependencyError(
            f"the weights in {folder} are not those that were checked ({known.weights_sha256} instead of "
            f"{weights_sha256}): look after the disk, then train again with --force train"
        )
    place = f"{store.run}/{TRAINING}/round={round_:03d}/model-{known.key}"
    target = f"{store.base}{place.removeprefix(store.run)}"
    try:
        _send(folder, store, target, known, say)
    except PopError:
        raise
    except Exception as error:  # whatever a store's client raises
        raise remote_error(error, f"the trained model cannot be sent to {store.root}/{place}") from error
    adopt(folder, known)
    return place


def _send(folder: Path, store: Store, target: str, known: Contents, say: Say) -> None:
    there = _sizes(store.fs, target)
    if MANIFEST in there:
        return
    owed = [file for file in known.files if there.get(file.name) != file.size]
    size = sum(file.size for file in owed)
    kept = f", {sized(known.size - size)} of it are there" if size < known.size else ""
    say(f"the model ({sized(known.size)}{kept}) is sent to {store.root}")
    told = _Told(Pace("sent", known.size, say, known.size - size))
    for file in owed:
        store.require()
        store.fs.put_file(str(folder / file.name), f"{target}/{file.name}", callback=told)
    there = _sizes(store.fs, target)
    if torn := [file.name for file in known.files if there.get(file.name) != file.size]:
        raise OSError(f"{torn[0]} is not there whole after it was sent")
    store.publish(f"{target}/{MANIFEST}", known.manifest())


def _sizes(fs: Any, folder: str) -> dict[str, int]:
    """Bytes of all that lies below a folder, by name."""
    try:
        found = fs.find(folder, detail=True)
    except FileNotFoundError:
        return {}
    return {name.removeprefix(f"{folder}/"): int(about.get("size") or 0) for name, about in found.items()}
