"""A run in an object store: a real S3-compatible server on loopback, whole rounds, and one writer at a time."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from flows.round import round_flow
from schemas.errors import DependencyError, UserError
from schemas.load import PROJECT
from tasks.storage import lease as lease_
from tasks.storage.lease import holder, lease
from tasks.storage.lock import run_lock
from tasks.storage.runs import newest_run
from tasks.storage.store import Store
from tests.chaos.harness import contents
from tests.conftest import fake_config


@pytest.fixture(autouse=True)
def own_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POP_CACHE", str(tmp_path / "cache"))


def test_a_round_in_an_object_store_has_the_same_rows_and_no_reader_ever_sees_half_a_file(
    bucket: str, fake_root: Path, prefect_server: None
) -> None:
    over, seen, broken = threading.Event(), set[str](), list[str]()

    def read() -> None:
        store = Store(bucket, "fake")
        while not over.is_set():
            for path in store.glob("*/round=*/*.parquet"):
                time.sleep(0.05)
                try:
                    store.read_file(path)
                    seen.add(path)
                except FileNotFoundError:
                    continue
                except (pa.ArrowException, DependencyError) as error:
                    broken.append(f"{path}: {error}")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        run_at(bucket, "rubric.max_criteria=2")
        run_at(bucket)
    finally:
        over.set()
        reader.join()
    assert len(seen) > 10 and not broken
    assert contents(bucket, "fake") == contents(fake_root, "fake")
    store = Store(bucket, "fake")
    assert not store.fs.exists(f"{store.base}/.lock.json")
    assert store.glob("superseded/rubrics/round=000/*.parquet")
    assert newest_run(bucket) == "fake"


def run_at(root: str, *overrides: str) -> None:
    """One round on the fake engine."""
    asyncio.run(round_flow(fake_config(*overrides), run="fake", root=root))


# One writer


HOLD = """
import sys, time
from tasks.storage.lock import run_lock
from tasks.storage.store import Store
with run_lock(Store(sys.argv[1], "held")):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def held(bucket: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the run."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, bucket], stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    assert process.stdout and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_live_holder_is_named_and_a_dead_ones_run_is_taken_over(bucket: str, held: subprocess.Popen[str]) -> None:
    store = Store(bucket, "held")
    with pytest.raises(UserError, match=f"in use by process {held.pid} on "), lease(store):
        pass
    held.kill()
    held.wait()
    with run_lock(store):
        pass


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_, "BEAT_SEC", 0.1)
    monkeypatch.setattr(lease_, "DEAD_SEC", 0.8)


@pytest.mark.parametrize("root", ["bucket", "memory"])
def test_a_holder_on_another_machine_lives_as_long_as_it_gives_signs_of_life(
    root: str, bucket: str, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(bucket if root == "bucket" else f"memory://{tmp_path.name}", "far")
    said: list[str] = []
    with monkeypatch.context() as elsewhere, lease(store):
        elsewhere.setattr(lease_, "boot", lambda: "another machine")
        with pytest.raises(UserError, match="in use by process"), lease(store, said.append):
            pass
    assert "is it alive?" in said[0]
    store.fs.pipe_file(f"{store.base}/.lock.json", str(holder() | {"boot": "gone"}).replace("'", '"').encode())
    with lease(store):
        assert store.manifest(f"{store.base}/.lock.json")
    assert not store.fs.exists(f"{store.base}/.lock.json")


def test_who_was_taken_for_dead_writes_no_more(bucket: str, quick: None) -> None:
    store = Store(bucket, "lost")
    with lease(store):
        store.fs.pipe_file(f"{store.base}/.lock.json", b'{"token": "of another"}')
        assert soon(lambda: store.lost is not None)
        with pytest.raises(DependencyError, match="took this process for dead"):
            store.write("pairs", 0, "shard-00000", [], {})
    assert store.manifest(f"{store.base}/.lock.json") == {"token": "of another"}


def soon(condition: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()
