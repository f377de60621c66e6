"""Which runs there are under a root, and which run and round is meant."""

from glob import escape
from pathlib import Path

import fsspec

from schemas.errors import UserError
from schemas.load import did_you_mean
from tasks.storage.manifests import ROUNDS, manifests
from tasks.storage.store import Store


def runs(root: str) -> list[str]:
    """Names of the runs under a root: the folders with a round's manifest."""
    fs, base = fsspec.core.url_to_fs(root)
    found = fs.glob(f"{escape(base.rstrip('/'))}/*/{ROUNDS}")
    return sorted({path.split("/")[-4] for path in found})


def newest_run(root: str) -> str | None:
    """The run whose round was last started or finished; None where there is none."""
    dated = [(manifest["written"], name) for name in runs(root) for manifest in manifests(Store(root, name))]
    return max(dated)[1] if dated else None


def absolute(root: str) -> str:
    """A local root as a whole path; a URL as it is."""
    return root if "://" in root else str(Path(root).expanduser().resolve())


def store_of(root: str, run: str | None, round_: int | None = None) -> Store:
    """The store of a run that is there: the one named, or the newest.

    Raises:
        UserError: there is none, or it has no such round.
    """
    root = absolute(root)
    if run is None and (run := newest_run(root)) is None:
        raise UserError(f"there is no run under {root} yet; make one: pop round demo")
    if run not in (known := runs(root)):
        raise UserError(
            f"there is no run {run!r} under {root}{did_you_mean(run, known)}; runs: {', '.join(known) or 'none'}"
        )
    store = Store(root, run)
    if round_ is not None:
        round_of(store, round_)
    return store


def round_of(store: Store, number: int | None) -> int:
    """The round asked for, or the newest one."""
    known = [manifest["round"] for manifest in manifests(store)]
    if number is not None and number not in known:
        raise UserError(f"run {store.run} has no round {number}; rounds: {', '.join(map(str, known))}")
    return max(known) if number is None else number


def stores_of(root: str, run: str | None, all_: bool) -> list[Store]:
    """The store of one run, or those of every run under the root."""
    first = store_of(root, run)
    if not all_:
        return [first]
    if run is not None:
        raise UserError("--run names one run and --all means every run: give one of them")
    return [Store(first.root, name) for name in runs(first.root)]
