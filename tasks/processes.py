"""Starting and ending the heavy processes (engine, trainer) so that none is ever left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from schemas.errors import DependencyError
from tasks import guardian

_LIVE: "set[Guarded]" = set()
_GUARDIAN = str(Path(guardian.__file__).resolve())


def state_dir() -> Path:
    """Where this user's records and caches live: `$POP_CACHE`, else `~/.cache/pop`."""
    return Path(os.environ.get("POP_CACHE", "~/.cache/pop")).expanduser()


@dataclass(frozen=True)
class Record:
    """Who started which guarded process; kept on disk while it runs, so that a later start can end an orphan."""

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
        log.parent.mkdir(parents=True, exist_ok=True)
        self.name, self.log = name, log
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
        self._record = _write_record(self._process.pid, name)
        _LIVE.add(self)

    @property
    def pid(self) -> int:
        """The guardian's pid, which is also the process group's."""
        return self._process.pid

    def poll(self) -> int | None:
        """The command's exit code, or None while it runs."""
        code = self._process.poll()
        if code is not None:
            self._forget()
        return code

    def _forget(self) -> None:
        self._record.unlink(missing_ok=True)
        _LIVE.discard(self)

    def stop(self, timeout_sec: float = 15.0) -> None:
        """End the command and everything it started; returns when all of it is gone."""
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(timeout_sec)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._forget()

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


def stop_all() -> None:
    """End every process that this one has started and that still runs."""
    for guarded in list(_LIVE):
        guarded.stop()


def tail(log: Path, lines: int = 15) -> str:
    """The last non-empty lines of a log file, at most 64 KiB of it read."""
    if not log.exists():
        return "(no log)"
    with log.open("rb") as handle:
        handle.seek(max(0, log.stat().st_size - 65536))
        text = handle.read().decode(errors="replace")
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def _write_record(pid: int, name: str) -> Path:
    own = psutil.Process()
    record = Record(pid, psutil.Process(pid).create_time(), own.pid, own.create_time(), name)
    path = state_dir() / "processes" / f"{pid}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(record)))
    return path


def _alive(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return bool(abs(process.create_time() - started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _is_another(pid: int, started: float) -> bool:
    """Whether the pid was given to somebody else since (a dead guardian that nobody has waited for is still itself)."""
    try:
        return abs(psutil.Process(pid).create_time() - started) >= 1.0
    except psutil.NoSuchProcess:
        return False


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
            record = Record(**json.loads(path.read_text()))
        except (ValueError, TypeError, OSError):
            path.unlink(missing_ok=True)
            continue
        if _alive(record.owner_pid, record.owner_started):
            continue
        members = [] if _is_another(record.pid, record.started) else _group(record.pid)
        for pid in members:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if members:
            ended.append(record.name)
        path.unlink(missing_ok=True)
    return ended
