"""Models that lie in an object store: sent whole or not at all, fetched once a machine, and never other bytes."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import DependencyError, UserError
from schemas.load import PROJECT
from tasks.models import fetching, serve_fetched
from tasks.models.contents import MANIFEST
from tasks.models.fetching import cache, fetch
from tasks.models.sending import send
from tasks.storage.store import Store

SLOW = """
import sys, time
from pathlib import Path
from tasks.models import fetching, pace, sending
from tasks.storage.store import Store
pace.EVERY_SEC, fetching.PART = 0, 1 << 16
wait = lambda _: time.sleep(0.2)
if sys.argv[1] == "send":
    sending.send(Path(sys.argv[2]), Store(sys.argv[3], "run"), 0, sys.argv[4], wait)
else:
    fetching.fetch(sys.argv[2], wait)
"""
Machine = Callable[[str], None]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Be a machine of that name: each has a cache of its own."""

    def be(name: str) -> None:
        monkeypatch.setenv("POP_CACHE", str(tmp_path / name))

    be("first")
    return be


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of a model: two files of weights of a megabyte, and what is beside them."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name, size in (("model-1.safetensors", 1 << 20), ("model-2.safetensors", 1 << 20), ("tokenizer.json", 999)):
        (folder / name).write_bytes(os.urandom(size))
    (folder / "config.json").write_text("{}")
    return folder


def sha256(folder: Path) -> str:
    return hashlib.sha256(b"".join(one.read_bytes() for one in sorted(folder.glob("*.safetensors")))).hexdigest()


def files(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in folder.iterdir() if one.name != MANIFEST}


def sent(model: Path, store: Store, said: list[str] | None = None) -> str:
    """The URL of the model, once it is there."""
    place = send(model, store, 0, sha256(model), (said if said is not None else []).append)
    return f"{store.root}/{place}"


@pytest.fixture(params=["s3", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "memory":
        return Store(f"memory://{tmp_path.name}", "run")
    return Store(f"{request.getfixturevalue('bucket')}/{tmp_path.name}", "run")


@pytest.fixture
def s3(bucket: str, tmp_path: Path) -> Store:
    return Store(f"{bucket}/{tmp_path.name}", "run")


def test_another_machine_fetches_it_once_and_the_first_not_at_all(model: Path, store: Store, machine: Machine) -> None:
    url, said = sent(model, store), list[str]()
    assert files(fetch(url, said.append)) == files(model) and said == []  # it was made here
    machine("second")
    found = fetch(url, said.append)
    assert files(found) == files(model) and [line for line in said if line.startswith("fetching the model")] == said
    store.fs.rm(store.base, recursive=True)
    assert fetch(url, said.append) == found and len(said) == 1
    assert sorted(one.name for one in cache().iterdir() if one.suffix != ".lock") == [found.name]


@contextmanager
def down(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As long as this lasts, no store answers."""
    import s3fs

    with monkeypatch.context() as for_now:
        for_now.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        for_now.setattr(s3fs.S3FileSystem, "retries", 1)
        s3fs.S3FileSystem.clear_instance_cache()
        yield
    s3fs.S3FileSystem.clear_instance_cache()


def killed(until: Callable[[], bool], *arguments: str) -> None:
    """Run the slow one until that comes true, and kill it."""
    process = subprocess.Popen([sys.executable, "-c", SLOW, *arguments], cwd=PROJECT)
    over = time.monotonic() + 60
    while not until():
        assert process.poll() is None and time.monotonic() < over
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_upload_is_no_model_and_goes_on(model: Path, s3: Store, machine: Machine) -> None:
    def begun() -> bool:
        return bool(s3.fs.glob(f"{s3.base}/training/*/*/*"))

    killed(begun, "send", str(model), s3.root, sha256(model))
    [place] = s3.fs.glob(f"{s3.base}/training/*/*")
    there = {name.rpartition("/")[2] for name in s3.fs.ls(place, detail=False)}
    assert there and not there & {MANIFEST, "config.json"}
    machine("second")
    with pytest.raises(UserError, match=r"holds no whole model .* not sent to its end"):
        fetch(f"s3://{place}", print)
    machine("first")
    said: list[str] = []
    url = sent(model, s3, said)
    assert "of it are there" in said[0]
    machine("second")
    assert files(fetch(url, print)) == files(model)


def test_a_killed_fetch_leaves_no_model_and_goes_on_where_it_stopped(
    model: Path, s3: Store, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As huggingface_hub's 3371 and 3007 tell of: nor does one that finds the store down take the half for all."""
    url, said = sent(model, s3), list[str]()
    machine("second")

    def begun() -> bool:
        return any(one.stat().st_size for one in cache().glob(".*.part/*.safetensors"))

    killed(begun, "fetch", url)
    with down(monkeypatch), pytest.raises(DependencyError, match=r"cannot be fetched .*look at the network"):
        fetch(url, print)
    assert [one for one in cache().iterdir() if not one.name.startswith(".")] == []
    assert files(fetch(url, said.append)) == files(model) and "of it are here" in said[0]
    assert not list(cache().glob(".*.part"))


@pytest.mark.parametrize("name", ["model-1.safetensors", "tokenizer.json"])
def test_a_flipped_byte_is_found_in_the_store_and_in_the_cache(
    name: str, model: Path, s3: Store, machine: Machine
) -> None:
    url, said = sent(model, s3), list[str]()
    machine("second")
    path, whole = f"{s3.fs._strip_protocol(url)}/{name}", (model / name).read_bytes()
    flipped = whole[:500] + bytes([whole[500] ^ 1]) + whole[501:]
    s3.fs.pipe_file(path, flipped)
    with pytest.raises(DependencyError, match=rf"{name} is damaged in the store"):
        fetch(url, print)
    assert [one for one in cache().iterdir() if not one.name.startswith(".")] == []
    s3.fs.pipe_file(path, whole)
    found = fetch(url, print)
    (found / name).write_bytes(flipped)
    assert files(fetch(url, said.append)) == files(model)
    assert "is damaged (" in said[0] and "it is fetched again" in said[0]


def test_what_is_missing_damaged_or_too_large_is_one_line(model: Path, s3: Store, machine: Machine) -> None:
    url = sent(model, s3)
    machine("second")
    manifest = f"{s3.fs._strip_protocol(url)}/{MANIFEST}"
    told = s3.fs.cat_file(manifest)
    for content, error, says in (
        (told.replace(b'"size": 999', b'"size": 999000000000000000'), UserError, "the disk is full: .* POP_CACHE"),
        (told.replace(b"tokenizer.json", b"../../tokenizer"), DependencyError, "is damaged, or of another version"),
        (told[:50], DependencyError, "is damaged, or of another version"),
        (told.replace(sha256(model).encode(), b"0" * 64), DependencyError, "is damaged, or of another version"),
    ):
        s3.fs.pipe_file(manifest, content)
        with pytest.raises(error, match=says):
            fetch(url, print)
    with pytest.raises(UserError, match=r"models\.policy\.path: nosuch://x"):
        fetch("nosuch://x/y", print, "models.policy.path")
    for nothing in (f"{url}x", "s3://of-nobody/model"):
        with pytest.raises(UserError, match="there is nothing at"):
            fetch(nothing, print)


def test_an_object_that_is_shorter_than_it_was_sent_is_told(model: Path, s3: Store, machine: Machine) -> None:
    """As mlcommons' storage 593 tells of: a store may have lost a part of what it took."""
    url = sent(model, s3)
    machine("second")
    s3.fs.pipe_file(
        f"{s3.fs._strip_protocol(url)}/model-2.safetensors", (model / "model-2.safetensors").read_bytes()[:-9]
    )
    for _ in range(2):
        with pytest.raises(DependencyError, match=r"gave \d+ bytes where \d+ were asked for"):
            fetch(url, print)
    assert [one for one in cache().iterdir() if not one.name.startswith(".")] == []


def test_markers_of_folders_are_no_files(model: Path, s3: Store, machine: Machine) -> None:
    """As mlflow's 1458 tells of: consoles and mounts put an empty object at the name of a folder."""
    url = sent(model, s3)
    for place in (f"{url}/", f"{s3.root}/base/", f"{s3.root}/base/deep/"):
        bucket, _, key = place.removeprefix("s3://").partition("/")
        s3.fs.call_s3("put_object", Bucket=bucket, Key=key, Body=b"")
    s3.fs.put(f"{model}/", f"{s3.root}/base", recursive=True)
    machine("second")
    assert files(fetch(url, print)) == files(fetch(f"{s3.root}/base", print)) == files(model)
    assert sent(model, s3) == url


def test_those_who_come_at_once_fetch_it_once(model: Path, s3: Store, machine: Machine) -> None:
    url, said, found = sent(model, s3), list[str](), list[Path]()
    machine("second")
    threads = [threading.Thread(target=lambda: found.append(fetch(url, said.append))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(found)) == 1 and sum(line.startswith("fetching") for line in said) == 1


def test_a_folder_that_somebody_else_has_put_there_is_fetched_too(model: Path, s3: Store, machine: Machine) -> None:
    at = f"{s3.root}/base"
    s3.fs.put(f"{model}/", s3.fs._strip_protocol(at), recursive=True)
    found = fetch(at, print)
    assert files(found) == files(model) and fetch(at, print) == found
    s3.fs.pipe_file(f"{s3.fs._strip_protocol(at)}/config.json", b'{"new": 1}')
    assert files(fetch(at, print))["config.json"] == b'{"new": 1}'


def test_weights_that_changed_since_their_check_are_not_sent(model: Path, s3: Store, machine: Machine) -> None:
    with pytest.raises(DependencyError, match="not those that were checked"):
        send(model, s3, 0, "0" * 64, print)
    assert not s3.fs.exists(s3.base)


def test_a_node_fetches_what_it_serves(model: Path, s3: Store, machine: Machine) -> None:
    url = sent(model, s3)
    machine("node")
    show = "import sys, pathlib; print(sorted(p.name for p in pathlib.Path(sys.argv[1]).iterdir()))"
    command = serve_fetched.command(url, [sys.executable, "-c", show, serve_fetched.MODEL])
    done: Any = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd="/")
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == str(sorted([*files(model), MANIFEST])), done
    assert fetching.cache().is_dir()
    gone = serve_fetched.command(f"{url}x", [sys.executable, "-c", show, serve_fetched.MODEL])
    done = subprocess.run(gone, capture_output=True, text=True, timeout=60, check=False, cwd="/")
    assert done.returncode == 2 and "there is nothing at" in done.stderr and done.stderr.count("\n") == 1
