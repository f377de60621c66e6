"""Runs in an object store: listed once, each file fetched once, and what a round copies for its audits, too."""

from collections import Counter
from collections.abc import Iterator
from io import StringIO
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from rich.console import Console

from flows.views.outcome import print_funnel
from flows.views.show import show
from tasks.storage import snapshot
from tasks.storage.db import Database, kept_copies, local_copies
from tasks.storage.runs import seen, store_of, stores_of
from tasks.storage.snapshot import Snapshot
from tasks.storage.store import Store
from tests import planted

ROOT = "memory://seen/runs"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator["Counter[tuple[str, str]]"]:
    """Two runs in an object store, and what was asked of it since: listings by folder, reads by file."""
    for run in ("one", "two"):
        planted.write(ROOT, run)
    counts = Counter[tuple[str, str]]()
    for name, kind in (("find", "list"), ("cat_file", "read"), ("_open", "read")):
        monkeypatch.setattr(MemoryFileSystem, name, counted(getattr(MemoryFileSystem, name), kind, counts))
    yield counts
    fsspec.filesystem("memory").rm("/seen", recursive=True)


def counted(was: Any, kind: str, counts: "Counter[tuple[str, str]]") -> Any:
    def told(self: Any, path: str, *more: Any, **named: Any) -> Any:
        counts[kind, self._strip_protocol(path)] += "wb" not in (*more, named.get("mode"))
        return was(self, path, *more, **named)

    return told


def most(counts: "Counter[tuple[str, str]]", kind: str) -> int:
    return max((count for (one, _), count in counts.items() if one == kind), default=0)


def test_queries_over_all_runs_list_once_and_read_each_file_once(asked: "Counter[tuple[str, str]]") -> None:
    stores = stores_of(ROOT, None, True)
    base = Database(*stores)
    for query in ("select run, count(*) from answers group by run order by run", "from funnel", "from footers"):
        base.open(query)
        assert base.con.sql(query).fetchall()
    assert asked["list", "/seen/runs"] == sum(count for (kind, _), count in asked.items() if kind == "list") == 1
    assert most(asked, "read") == 1


@pytest.mark.parametrize("run", ["one", None])
def test_the_funnel_and_show_list_once_and_read_each_file_once(
    asked: "Counter[tuple[str, str]]", run: str | None
) -> None:
    told = Console(file=StringIO(), width=150)
    store = store_of(ROOT, run, look=True)
    print_funnel(store, 0, told)
    show(store, "a10.0", None, told)
    assert sum(count for (kind, _), count in asked.items() if kind == "list") == 1 and most(asked, "read") == 1
    there = Console(file=StringIO(), width=150)
    print_funnel(Store(ROOT, store.run), 0, there)
    assert there.file.getvalue() in told.file.getvalue()  # type: ignore[attr-defined]


def test_a_snapshot_is_of_its_moment_and_reads_only(asked: "Counter[tuple[str, str]]") -> None:
    fs = seen(ROOT, None)
    assert isinstance(fs, Snapshot)
    planted.write(ROOT, "three")
    assert {path.split("/")[3] for path in fs.find("/seen/runs")} == {"one", "two"}
    assert not fs.exists("/seen/runs/three") and fs.isdir("/seen/runs/one") and not fs.isdir("/seen/ru")
    with pytest.raises(OSError, match="read only"):
        fs.open("/seen/runs/one/x", "wb")
    with pytest.raises(FileNotFoundError):
        fs.cat_file("/seen/runs/three/x")


def test_large_files_are_read_in_parts(asked: "Counter[tuple[str, str]]", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "WHOLE", 100)
    [store] = stores_of(ROOT, "one", False)
    base = Database(store)
    base.open("from answers")
    assert base.con.execute("select count(*) from answers").fetchone() == (240,)
    assert isinstance(store.fs, Snapshot) and not any(len(kept) > 100 for kept in store.fs._kept.values())


def test_a_round_copies_a_file_once_and_again_when_it_has_changed(asked: "Counter[tuple[str, str]]") -> None:
    store = Store(ROOT, "one")
    with kept_copies(store):
        for _ in range(3):
            with local_copies(store) as [copy]:
                assert copy.local and len(copy.glob("*/round=*/*.parquet")) == len(store.glob("*/round=*/*.parquet"))
        assert most(asked, "read") == 1
        [path] = store.glob("pairs/round=*/*.parquet")
        store.fs.rm(path)
        store.write("answers", 0, "shard-00009", [], {})
        with local_copies(store) as [copy]:
            assert not copy.glob("pairs/round=*/*.parquet") and len(copy.glob("answers/*/shard-00009.parquet")) == 1
        assert most(asked, "read") == 1
    with local_copies(store) as [copy]:
        pass
    assert most(asked, "read") == 2
