"""No process is ever left behind, and none that is not ours is touched."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tasks.processes.guarded import Guarded, end_orphans, state_dir

TREE = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
time.sleep(600)
"""
OWNER = f"""
import sys, time
from pathlib import Path
from tasks.processes.guarded import Guarded
guarded = Guarded("test tree", [sys.executable, "-c", {TREE!r}], {{}}, Path(sys.argv[1]))
print(guarded.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POP_CACHE", str(tmp_path / "cache"))


def group(pid: int) -> list[int]:
    return [process.pid for process in psutil.process_iter() if _lives_in(process, pid)]


def _lives_in(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False  # it ended while we looked


def soon(condition: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_stop_ends_the_command_and_its_children(tmp_path: Path) -> None:
    guarded = Guarded("tree", [sys.executable, "-c", TREE], {}, tmp_path / "log")
    assert soon(lambda: len(group(guarded.pid)) == 3)
    guarded.stop()
    assert group(guarded.pid) == []
    assert not list((state_dir() / "processes").glob("*.json"))


def test_a_command_that_ignores_sigterm_is_ended_all_the_same(tmp_path: Path) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    guarded = Guarded("stubborn", [sys.executable, "-c", stubborn], {}, tmp_path / "log")
    assert soon(lambda: "up" in (tmp_path / "log").read_text())
    guarded.stop()
    assert group(guarded.pid) == []


def test_the_exit_code_and_the_log_are_the_commands(tmp_path: Path) -> None:
    guarded = Guarded("fails", [sys.executable, "-c", "print('why'); raise SystemExit(7)"], {}, tmp_path / "log")
    assert guarded.wait() == 7
    assert guarded.tail() == "why"


@pytest.mark.parametrize("kill_guardian_too", [False, True])
def test_kill_9_of_the_starter_leaves_nothing_after_the_next_start(tmp_path: Path, kill_guardian_too: bool) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert soon(lambda: len(group(pid)) == 3)
    if kill_guardian_too:
        os.kill(pid, signal.SIGKILL)
    owner.kill()
    owner.wait()
    if kill_guardian_too:
        assert end_orphans() == ["test tree"]
    assert soon(lambda: group(pid) == [])


def test_a_process_whose_starter_lives_is_left_alone(tmp_path: Path) -> None:
    guarded = Guarded("mine", [sys.executable, "-c", "import time; time.sleep(600)"], {}, tmp_path / "log")
    assert end_orphans() == []
    assert guarded.poll() is None
    guarded.stop()
