"""Running a flow from the command line so that Ctrl-C and SIGTERM leave in good order and in seconds.

The flow runs in a thread; the main thread keeps the signals. Prefect would otherwise take SIGTERM for itself, and a
Ctrl-C on a terminal reaches Prefect's own little server too, which nobody may then wait for.
"""

import asyncio
import atexit
import contextlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn
from uuid import UUID

import httpx
import psutil
from prefect import get_client
from prefect.client.schemas.objects import State
from rich.console import Console

from flows.cli import kept_server
from flows.views.display import last_states, stop_displays
from schemas.errors import DependencyError
from tasks.processes.guarded import stop_all

SETTLE_SEC = 1.5  # in which a report of a crash that was under way may arrive after ours
MARK_SEC = 6.0  # for Prefect to note who ended a flow run; a busy one takes seconds
LEAVE_SEC = 7.0  # for the write in hand, and for what was started to end


class Terminated(BaseException):
    """SIGTERM came."""


class _Flow(threading.Thread):
    """A flow in an event loop of its own."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        super().__init__(name="flow", daemon=True)
        self._work = work
        self.result: Any = None
        self.error: BaseException | None = None
        self._cancel: Callable[[], object] = lambda: None
        self._freeze: Callable[[], object] = lambda: None

    def run(self) -> None:
        try:
            self.result = asyncio.run(self._main())
        except BaseException as error:
            self.error = error

    async def _main(self) -> Any:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        self._freeze = lambda: loop.call_soon_threadsafe(time.sleep, LEAVE_SEC)
        return await self._work()

    def cancel(self) -> None:
        """Ask the flow to end; it may have ended already."""
        with contextlib.suppress(RuntimeError):
            self._cancel()

    def freeze(self) -> None:
        """Let the flow's loop do nothing more: Prefect's engine would call crashed what we call cancelled."""
        with contextlib.suppress(RuntimeError):
            self._freeze()


def run_flow(work: Callable[[], Coroutine[Any, Any, Any]], err: Console) -> Any:
    """The flow's result, or its error. Does not return after Ctrl-C (exit code 130) or SIGTERM (143)."""

    def on_term(*_: object) -> None:
        raise Terminated

    kept_server.ready(err)
    signal.signal(signal.SIGTERM, on_term)
    flow = _Flow(work)
    flow.start()
    try:
        while flow.is_alive():
            flow.join(0.2)
    except (KeyboardInterrupt, Terminated) as stop:
        _stop(flow, err)
        for one in (signal.SIGINT, signal.SIGTERM):  # half of what follows would leave a run that runs for ever
            signal.signal(one, signal.SIG_IGN)
        flow.freeze()
        _mark_ended("SIGTERM" if isinstance(stop, Terminated) else "Ctrl-C", SETTLE_SEC if flow.is_alive() else 0.1)
        leave(143 if isinstance(stop, Terminated) else 130)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if isinstance(flow.error, httpx.HTTPError):  # from Prefect: those of model servers have names of our own
        raise DependencyError(
            "Prefect's server does not answer any more; nothing is lost: start it, or unset PREFECT_API_URL, and run "
            "the same command again"
        ) from None
    if flow.error:
        raise flow.error
    return flow.result


def _stop(flow: _Flow, err: Console) -> None:
    try:
        deadline = time.monotonic() + LEAVE_SEC
        stop_displays()
        err.print("stopping; what is finished is kept, and the same command goes on from here")
        flow.cancel()
        stop_all()
        flow.join(max(0.5, deadline - time.monotonic()))
    except (KeyboardInterrupt, Terminated):
        err.print("stopped at once")


def _mark_ended(why: str, settle_sec: float) -> None:
    """Tell Prefect that the flow runs have ended, or its UI shows them as running for ever. A server that is gone
    itself (Ctrl-C on a terminal reaches one's own) is not waited for.

    Args:
        settle_sec: for which the mark has to stand; of a flow that was cut off, Prefect's engine may have sent its own.
    """

    def mark() -> None:
        with contextlib.suppress(Exception), get_client(sync_client=True) as client:
            states, over = last_states(), time.monotonic() + settle_sec
            while time.monotonic() < over:
                for flow_run, end in states.items():
                    if client.read_flow_run(UUID(flow_run)).state_type != end:
                        state = State(type=end, message=f"ended by {why}")
                        client.set_flow_run_state(UUID(flow_run), state, force=True)
                        over = time.monotonic() + settle_sec
                time.sleep(0.1)

    marking = threading.Thread(target=mark, daemon=True)
    marking.start()
    marking.join(MARK_SEC)


def leave(code: int) -> NoReturn:
    """End the process without waiting for anybody: Prefect's threads would hold it, and chatter while it goes."""
    sys.stdout.flush()
    sys.stderr.flush()
    sys.stderr = io.StringIO()  # everything is said; Prefect's threads may find their server gone and complain
    farewell = threading.Thread(target=_farewell, args=(code == 0,), daemon=True)
    farewell.start()
    farewell.join(10.0)
    for child in psutil.Process().children(recursive=True):
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    os._exit(code)


def _farewell(orderly: bool) -> None:
    """Let Prefect send its last log lines and stop its server, where the end is an orderly one."""
    if orderly:
        atexit._run_exitfuncs()
