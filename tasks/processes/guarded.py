"""Starting and ending the heavy processes (engine, trainer) so that none is ever left behind."""

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from schemas.errors import DependencyError, PopError, unwritable
from schemas.names import expanded
from tasks.processes import guardian

T = TypeVar("T")
_LIVE: "set[Guarded]" = set()
_GUARDIAN = str(Path(guardian.__file__).resolve())


def state_dir() -> Path:
    """Where this user's records and caches live: `$POP_CACHE`, else `~/.cache/pop`.

    Raises:
        DependencyError: there is no such home, as in a container whose user has no entry and no HOME.
    """
    named = os.environ.get("POP_CACHE") or "~/.cache/pop"
    if (path := expanded(named)).parts[:1] != Path(named).parts[:1] or not named.startswith("~"):
        return path
    raise DependencyError(f"there is no home for {named}: set HOME, or POP_CACHE to a folder that can be written")


def no_state_dir(path: Path, error: OSError) -> PopError:
    """The one line for records that cannot be written: there is no home, or it is not to be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return unwritable(path, error)
    return DependencyError(f"cannot write {path} ({error.strerror}): set POP_CACHE to a folder that can be written")


@dataclass(frozen=True)
class Record:
    """Who started which guarded process; kept on disk while it runs, so that a later start can end an orphan.

    `boot` names the running system: the records may lie in a home that several machines share.
    """

    boot: str
    pid: int
    started: float
    owner_pid: int
    owner_started: float
    name: str


class Guarded:
    """A running command under its guardian. Its output goes to `log`."""

    def __init__(
        self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path | None = None
    ) -> None:
        self.name, self.log = name, log
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as out:
                self._process = subprocess.Popen(
                    [sys.executable, "-S", _GUARDIAN, *command],
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **env},
                    cwd=cwd,
                    start_new_session=True,
                )
        except OSError as error:
            raise unwritable(log, error) from None
        self._record = _record_path(self._process.pid)
        _LIVE.add(self)
        try:
            _write_record(self._record, self._process.pid, name)
        except OSError as error:
            self.stop()
            raise no_state_dir(self._record, error) from None

    @property
    def pid(self) -> int:
        """The guardian's pid, which is also the process group's."""
        return self._process.pid

    def poll(self) -> int | None:
        """The command's exit code, or None while it runs."""
        code = self._process.poll()
        if code is not None:
            if code < 0:  # the guardian itself was killed, and what it guarded may live
                _kill_group(self._process.pid)
            self._forget()
        return code

    def _forget(self) -> None:
        with contextlib.suppress(OSError):  # on a disk that has become read-only; a later start clears it
            self._record.unlink()
        _LIVE.discard(self)

    def stop(self, timeout_sec: float = 15.0) -> None:
        """End the command and everything it started; returns when all of it is gone."""
        self.ask_to_end()
        try:
            self._process.wait(timeout_sec)
        except subprocess.TimeoutExpired:
            _kill_group(self._process.pid)
            self._process.wait()
        self.poll()

    def ask_to_end(self) -> None:
        """Tell its guardian to end it, and do not wait."""
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()

    def wait(self, timeout_sec: float | None = None, tick: Callable[[], None] | None = None) -> int:
        """Wait for the command's own end, calling `tick` about twice a second.

        Raises:
            DependencyError: it took longer than `timeout_sec`; it has been ended.
        """
        deadline = time.monotonic() + timeout_sec if timeout_sec else None
        try:
            while (code := self.poll()) is None:
                if deadline and time.monotonic() > deadline:
                    raise DependencyError(f"{self.name} did not end within {timeout_sec:.0f} s; its log: {self.log}")
                if tick:
                    tick()
                time.sleep(0.3)
        finally:
            self.stop()
        if tick:
            tick()
        return code

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        return tail(self.log, lines)


def stop_all(timeout_sec: float = 7.0) -> None:
    """End every process that this one has started and that still runs, all at once, within that time."""
    running, deadline = list(_LIVE), time.monotonic() + timeout_sec
    for guarded in running:
        guarded.ask_to_end()
    for guarded in running:
        guarded.stop(max(0.0, deadline - time.monotonic()))


async def in_thread(work: Callable[[], T]) -> T:
    """Wait for blocking work in a thread; if the flow is cancelled, end the processes that it waits for."""
    try:
        return await asyncio.to_thread(work)
    except BaseException:
        stop_all()
        raise


def tail(log: Path, lines: int = 15) -> str:
    """The last non-empty lines of a log file, at most 64 KiB of it read."""
    if not log.exists():
        return "(no log)"
    with log.open("rb") as handle:
        handle.seek(max(0, log.stat().st_size - 65536))
        text = handle.read().decode(errors="replace")
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def _record_path(pid: int) -> Path:
    return state_dir() / "processes" / f"{pid}-{boot()[:8]}.json"


def _write_record(path: Path, pid: int, name: str) -> None:
    record = Record(boot(), pid, started_at(pid) or 0.0, os.getpid(), started_at(os.getpid()) or 0.0, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(record)))


def boot() -> str:
    """The name of this start of this machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return socket.gethostname()


def started_at(pid: int) -> float | None:
    """When a process started, in seconds since the machine did; None where there is no such process.

    Not the time of day: that jumps when somebody sets the clock, and a live process would be taken for another.
    """
    try:
        ticks = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19]
        return int(ticks) / os.sysconf("SC_CLK_TCK")
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except OSError:  # it ended while we looked
        return None
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None


def alive(pid: int, started: float) -> bool:
    """Whether that very process still runs."""
    now = started_at(pid)
    try:
        return now is not None and abs(now - started) < 1.0 and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_another(pid: int, started: float) -> bool:
    """Whether the pid was given to somebody else since (a dead guardian that nobody has waited for is still itself)."""
    now = started_at(pid)
    return now is not None and abs(now - started) >= 1.0


def _kill_group(pid: int) -> list[int]:
    """SIGKILL to every process of the group; returns whom it met."""
    members = _group(pid)
    for member in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)
    return members


def _group(pid: int) -> list[int]:
    members = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == pid and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return members


def end_orphans() -> list[str]:
    """End what a dead controller of this user left running, and nothing else; returns the names of what was ended.

    A process counts as an orphan only if its record names a starter that is gone. The group is matched by the
    guardian's pid; a pid that was given to somebody else since (another start time) is left alone.
    """
    ended = []
    for path in (state_dir() / "processes").glob("*.json"):
        try:
            record = Record(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError, OSError):
            path.unlink(missing_ok=True)
            continue
        if record.boot != boot() or alive(record.owner_pid, record.owner_started):
            continue
        if not _is_another(record.pid, record.started) and _kill_group(record.pid):
            ended.append(record.name)
        path.unlink(missing_ok=True)
    return ended
