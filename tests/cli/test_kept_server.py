"""A Prefect server is started once and left to the next commands; nothing but what was said is left behind."""

import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.settings import get_current_settings
from rich.console import Console

from flows.cli import keeper, kept_server
from schemas.errors import UserError
from schemas.load import PROJECT

# what a round does with the server, without the round
USE = """
import sys
from flows.cli import kept_server
from flows.cli.options import err
from flows.cli.prefect_there import require_prefect
kept_server.begin(err); kept_server.ready(err); require_prefect()
from prefect.settings import PREFECT_API_URL
print(PREFECT_API_URL.value(), flush=True); sys.stdin.read()
"""


@pytest.fixture
def env(tmp_path: Path, prefect_server: None) -> Iterator[dict[str, str]]:
    """A home and a cache of the test's own, with a database that is migrated; at the end no keeper is left."""
    home, cache = tmp_path / "home", tmp_path / "cache"
    home.mkdir()
    url = get_current_settings().server.database.connection_url
    source = url.get_secret_value().partition(":///")[2] if url else ""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(home / "prefect.db")) as new:
        old.backup(new)
    without = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_API", "PREFECT_SERV"))
    }
    yield without | {
        "POP_CACHE": str(cache),
        "PREFECT_HOME": str(home),
        "POP_KEEP_SERVER_SEC": "600",
        "SECRET": "s3cr3t",
    }
    for record in cache.glob("prefect/*/server.json"):
        psutil.Process(json.loads(record.read_text())["pid"]).kill()


def use(env: dict[str, str], program: str = USE) -> "subprocess.Popen[str]":
    """A command that uses a server until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", program], env=env, cwd=PROJECT, text=True, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def address(command: "subprocess.Popen[str]") -> str:
    assert command.stdout
    return command.stdout.readline().strip()


def lives(process: psutil.Process) -> bool:
    """Whether it runs; where nobody waits for orphans, an ended one stays as a zombie."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def soon(condition: Callable[[], bool], seconds: float = 30) -> bool:
    over = time.monotonic() + seconds
    while not condition() and time.monotonic() < over:
        time.sleep(0.05)
    return condition()


def pop_server(env: dict[str, str], *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "flows.cli", "server", *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def test_commands_share_one_server_which_a_signal_does_not_reach_and_which_ends_when_told(env: dict[str, str]) -> None:
    first, second = use(env), use(env)
    assert address(first) == address(second) != ""
    [record] = Path(env["POP_CACHE"]).glob("prefect/*/server.json")
    held = psutil.Process(json.loads(record.read_text())["pid"])
    assert "SECRET" not in held.environ()  # it outlives the command: no keys in it
    code, said = pop_server(env, "--stop")
    assert code == 2 and "a command uses it" in said and lives(held)
    os.killpg(first.pid, signal.SIGINT)
    second.kill()
    for command in (first, second):
        _, err = command.communicate(timeout=60)
        assert "`pop server --stop` ends it" in err
    assert lives(held) and f"process {held.pid}: ends 600 s after" in pop_server(env)[1]
    assert pop_server(env, "--stop")[1].endswith("ended\n")
    assert not lives(held) and not record.exists()
    assert "no Prefect server is kept" in pop_server(env)[1]


def test_a_killed_keeper_leaves_nothing_and_an_unused_one_ends(env: dict[str, str]) -> None:
    only_ready = USE.replace("kept_server.begin(err); ", "")  # as a benchmark's, which is no command of `pop`
    first = use(env | {"POP_KEEP_SERVER_SEC": "600"}, only_ready)
    before = address(first)
    [record] = Path(env["POP_CACHE"]).glob("prefect/*/server.json")
    killed = psutil.Process(json.loads(record.read_text())["pid"])
    assert not killed.children(recursive=True)
    killed.kill()
    first.communicate()
    assert record.exists()  # stale, and not believed
    second = use(env | {"POP_KEEP_SERVER_SEC": "1"})
    assert address(second) not in ("", before)
    kept = psutil.Process(json.loads(record.read_text())["pid"])
    time.sleep(2)
    assert lives(kept)  # as long as it is used
    second.communicate()
    assert soon(lambda: not lives(kept)) and not record.exists()


# What is believed of a record


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A record whose keeper lives: this process."""
    monkeypatch.setenv("POP_CACHE", str(tmp_path))
    path = tmp_path / "prefect/key"
    path.mkdir(parents=True)
    (tmp_path / "prefect.db").touch()
    database = str(tmp_path / "prefect.db")
    record = {"pid": 1, "address": "http://127.0.0.1:1", "place": kept_server.place(), "idle_sec": 600, "since": 0,
              "database": database, "file": keeper.identity(database)}  # fmt: skip
    (path / keeper.RECORD).write_text(json.dumps(record))
    want = kept_server.Wanted(path, database, {}, 600.0)
    monkeypatch.setattr(kept_server, "wanted", lambda: want)
    monkeypatch.setattr(kept_server, "_start", lambda *_: False)
    monkeypatch.setattr(kept_server, "_held", [])
    with (path / keeper.KEEPER).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path


def test_a_record_is_believed_while_its_keeper_lives(folder: Path) -> None:
    assert kept_server.record(folder) and kept_server.lives(folder)
    (folder / keeper.KEEPER).unlink()
    (folder / keeper.KEEPER).touch()
    assert kept_server.record(folder) is None


def test_a_server_whose_database_was_deleted_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[Any] = []
    monkeypatch.setattr(kept_server, "end", lambda *given: ended.append(given))
    kept_server.begin(Console(quiet=True))
    assert not ended
    (folder.parents[1] / "prefect.db").unlink()
    kept_server.begin(Console(quiet=True))
    assert ended


def test_a_database_that_is_no_file_has_no_identity_that_could_change() -> None:
    assert keeper.identity("") is None  # and not that of the folder where one stands


def test_a_server_of_another_machine_or_container_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [found for found, *_ in kept_server.kept()] == [folder]
    monkeypatch.setattr(kept_server, "place", lambda: "elsewhere")
    assert kept_server.kept() == []  # nor ended: its pid may be anybody's here
    before = os.environ.get("PREFECT_API_URL")
    kept_server.ready(Console(quiet=True))
    assert os.environ.get("PREFECT_API_URL") == before


@pytest.mark.parametrize(("given", "seconds"), [("", 600.0), ("0", 0.0), ("90", 90.0)])
def test_for_how_long_a_server_is_kept(given: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kept_server.KEEP, given)
    assert kept_server.keep_sec() == seconds


@pytest.mark.parametrize("given", ["never", "-1", "nan", "inf"])
def test_what_is_no_time_is_said(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kept_server.KEEP, given)
    with pytest.raises(UserError, match="give seconds"):
        kept_server.keep_sec()
