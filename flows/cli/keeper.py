"""A Prefect server that outlives the command that started it: the process itself. `kept_server` starts and finds it.

Two locks (flock) say everything, since the system itself lets go of them when a process ends, however it ends.
`keeper.lock` is held as long as this process lives, so what `server.json` says is true while it is held. `users.lock`
is held, shared, by every command that uses the server; where nobody has held it for `idle_sec`, the server ends.
"""

import contextlib
import fcntl
import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import uvicorn

HOST = "127.0.0.1"
RECORD, KEEPER, USERS, LOG = "server.json", "keeper.lock", "users.lock", "server.log"
END_SEC = 8.0
# such a server shows and records; it starts nothing by itself, as the one of `make server` does
IDLE_SERVICES = {
    f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false"
    for name in ("SCHEDULER", "LATE_RUNS", "FOREMAN", "PAUSE_EXPIRATIONS", "CANCELLATION_CLEANUP")
}


def main(folder: Path, idle_sec: float, database: str, place: str) -> None:
    """Serve until nobody has used the server for that long, or SIGTERM comes. The lock comes as an open file."""
    if os.fork():  # nobody's child: who ends its own children at its end does not end this
        os._exit(0)
    listening = socket.create_server((HOST, 0))
    address = f"http://{HOST}:{listening.getsockname()[1]}"
    os.environ |= {"PREFECT_SERVER_API_HOST": HOST, "PREFECT_SERVER_API_PORT": address.rpartition(":")[2],
                   "PREFECT_SERVER_UI_API_URL": f"{address}/api"}  # fmt: skip
    import uvicorn
    from prefect.server.api.server import create_app

    config = uvicorn.Config(create_app(final=True), log_level="error", lifespan="on", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    record = {"pid": os.getpid(), "address": address, "since": time.time(), "database": database,
              "place": place, "idle_sec": idle_sec}  # fmt: skip
    threading.Thread(target=_watch, args=(server, folder, record, idle_sec), daemon=True).start()
    try:
        server.run(sockets=[listening])
    finally:
        _forget(folder)


def identity(database: str) -> list[int] | None:
    """Which file a database is now; None where there is none. Who deletes it and makes another has another one."""
    if not database:  # it is no file
        return None
    try:
        found = Path(database).stat()
    except OSError:
        return None
    return [found.st_dev, found.st_ino]


def _watch(server: "uvicorn.Server", folder: Path, record: dict[str, object], idle_sec: float) -> None:
    """Say that the server is ready once it is; end it when nobody has used it for that long."""
    while not server.started:
        time.sleep(0.05)
    record["file"] = identity(str(record["database"]))
    temporary = folder / f".{RECORD}.tmp"
    temporary.write_text(json.dumps(record))
    temporary.replace(folder / RECORD)
    used = time.monotonic()
    with (folder / USERS).open("w") as users:
        while time.monotonic() - used < idle_sec and not server.should_exit:
            time.sleep(min(1.0, idle_sec / 4))
            if is_free(users):
                fcntl.flock(users, fcntl.LOCK_UN)
            else:
                used = time.monotonic()
            # a command that comes between this look and the end finds the lock taken, and waits for the end
            if time.monotonic() - used >= idle_sec and not is_free(users):
                used = time.monotonic()
        _forget(folder)
        server.should_exit = True
        time.sleep(END_SEC)
        os._exit(1)  # something in it does not end


def is_free(users: IO[str]) -> bool:
    """Whether nobody uses the server; the lock is held then."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _forget(folder: Path) -> None:
    """Take the record away, if it is this process's: the folder may have been deleted and made again."""
    with contextlib.suppress(OSError, ValueError):
        if json.loads((folder / RECORD).read_text(encoding="utf-8"))["pid"] == os.getpid():
            (folder / RECORD).unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:])
