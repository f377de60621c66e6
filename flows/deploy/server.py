"""A Prefect server of one's own on loopback: server, work pool, `gpu` limit, automation, deployments and worker.

python -m flows.deploy.server --port 4200        # what `make server` runs; Ctrl-C ends all of it
python -m flows.deploy.server --deploy           # what `make deploy` runs: at the server of PREFECT_API_URL
python -m flows.deploy.server --reset            # with either: all as prefect.yaml says, whatever was changed in the UI
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from types import FrameType

import httpx
import psutil

from flows import settings
from flows.deploy.dead import DeadRuns
from schemas.errors import DependencyError, PopError, UserError
from schemas.load import PROJECT
from tasks.engine.server import free_port
from tasks.processes.guarded import Guarded, state_dir, stop_all

POOL = "pop"
HOST = "127.0.0.1"
START_SEC = 180.0
RUNS_END_SEC = 20.0
TICK_SEC = 0.5
RUNS_TICKS, LOOK_TICKS = 4, 120  # between two looks at the runs' processes, and after runs that have died


class Said(PopError):
    """A part has said itself what is wrong."""

    def __init__(self, exit_code: int) -> None:
        super().__init__()
        self.exit_code = exit_code


def environment(api_url: str) -> dict[str, str]:
    """What every part is started with. The project's own folder comes first: a flow is loaded from its file."""
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH", "")]))
    return {"PREFECT_API_URL": api_url, "POP_HOME": str(PROJECT), "PYTHONPATH": path, "PREFECT_CLI_PROMPT": "false"}


def start(port: int, reset: bool = False) -> None:
    """Run server and worker until a signal comes or one of them ends.

    Raises:
        UserError: the port is taken.
        DependencyError: a part did not start.
    """
    url = f"http://{HOST}:{free_port(port)}"
    logs, env = state_dir() / "server", environment(f"{url}/api")
    own = {
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_API_URL": f"{url}/api",
    }
    server = Guarded("the Prefect server", [*_prefect(), "server", "start"], env | own, logs / "server.log", PROJECT)
    _wait_ready(server, url)
    deploy(f"{url}/api", reset)
    dead = DeadRuns(f"{url}/api")
    _told(dead.never_begun())
    worker_command = [*_prefect(), "worker", "start", "--pool", POOL, "--type", "process"]
    worker = Guarded("the worker", worker_command, env, logs / "worker.log", PROJECT)
    say(f"\n  {url}\n\nRuns start at their time, or in the UI: Deployments → Run. Logs: {logs}. Ctrl-C ends it all.")
    runs, ticks = set[psutil.Process](), 0
    try:
        while server.poll() is None and worker.poll() is None:
            if ticks % RUNS_TICKS == 0:  # those of a worker that was killed are its children no more
                runs = {run for run in runs if run.is_running()} | runs_of(worker.pid)
            ticks += 1
            if ticks % LOOK_TICKS == 0:
                _told(dead.look())
            time.sleep(TICK_SEC)
    finally:
        end_runs(runs | runs_of(worker.pid))
    ended = server if server.poll() is not None else worker
    raise DependencyError(f"{ended.name} ended; its log ({ended.log}) ends:\n{ended.tail()}")


def runs_of(worker: int) -> set[psutil.Process]:
    """The flow runs that a worker has started: each has a session of its own, so the worker's end is not theirs."""
    try:
        below = psutil.Process(worker).children(recursive=True)
        return {process for process in below if os.getsid(process.pid) == process.pid}
    except (psutil.NoSuchProcess, ProcessLookupError):
        return set()


def end_runs(runs: set[psutil.Process], timeout_sec: float = RUNS_END_SEC) -> None:
    """End flow runs; returns when they have ended."""
    for run in runs:
        with contextlib.suppress(psutil.NoSuchProcess):
            run.terminate()
    for run in psutil.wait_procs(runs, timeout_sec)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            run.kill()


def deploy(api_url: str, reset: bool = False) -> None:
    """Make pool, limit, automation and deployments, or bring them up to date.

    Raises:
        Said: it could not be done.
    """
    command = [sys.executable, "-m", "flows.deploy.deployments", *(["--reset"] if reset else [])]
    done = subprocess.run(command, cwd=PROJECT, env={**os.environ, **environment(api_url)}, check=False)
    if done.returncode:
        raise Said(done.returncode)


def say(text: str) -> None:
    """One line of news."""
    print(text, file=sys.stderr, flush=True)


def _prefect() -> list[str]:
    return [sys.executable, "-m", "prefect"]


def _told(dead: list[str]) -> None:
    for name in dead:
        say(f"{name}: its process has ended, it is marked as crashed; started again, it goes on")


def _wait_ready(server: Guarded, url: str) -> None:
    over = time.monotonic() + START_SEC
    while time.monotonic() < over and server.poll() is None:
        try:
            if httpx.get(f"{url}/api/health", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise DependencyError(f"the Prefect server did not start; its log ({server.log}) ends:\n{server.tail()}")


def main() -> int:
    """The command line; exit codes as everywhere."""
    parser = argparse.ArgumentParser("python -m flows.deploy.server", description=__doc__)
    parser.add_argument("--port", type=int, default=4200)
    parser.add_argument("--deploy", action="store_true", help="at the server of PREFECT_API_URL; starts nothing")
    parser.add_argument("--reset", action="store_true", help="keep nothing that was changed in the UI")
    given = parser.parse_args()
    settings.apply()
    signal.signal(signal.SIGTERM, _ended)
    try:
        if given.deploy:
            url = os.environ.get("PREFECT_API_URL")
            if not url:
                raise UserError("PREFECT_API_URL names no server: start one with `make server`, or name yours")
            deploy(url, given.reset)
        else:
            start(given.port, given.reset)
    except PopError as error:
        say(f"pop: {error}") if str(error) else None
        return error.exit_code
    except KeyboardInterrupt:
        say("stopping server, worker and what it runs; what is finished is kept")
    finally:
        stop_all(timeout_sec=20.0)
    return 0


def _ended(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
