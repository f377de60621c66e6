"""An object store that refuses, slows down or hangs up in the middle: nothing that is paid for is lost or set aside."""

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.storage import lease as lease_
from tasks.storage.lease import lease
from tasks.storage.store import Store
from tests.conftest import FAKE
from tests.storage.faulty_s3 import FaultyStore


@pytest.fixture
def door(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    """A door before the store; this process's clients are told of it, and ask once."""
    import s3fs

    found = FaultyStore(os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("POP_CACHE", str(tmp_path / "cache"))
    for name, value in {"AWS_ENDPOINT_URL": found.url, "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    yield found
    s3fs.S3FileSystem.clear_instance_cache()
    found.shutdown()
    found.server_close()


def test_a_file_that_the_store_does_not_show_is_not_torn(door: FaultyStore, bucket: str, tmp_path: Path) -> None:
    store = Store(f"{bucket}/{tmp_path.name}", "r")
    store.write("pairs", 0, "shard-00000", [], {"stage": "pair"})
    reads: list[Callable[[], object]] = [
        lambda: store.footer("pairs", 0, "shard-00000"),
        lambda: store.read("pairs", 0, "shard-00000"),
    ]
    for fault, read in itertools.product(("expired", "slow", "broken"), reads):
        door.fault = lambda method, path, fault=fault: fault  # type: ignore[misc]
        with pytest.raises(OSError, match=r"Forbidden|expired|Unavailable|reduce|nternal"):
            read()
    door.fault = lambda method, path: None
    assert store.footer("pairs", 0, "shard-00000") == {"stage": "pair"}


def test_a_holder_goes_on_giving_signs_of_life_after_the_store_was_away(
    door: FaultyStore, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_, "BEAT_SEC", 0.1)
    store = Store(f"{bucket}/{tmp_path.name}", "r")
    with lease(store):
        door.fault = lambda method, path: "drop"
        time.sleep(1)
        door.fault = lambda method, path: None
        before = (store.manifest(f"{store.base}/.lock.json") or {})["beat"]
        over = time.monotonic() + 20
        while (store.manifest(f"{store.base}/.lock.json") or {})["beat"] < before + 2:
            assert time.monotonic() < over, "nobody gives a sign of life"
            time.sleep(0.1)
        door.fault = lambda method, path: "drop"  # and the end is one, too
    door.fault = lambda method, path: None


@pytest.mark.parametrize(("fault", "code"), [("expired", 2), ("slow", 3), ("broken", 3), ("cut", 3)])
def test_a_store_on_a_bad_day_is_one_line(
    door: FaultyStore, bucket: str, tmp_path: Path, cli: Callable[..., tuple[int, str, str]], fault: str, code: int
) -> None:
    root = f"{bucket}/{tmp_path.name}"
    store = Store(root, "r")
    store.write("decisions", 0, "00000-gate", [], {})
    store.publish(f"{store.base}/manifests/round=000/round.json", b"{}")
    door.fault = lambda method, path: fault if "round.json" in path or "00000-gate" in path else None
    ended, _, said = cli("models", "--run", "r", "--root", root)
    assert (ended, len(said.splitlines())) == (code, 1), said
    assert "the object store" in said and "run the same command again" in said


def test_a_round_that_loses_its_store_midway_ends_in_one_line_and_goes_on_from_there(
    door: FaultyStore, bucket: str, tmp_path: Path, fake_root: Path, cli_process: Callable[..., tuple[int, str, str]]
) -> None:  # fmt: skip
    root, written = f"{bucket}/{tmp_path.name}", iter(range(99))
    told = ["round", "demo", "--run", "fake", "--root", root, *(word for one in FAKE for word in ("--set", one))]

    def midway(method: str, path: str) -> str | None:
        return "slow" if method == "PUT" and "/answers/" in path and next(written) else None  # all but the first

    door.fault = midway
    code, _, said = cli_process(*told)
    assert code == 3 and "Traceback" not in said, said
    assert "reduce your request rate" in said and "run the same command again" in said.splitlines()[-1]
    door.fault = lambda method, path: None
    code, _, said = cli_process(*told)
    assert code == 0, said
    for table in ("answers", "ratings", "pairs"):
        assert became(Store(root, "fake"), table) == became(Store(str(fake_root), "fake"), table) != []


def became(store: Store, table: str) -> list[str]:
    """Of the rows of a round's table: what they are about, and what became of them."""
    rows = (row for name in ("shard-00000", "shard-00001") for row in store.read(table, 0, name))
    return sorted(f"{row['problem_id']} {row.get('answer_id')} {row['status']}" for row in rows)
