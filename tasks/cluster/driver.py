"""The program that talks to Ray (`on_ray.py`, in the runtime environment), as the controller sees it."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from schemas.config import ClusterConfig
from schemas.errors import DependencyError
from tasks.cluster.places import Node, Share
from tasks.processes import guardian
from tasks.processes.guarded import Guarded
from tasks.runtime.devices import gpus
from tasks.runtime.environment import runtime_dir, runtime_python

SCRIPT = Path(__file__).with_name("on_ray.py")
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "150",
    "PYTHONPATH": "",
    "PYTHONUNBUFFERED": "1",
    "PYTHONWARNINGS": "ignore",
}
NODE_LOST, UNABLE = 75, 76  # the script's exit codes for a training that lost a node, and an order that cannot be done
_ASK_SEC = 180.0
ONE = Share(1, 0, 0)


def ray_python() -> Path:
    """The interpreter that has Ray.

    Raises:
        DependencyError: the runtime environment has none.
    """
    python = runtime_python()
    if not any(runtime_dir().glob("lib/python3*/site-packages/ray-*.dist-info")):
        raise DependencyError("cluster.kind=ray needs Ray in the runtime environment: run `pop setup --cluster`")
    return python


def order(
    do: str, cluster: ClusterConfig, events: Path, each: Share = ONE, count: int = 0, **more: Any
) -> dict[str, Any]:
    """What the script is told to do: `count` processes that take `each` of a node."""
    return {
        "do": do, "address": cluster.address, "events": str(events), "guardian": guardian.__file__, "count": count,
        **asdict(each), **more,
    }  # fmt: skip


def command(what: dict[str, Any]) -> list[str]:
    """The command line that carries an order out."""
    return [str(ray_python()), str(SCRIPT), json.dumps(what)]


class Driver:
    """An order that is being carried out."""

    def __init__(self, what: dict[str, Any], log: Path) -> None:
        self._events, self._read = Path(what["events"]), 0
        self._events.parent.mkdir(parents=True, exist_ok=True)
        self._events.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
        self.process = Guarded("the Ray driver", command(what), ENVIRONMENT, log)

    def events(self) -> list[dict[str, Any]]:
        """What it has told since the last time."""
        if not self._events.exists():
            return []
        with self._events.open("rb") as file:
            file.seek(self._read)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        return [json.loads(line) for line in whole.splitlines()]


def nodes_of(cluster: ClusterConfig, folder: Path) -> Sequence[Node]:
    """The nodes of a cluster; where it is one of its own, this machine.

    Raises:
        DependencyError: there is no Ray, or no cluster answers.
    """
    if not cluster.address:
        ray_python()
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return [Node("", "this machine", len(os.sched_getaffinity(0)), len(gpus()), memory)]
    driver = Driver(order("nodes", cluster, folder / "nodes.jsonl"), folder / "nodes.log")
    if driver.process.wait(_ASK_SEC):
        raise DependencyError(driver.process.tail(1))
    return [Node(**node) for event in driver.events() for node in event["nodes"]]
