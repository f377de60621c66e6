"""Which runs there are under a root."""

from glob import escape
from typing import Any

import fsspec

from tasks.store import Store


def runs(root: str) -> list[str]:
    """Names of the runs under a root: the folders with a round's manifest."""
    fs, base = fsspec.core.url_to_fs(root)
    found = fs.glob(f"{escape(base.rstrip('/'))}/*/manifests/round=*/round.json")
    return sorted({path.split("/")[-4] for path in found})


def newest_run(root: str) -> str | None:
    """The run whose round was last started or finished; None where there is none."""
    dated = [(manifest["written"], name) for name in runs(root) for manifest in manifests(Store(root, name))]
    return max(dated)[1] if dated else None


def manifests(store: Store) -> list[dict[str, Any]]:
    """The manifests of a run's rounds, oldest round first; a damaged one is as good as none."""
    found = [store.manifest(path) for path in store.glob("manifests/round=*/round.json")]
    return [manifest for manifest in found if manifest]
