"""Faults of the machine: real small and read-only file systems, in a mount namespace of the test's own."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from schemas.load import PROJECT
from tasks.engine.fake import FakeEngine
from tasks.processes.guarded import Guarded, end_orphans, started_at
from tasks.storage.store import Store
from tests.chaos.harness import contents
from tests.engine.samples import DOCUMENTS, plan_with, proposed

pytestmark = pytest.mark.usefixtures("own_records")


def mountable() -> bool:
    """Whether this user may mount a file system that only it can see."""
    if not shutil.which("unshare"):
        return False
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


needs_mount = pytest.mark.skipif(not mountable(), reason="this user may not mount a file system of its own")
MINE = ("engine.kind=fake", "corpus.documents=8", "corpus.documents_per_shard=4", "engine.max_model_len=8192")
ROUND = [sys.executable, "-m", "flows.cli", "round", "demo", "--run", "fake"]
ROUND += [word for one in MINE for word in ("--set", one)]


def in_namespace(script: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a shell script that may mount."""
    command = ["unshare", "-rm", "sh", "-c", script]
    return subprocess.run(command, env=os.environ | env, capture_output=True, text=True, timeout=300, check=False)


@needs_mount
@pytest.mark.parametrize("kib", [4, 200])
def test_a_disk_that_fills_up_is_one_line_and_with_more_room_the_round_goes_on(
    tmp_path: Path, fake_root: Path, prefect_env: dict[str, str], kib: int
) -> None:
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    command = " ".join(f"'{word}'" for word in [*ROUND, "--root", str(disk)])
    done = in_namespace(
        f"mount -t tmpfs -o size={kib}k none {disk}; {command} 2> {tmp_path}/err; echo $?;"
        f"mount -o remount,size=100m {disk}; {command} > /dev/null; echo $?; cp -r {disk} {copy}",
        prefect_env,
    )
    error = (tmp_path / "err").read_text()
    assert done.stdout.split() == ["2", "0"], error + done.stderr[-2000:]
    assert "the disk is full" in error.strip().splitlines()[-1] and "Traceback" not in error
    assert contents(copy, "fake") == contents(fake_root, "fake")


WRITERS = """
import json, os, sys
from pathlib import Path
disk = Path(sys.argv[1])
from schemas.errors import PopError
from tasks.engine.protocol import Generation
from tasks.engine.journal import Journal
from tasks.staging.reconcile import reconcile
from tasks.storage.lock import run_lock
from tasks.processes.guarded import Guarded
from tasks.storage.store import Store
os.environ["POP_CACHE"] = str(disk / "cache")
store = Store(str(disk), "r")
for name in ("journal", "processes"):
    (disk / name).mkdir()
(disk / "cache/processes").mkdir(parents=True)
(disk / "r/pairs/round=000").mkdir(parents=True)
(disk / "r/manifests").mkdir(parents=True)
os.system(sys.argv[2])

def lock():
    with run_lock(store):
        pass

call = Generation("g", "s", "answer", "m", "e", [], "{}", "x" * 9000, "stop", 1, 1, 0.1, 0)
writers = {
    "table": lambda: store.write("pairs", 0, "shard-00000", [], {}),
    "manifest": lambda: store.publish(f"{store.base}/manifests/round.json", b"{}"),
    "journal": lambda: Journal(disk / "journal/j").add(call),
    "lock": lock,
    "log": lambda: Guarded("sleeper", ["sleep", "60"], {}, disk / "deep/log"),
    "record": lambda: Guarded("sleeper", ["sleep", "60"], {}, Path("/dev/null")),
}
for name, write in writers.items():
    try:
        write()
        print(name, "-", "written")
    except PopError as error:
        print(name, error.exit_code, error)
print(sorted(path.name for path in disk.rglob("*.parquet")), os.system("pgrep -P %d sleep" % os.getpid()) != 0)
"""


@needs_mount
@pytest.mark.parametrize(
    ("fill", "code", "says"),
    [("cat /dev/zero > {disk}/fill 2> /dev/null", "2", "the disk is full"),
     ("mount -o remount,ro {disk}", "3", "cannot write")],
)  # fmt: skip
def test_every_kind_of_file_that_cannot_be_written_is_one_line_and_leaves_nothing_half(
    tmp_path: Path, fill: str, code: str, says: str
) -> None:
    disk, script = tmp_path / "disk", tmp_path / "writers.py"
    disk.mkdir()
    script.write_text(WRITERS)
    command = f"'{sys.executable}' {script} {disk} '{fill.format(disk=disk)}'"
    done = in_namespace(f"mount -t tmpfs -o size=1m none {disk}; {command}", {"PYTHONPATH": str(PROJECT)})
    *lines, left = done.stdout.strip().splitlines()
    assert [line.split()[0] for line in lines] == ["table", "manifest", "journal", "lock", "log", "record"], done.stderr
    for line in lines:
        assert line.split()[1] == code and says in line, line
    assert left == "[] True"


@needs_mount
def test_a_read_only_root_cannot_be_written_and_can_be_read(
    tmp_path: Path, fake_root: Path, prefect_env: dict[str, str]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    pop = f"'{sys.executable}' -m flows.cli"
    round_ = " ".join(f"'{word}'" for word in [*ROUND, "--root", str(disk)])
    done = in_namespace(
        f"mount --bind {fake_root} {disk}; mount -o remount,bind,ro {disk};"
        f"{pop} status --root {disk} > /dev/null; echo $?;"
        f"{pop} sql 'select * from funnel' --root {disk} > /dev/null; echo $?; {round_} > /dev/null; echo $?",
        prefect_env,
    )
    assert done.stdout.split() == ["0", "0", "3"], done.stderr
    assert "cannot write in" in done.stderr and "choose another --root" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_clock_that_jumps_makes_nobody_an_orphan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = Guarded("mine", [sys.executable, "-c", "import time; time.sleep(600)"], {}, tmp_path / "log")
    real = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: real(process) + 3600.0)  # as after a clock set
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert end_orphans() == [] and guarded.poll() is None
    assert started_at(os.getpid()) == started_at(os.getpid())
    with FakeEngine() as engine:
        rows = proposed(engine.url, Store(str(tmp_path), "r"), plan_with())
    assert len(rows) == len(DOCUMENTS)
    guarded.stop()
