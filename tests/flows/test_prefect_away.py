# ruff: noqa: SIM117
"""A Prefect that cannot be used is one line with the mend and exit code 3, before anything is begun."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE, temporary_settings

from flows.cli import prefect_there
from flows.cli.prefect_there import require_prefect
from schemas.errors import PopError
from tests.engine.serving import serving


@contextmanager
def answering(status: int, body: bytes, wait_sec: float = 0.0) -> Iterator[str]:
    """A server that answers everything so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(wait_sec)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with serving(Handler) as address:
        yield address.removeprefix("http://")


@pytest.mark.parametrize(
    ("scheme", "status", "body", "wait_sec", "says"),
    [
        ("http", 401, b"{}", 0, "PREFECT_API_AUTH_STRING"),
        ("http", 200, b"<!DOCTYPE html><html></html>", 0, "ends with /api"),
        ("http", 404, b'{"detail":"Not Found"}', 0, "ends with /api"),
        ("http", 200, b'"2.20.1"', 0, "runs Prefect 2.20.1, and this is Prefect 3"),
        ("http", 200, b'"3.1.0"', 0, "runs Prefect 3.1.0, and this is Prefect 3"),
        ("http", 503, b"busy", 0, "answers with 503"),
        ("http", 200, b'"3.8.8"', 3, "does not answer within"),
        ("https", 200, b'"3.8.8"', 0, "by https"),
        ("ftp", 200, b"", 0, "begins with http://"),
    ],
)
def test_a_server_that_does_not_do_is_one_line(
    monkeypatch: pytest.MonkeyPatch, scheme: str, status: int, body: bytes, wait_sec: float, says: str
) -> None:
    monkeypatch.setattr(prefect_there, "PATIENCE_SEC", 1.0)
    with answering(status, body, wait_sec) as host, temporary_settings({PREFECT_API_URL: f"{scheme}://{host}/api"}):
        with pytest.raises(PopError) as told:
            require_prefect()
    assert says in str(told.value) and "\n" not in str(told.value)
    assert told.value.exit_code == 3


def test_nobody_listening_and_no_server_allowed_are_said() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}):
        with pytest.raises(PopError, match="cannot be reached"):
            require_prefect()
    with temporary_settings({PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: False}, restore_defaults={PREFECT_API_URL}):
        with pytest.raises(PopError, match="none may be started"):
            require_prefect()
