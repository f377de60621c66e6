"""The fake engine in a process of its own, for tests and benchmarks."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self


def end_with_starter() -> None:
    """Of a server that was started with a pipe as its input: end with whoever holds the other end. Runs in a thread."""
    while os.read(0, 1024):
        pass
    os._exit(0)


class FakeEngine:
    """A fake engine in a process of its own.

    Example:
        >>> with FakeEngine(faults={"http500": 0.1}, latency_sec=0.05) as engine:
        ...     client = openai.AsyncOpenAI(base_url=engine.url, api_key="none")

    Args:
        models: the served names.
        faults: value by kind, as after `--fault`.
        port: 0 for any free one; a given one, to come back under the same address.
        options: the command line's other switches, e.g. `latency_sec=0.1`.
    """

    module = "tasks.engine.fake"  # what is run

    def __init__(
        self, *models: str, faults: Mapping[str, float | str] | None = None, port: int = 0, **options: float | str
    ) -> None:
        self._arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        self._arguments += [f"--model={name}" for name in models]
        self._arguments += [f"--fault={kind}={value}" for kind, value in (faults or {}).items()]
        self._port = port
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What a client takes as its base URL."""
        return f"http://127.0.0.1:{self._port}/v1"

    def start(self, timeout_sec: float = 30.0) -> Self:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: it ended, or did not answer in time.
        """
        with bound(self._port) as sock:  # handed over bound, so that nobody can take the port in between
            self._port = sock.getsockname()[1]
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, f"--fd={sock.fileno()}", *self._arguments],
                stdin=subprocess.PIPE, pass_fds=[sock.fileno()], cwd=Path(__file__).parents[3],
            )  # fmt: skip
        deadline = time.monotonic() + timeout_sec
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._get("/health")
                return self
            time.sleep(0.02)
        code = self.process.poll()
        self.stop()
        raise RuntimeError(f"the fake engine does not answer on port {self._port} (exit code {code})")

    def stop(self) -> None:
        """End it; returns when it is gone."""
        if self.process is None:
            return
        self.process.kill()  # it holds nothing that a graceful end would save
        self.process.communicate()
        self.process = None

    def requests(self) -> dict[str, int]:
        """How many requests have come, by endpoint."""
        return dict(self.counts()["endpoints"])

    def counts(self) -> dict[str, Any]:
        """All that it counts: `endpoints`, `faults`, `peak_in_flight`."""
        return dict(json.loads(self._get("/pop/requests")))

    def _get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30.0)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().read()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self.stop()


def bound(port: int, host: str = "127.0.0.1") -> socket.socket:
    """A socket; port 0 for any free one."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    return sock
