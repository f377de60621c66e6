"""Which runs there are under a root."""

from glob import escape

import fsspec

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
