"""The Prefect server of a command where no PREFECT_API_URL is set: found or started, and left to the next commands.

To start one takes 4 s of a core (10 where its database is new), which is more than a small round. `keeper` is the
process that holds it. Which server is the right one follows from Prefect's home, its version and its settings of a
server, the database among them: each such set has a folder of its own.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from rich.console import Console

from flows.cli import keeper
from flows.cli.prefect_there import named, require_prefect
from schemas.errors import DependencyError, UserError
from tasks.processes.guarded import boot, no_state_dir, state_dir, tail

KEEP = "POP_KEEP_SERVER_SEC"
KEEP_SEC = 600.0
START_SEC = 180.0
END = "`pop server --stop` ends it"
_PASSED = ("PREFECT_", "PYTHON", "LC_", "XDG_", "PG", "SSL_")  # beside these, no key of a user's is left in a process
_ALSO = ("HOME", "PATH", "TMPDIR", "LANG", "TZ", "USER", "LOGNAME", "VIRTUAL_ENV", "DO_NOT_TRACK", "REQUESTS_CA_BUNDLE")


@dataclass(frozen=True)
class Wanted:
    """The server that this command's settings ask for."""

    folder: Path
    database: str  # its file; empty where it is none
    env: dict[str, str]
    idle_sec: float


_held: list[IO[str]] = []  # what says that this process uses a server, until its end
_started = set[Path]()  # the folders that this process has started a keeper of


def keep_sec() -> float:
    """For how long a server is kept after its last use; 0: Prefect's own way, one for each command.

    Raises:
        UserError: it is no number of seconds.
    """
    given = os.environ.get(KEEP) or str(KEEP_SEC)
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e7:
        raise UserError(f"{KEEP}={given}: give seconds, such as 600; with 0 no Prefect server is kept")
    return seconds


def wanted() -> Wanted | None:
    """What to find or start; None where a server is named, or none is to be kept."""
    import prefect
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url or not settings.server.ephemeral.enabled or not (idle_sec := keep_sec()):
        return None
    env = settings.to_environment_variables(exclude_unset=True) | {"PREFECT_HOME": str(settings.home.absolute())}
    env = {name: value for name, value in env.items() if name.startswith(("PREFECT_SERVER_", "PREFECT_HOME"))}
    url = settings.server.database.connection_url
    address = url.get_secret_value() if url else ""
    database = address.partition(":///")[2].partition("?")[0] if address.startswith("sqlite") else ""
    if database and not database.startswith("/"):
        return None  # in memory, or it depends on where one stands
    settled = [prefect.__version__, sys.prefix, socket.gethostname(), os.getuid(), address, keeper.IDLE_SERVICES, env]
    key = hashlib.sha256(json.dumps(settled, sort_keys=True).encode()).hexdigest()[:16]
    return Wanted(_folders() / key, database, {**_passed(), **env, **keeper.IDLE_SERVICES}, idle_sec)


def begin(err: Console) -> None:
    """Ask the server that is named whether it is there, or start one, and do not wait: much is still to be imported.

    Raises:
        PopError: Prefect cannot be used; see `require_prefect`.
    """
    require_prefect()
    _make_folder(state_dir())  # also where processes and models are recorded
    if want := wanted():
        _make_folder(want.folder)
        _held.append(users := (want.folder / keeper.USERS).open("w"))
        fcntl.flock(users, fcntl.LOCK_SH)  # from here on its keeper does not end by itself
        found = record(want.folder)
        if found and found["place"] == place() and found["file"] != keeper.identity(found["database"]):
            err.print("the database of the kept Prefect server is gone: it is started anew", style="dim")
            end(want.folder, found)
        _start(want, err)


def ready(err: Console) -> None:
    """Wait until it answers, and let Prefect use it.

    Raises:
        PopError: it did not start, or cannot be used.
    """
    if (want := wanted()) and not _held:
        begin(err)  # a program other than `pop`, which began before its imports
    if want and (found := _waited_for(want, err))["place"] == place():
        os.environ["PREFECT_API_URL"] = f"{found['address']}/api"
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()
        require_prefect()
        err.print(f"Prefect: {found['address']} ({END})", style="dim", markup=False, soft_wrap=True)
    elif url := named():
        err.print(f"Prefect: {url.removesuffix('/').removesuffix('/api')}", style="dim", markup=False, soft_wrap=True)
    else:
        err.print("starting Prefect …", style="dim")


def _waited_for(want: Wanted, err: Console) -> dict[str, Any]:
    over, tried = time.monotonic() + START_SEC, want.folder in _started
    while (found := record(want.folder)) is None:
        if not lives(want.folder) and record(want.folder) is None:
            if tried:
                raise _not_started(want, "did not start")
            tried = _start(want, err)  # the one that was there has ended since
        if time.monotonic() > over:
            raise _not_started(want, f"did not start within {START_SEC:.0f} s")
        time.sleep(0.05)
    return found


def _not_started(want: Wanted, what: str) -> DependencyError:
    log = want.folder / keeper.LOG
    return DependencyError(
        f"the Prefect server {what}: {tail(log, 1)} (its log: {log}). Mend it, or name a server in PREFECT_API_URL"
    )


def _start(want: Wanted, err: Console) -> bool:
    """Start a keeper, with the lock that says that there is one; False where there is one already."""
    with (want.folder / keeper.KEEPER).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        (want.folder / keeper.RECORD).unlink(missing_ok=True)  # of a keeper that was killed
        command = [sys.executable, "-P", keeper.__file__, str(want.folder), str(want.idle_sec), want.database, place()]
        with (want.folder / keeper.LOG).open("w") as log:
            process = subprocess.Popen(
                command, env=want.env, cwd=want.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, pass_fds=(lock.fileno(),),
            )  # fmt: skip
        process.wait()  # it forks at once
    _started.add(want.folder)
    stays = f"{want.idle_sec / 60:.3g} min" if want.idle_sec >= 60 else f"{want.idle_sec:.3g} s"
    err.print(f"starting a Prefect server, which stays for {stays} after its last use …", style="dim", markup=False)
    return True


def record(folder: Path) -> dict[str, Any] | None:
    """What a keeper that lives says of its server, once that is ready; None where there is none."""
    if not lives(folder):
        return None
    try:
        found = json.loads((folder / keeper.RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def lives(folder: Path) -> bool:
    """Whether there is a keeper: it holds its lock as long as it lives."""
    try:
        with (folder / keeper.KEEPER).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who look do not see each other
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def place() -> str:
    """Where an address on loopback means the same: a home may be shared by machines and containers."""
    network = Path("/proc/self/ns/net")
    return f"{boot()} {network.stat().st_ino if network.exists() else 0}"


def kept() -> list[tuple[Path, dict[str, Any], bool]]:
    """Every kept server of this user here: folder, what it says, whether a command uses it."""
    found = []
    for folder in sorted(_folders().glob("*")):
        if (one := record(folder)) and one["place"] == place():  # elsewhere its pid is somebody else's
            with (folder / keeper.USERS).open("w") as users:
                found.append((folder, one, not keeper.is_free(users)))
    return found


def end(folder: Path, found: dict[str, Any]) -> None:
    """End a kept server; returns when it is gone."""
    (folder / keeper.RECORD).unlink(missing_ok=True)  # nobody begins to use it
    for one, seconds in ((signal.SIGTERM, keeper.END_SEC), (signal.SIGKILL, keeper.END_SEC)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(found["pid"]), one)
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            if not lives(folder):
                return
            time.sleep(0.05)


def _folders() -> Path:
    return state_dir() / "prefect"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise no_state_dir(folder, error) from None


def _passed() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(_PASSED) or name in _ALSO}
