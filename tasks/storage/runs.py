"""Which runs there are under a root, and which run and round is meant."""

from concurrent.futures import ThreadPoolExecutor

import fsspec

from schemas.errors import UserError
from schemas.load import did_you_mean
from schemas.names import checked_root, expanded
from tasks.storage.manifests import ROUNDS, manifests
from tasks.storage.snapshot import Snapshot
from tasks.storage.store import Store, matching


def runs(root: str, seen: Snapshot | None = None) -> list[str]:
    """Names of the runs under a root: the folders with a round's manifest."""
    fs, base = fsspec.core.url_to_fs(root)
    found = matching(seen or fs, base.rstrip("/"), f"*/{ROUNDS}")
    return sorted({path.split("/")[-4] for path in found})


def newest_run(root: str, seen: Snapshot | None = None) -> str | None:
    """The run whose round was last started or finished; None where there is none."""
    known = runs(root, seen)
    if seen:
        seen.fetch(path for name in known for path in Store(root, name, seen=seen).glob(ROUNDS))

    def written(name: str) -> list[tuple[str, str]]:
        return [(str(manifest.get("written", "")), name) for manifest in manifests(Store(root, name, seen=seen))]

    with ThreadPoolExecutor(8) as pool:
        dated = [one for found in pool.map(written, known) for one in found]
    return max(dated)[1] if dated else None


def absolute(root: str) -> str:
    """A local root as a whole path; a URL as it is.

    Raises:
        UserError: it is empty.
    """
    checked_root(root)
    return root if "://" in root else str(expanded(root).resolve())


def seen(root: str, run: str | None) -> Snapshot | None:
    """A root in an object store as it is now, or one run of it; None on a disk, where to look costs nothing."""
    if "://" not in root:
        return None
    try:
        fs, base = fsspec.core.url_to_fs(root, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise UserError(f"--root {root}: {error}") from None
    if "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)):
        return None
    if (whole := base.rstrip("/")) and run and fs.exists(f"{whole}/{run}"):
        whole = f"{whole}/{run}"
    return Snapshot(fs, whole)


def store_of(root: str, run: str | None, round_: int | None = None, look: bool = False) -> Store:
    """The store of a run that is there: the one named, or the newest. Who only means to `look` at it says so.

    Raises:
        UserError: there is none, or it has no such round.
    """
    root = absolute(root)
    as_it_is = seen(root, run) if look else None
    if run is None and (run := newest_run(root, as_it_is)) is None:
        raise UserError(f"there is no run under {root} yet; make one: pop round demo")
    if run not in (known := runs(root, as_it_is)):
        raise UserError(
            f"there is no run {run!r} under {root}{did_you_mean(run, known)}; runs: {', '.join(known) or 'none'}"
        )
    store = Store(root, run, seen=as_it_is)
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
    """The store of one run, or those of every run under the root, to look at."""
    if not all_:
        return [store_of(root, run, look=True)]
    if run is not None:
        raise UserError("--run names one run and --all means every run: give one of them")
    as_it_is = seen(root := absolute(root), None)
    if not (known := runs(root, as_it_is)):
        raise UserError(f"there is no run under {root} yet; make one: pop round demo")
    return [Store(root, name, seen=as_it_is) for name in known]
