"""Which runs there are under a root, and which run and round is meant."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec

from schemas.errors import UserError
from schemas.load import did_you_mean
from schemas.names import checked_root
from tasks.storage.manifests import ROUNDS, manifests
from tasks.storage.store import Store, matching


def runs(root: str) -> list[str]:
    """Names of the runs under a root: the folders with a round's manifest."""
    fs, base = fsspec.core.url_to_fs(root)
    found = matching(fs, base.rstrip("/"), f"*/{ROUNDS}")
    return sorted({path.split("/")[-4] for path in found})


def newest_run(root: str) -> str | None:
    """The run whose round was last started or finished; None where there is none."""

    def written(name: str) -> list[tuple[str, str]]:
        return [(str(manifest.get("written", "")), name) for manifest in manifests(Store(root, name))]

    with ThreadPoolExecutor(8) as pool:
        dated = [one for found in pool.map(written, runs(root)) for one in found]
    return max(dated)[1] if dated else None


def absolute(root: str) -> str:
    """A local root as a whole path; a URL as it is.

    Raises:
        UserError: it is empty.
    """
    checked_root(root)
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
    if not all_:
        return [store_of(root, run)]
    if run is not None:
        raise UserError("--run names one run and --all means every run: give one of them")
    if not (known := runs(root := absolute(root))):
        raise UserError(f"there is no run under {root} yet; make one: pop round demo")
    return [Store(root, name) for name in known]
