"""A flow run that a worker started ends with it: nobody could cancel it any more, or tell Prefect how it ended.

Prefect starts a run as a child in a session of its own, which goes on when the worker is killed. Here the child watches
the worker. What is finished is on disk, so the same run, started again, goes on.
"""

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable
from uuid import UUID

import psutil
from prefect import get_client
from prefect.states import Crashed

from flows.slots import held
from flows.views.display import open_flow_runs
from tasks.processes.guarded import alive, started_at, stop_all

LOOK_SEC = 1.0
MARK_SEC = 8.0  # for Prefect to note the end; its server may be gone, too
MESSAGE = "its worker has ended; start it again with the same parameters, and it goes on where it stopped"
_WATCHED = threading.Event()


def end_with_worker(say: Callable[[str], None]) -> None:
    """From now on, end this process when the worker that started it has ended. Once a process; none: nothing to do."""
    worker = worker_of(psutil.Process())
    if worker is None or _WATCHED.is_set():
        return
    _WATCHED.set()
    threading.Thread(target=_watch, args=(worker.pid, say), name="worker's end", daemon=True).start()


def worker_of(process: psutil.Process) -> psutil.Process | None:
    """The `prefect worker start` among a process's ancestors."""
    with contextlib.suppress(psutil.Error):
        for parent in process.parents():
            with contextlib.suppress(psutil.Error):
                if ("worker", "start") in itertools.pairwise(parent.cmdline()):
                    return parent
    return None


def _watch(worker: int, say: Callable[[str], None]) -> None:
    started = started_at(worker) or 0.0
    while alive(worker, started):
        time.sleep(LOOK_SEC)
    with contextlib.suppress(BaseException):  # where it goes to standard output, nobody reads that any more
        say(f"the run ends: {MESSAGE}")
    stop_all()
    marking = threading.Thread(target=_mark, daemon=True)  # after what the flow itself says of its engine's end
    marking.start()
    marking.join(MARK_SEC)
    os._exit(1)


def _mark() -> None:
    """The runs of this process have crashed, and their slot is free.

    Where there are none Prefect is not asked: a process to which no server was named would start one, and leave it.
    """
    if not (held() or open_flow_runs()):
        return
    with contextlib.suppress(Exception), get_client(sync_client=True) as client:
        for lease in held():
            with contextlib.suppress(Exception):
                client.release_concurrency_slots_with_lease(lease)
        for flow_run in open_flow_runs():
            client.set_flow_run_state(UUID(flow_run), Crashed(message=f"The run ended: {MESSAGE}."), force=True)
