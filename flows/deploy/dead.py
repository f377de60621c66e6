"""Flow runs that nobody works on any more, found by their missing heartbeat, are marked as crashed.

Prefect's automation (`automation.py`) does so while its server runs. What died together with the server, or before it
had begun, it does not see: the run would be shown as running for ever, and hold its deployment's only place.
"""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from flows.credentials import headers
from flows.settings import HEARTBEAT_SEC

SILENT_SEC = 3.0 * HEARTBEAT_SEC
BEGINNING_SEC = 900.0  # a run for which no process has started by then
OPEN = ("RUNNING", "CANCELLING", "PENDING")
MESSAGE = "Its process has ended; start it again with the same parameters, and it goes on where it stopped."
Run = dict[str, Any]


class DeadRuns:
    """Looks for them at a server; a run that is silent twice in a row is one: the machine may have slept."""

    def __init__(self, api_url: str) -> None:
        self._url, self._silent = api_url, set[str]()

    def look(self) -> list[str]:
        """Mark those that are dead; their names. A server that does not answer is asked another time."""
        ended = list[str]()
        with contextlib.suppress(httpx.HTTPError):
            silent = {run["id"]: run for run in self._open() if not self._lives(run)}
            for run in (silent[key] for key in silent.keys() & self._silent):
                for one in (*self._below(run), run):
                    self.crash(one)
                ended.append(run["name"])
            self._silent = set(silent)
        return ended

    def never_begun(self) -> list[str]:
        """Mark those that were handed to a worker before this server's worker has started; their names."""
        ended = list[str]()
        with contextlib.suppress(httpx.HTTPError):
            for run in self._open(["PENDING"]):
                self.crash(run)
                ended.append(run["name"])
        return ended

    def crash(self, run: Run) -> None:
        """Show a run as crashed; its deployment's place is free again."""
        self._asked(f"flow_runs/{run['id']}/set_state", state={"type": "CRASHED", "message": MESSAGE}, force=True)

    def _open(self, types: list[str] | None = None) -> Iterator[Run]:
        """Runs that a worker has started."""
        wanted = {"state": {"type": {"any_": types or list(OPEN)}}, "deployment_id": {"is_null_": False}}
        yield from self._asked("flow_runs/filter", flow_runs=wanted, limit=200)

    def _below(self, run: Run) -> list[Run]:
        """The flow runs within a run that have not ended, and theirs."""
        wanted = {"parent_flow_run_id": {"any_": [run["id"]]}, "state": {"type": {"any_": list(OPEN)}}}
        found: list[Run] = self._asked("flow_runs/filter", flow_runs=wanted)
        return [one for below in found for one in (*self._below(below), below)]

    def _lives(self, run: Run) -> bool:
        now = datetime.now(UTC)
        patience = timedelta(seconds=BEGINNING_SEC if run["state_type"] == "PENDING" else SILENT_SEC)
        if now - datetime.fromisoformat(run["state"]["timestamp"]) < patience:
            return True
        wanted = {
            "event": {"name": ["prefect.flow-run.heartbeat"]},
            "resource": {"id": [f"prefect.flow-run.{run['id']}"]},
            "occurred": {"since": (now - patience).isoformat()},
        }
        return bool(self._asked("events/filter", filter=wanted, limit=1)["events"])

    def _asked(self, path: str, **body: Any) -> Any:
        answer = httpx.post(f"{self._url}/{path}", json=body, headers=headers(), timeout=30)
        return answer.raise_for_status().json()
