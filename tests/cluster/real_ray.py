"""A real Ray cluster on this machine, node by node, for as long as a test wants it."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from tasks.engine.server import free_port

ENV = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "150", "PYTHONPATH": ""}
_START_SEC = 180.0
TRIES = 3


class Cluster:
    """A head that runs nothing, and nodes; `python` is an interpreter that has Ray.

    Example:
        >>> with Cluster(python, nodes=2) as cluster:
        ...     cluster.kill(0)
    """

    def __init__(self, python: Path, nodes: int, cpus: int = 1) -> None:
        self._ray, self._cpus, self._count = str(python.with_name("ray")), cpus, nodes
        self._folder = Path(tempfile.mkdtemp(prefix="pop-ray-"))  # short: Ray's sockets lie in it
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"
        self._head: subprocess.Popen[bytes] | None = None
        self.nodes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Cluster":
        head = ("--head", f"--port={self._port}", "--include-dashboard=false", f"--temp-dir={self._folder}")
        try:
            self._head = self._start(0, *head)
            for _ in range(self._count):
                self.add()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def add(self) -> None:
        """A node more; returns when it is there."""
        for left in reversed(range(TRIES)):
            try:
                self.nodes.append(self._start(self._cpus, f"--address={self.address}"))
                return
            except RuntimeError:  # on a busy machine Ray may find its own start too slow
                if not left:
                    raise

    def _start(self, cpus: int, *more: str) -> "subprocess.Popen[bytes]":
        command = [self._ray, "start", "--block", "--disable-usage-stats", "--object-store-memory=80000000"]
        log = self._folder / f"node-{len(self.nodes)}-{time.monotonic_ns()}.log"
        with log.open("wb") as out:
            node = subprocess.Popen(
                [*command, f"--num-cpus={cpus}", *more], env=os.environ | ENV, stdin=subprocess.DEVNULL, stdout=out,
                stderr=out,
            )  # fmt: skip
        over = time.monotonic() + _START_SEC
        while b"Ray runtime started" not in log.read_bytes():
            if node.poll() is not None or time.monotonic() > over:
                _end(node)
                raise RuntimeError(f"Ray does not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)
        return node

    def kill(self, number: int) -> None:
        """What is left of a node whose machine is gone: its raylet is killed with -9."""
        node = self.nodes.pop(number)
        for process in psutil.Process(node.pid).children(recursive=True):
            if process.name() == "raylet":
                process.send_signal(signal.SIGKILL)
        node.wait(60)

    def stop(self) -> None:
        """End all of it."""
        for node in (*self.nodes, *filter(None, [self._head])):
            _end(node)
        shutil.rmtree(self._folder, ignore_errors=True)


def _end(node: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(node.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    node.kill()
    node.wait()
