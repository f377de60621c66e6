"""A door before an object store that lets requests through, or answers them as stores do on a bad day."""

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

FAULTS = {
    "slow": (503, "SlowDown", "Please reduce your request rate."),
    "expired": (403, "ExpiredToken", "The provided token has expired."),
    "broken": (500, "InternalError", "We encountered an internal error. Please try again."),
}
Fault = Callable[[str, str], str | None]  # of a method and a path with its query: one of FAULTS, `cut`, `drop` or None


class FaultyStore(ThreadingHTTPServer):
    """Stands before the store at `target`; `fault` may be changed at any time, `asked` is what came by."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Door)
        self.target = urlsplit(target).netloc
        self.fault: Fault = lambda method, path: None
        self.asked: list[tuple[str, str, str | None]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where the door is."""
        return f"http://127.0.0.1:{self.server_port}"


class _Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyStore

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.fault(self.command, self.path)
        self.server.asked.append((self.command, self.path, fault))
        if fault == "drop":
            self.close_connection = True
            self.connection.close()
            return
        if fault in FAULTS:
            status, code, said = FAULTS[fault]
            told = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{said}</Message></Error>".encode()
            headers = [("Content-Type", "application/xml")]
        else:
            behind = http.client.HTTPConnection(self.server.target, timeout=60)
            behind.request(self.command, self.path, body, dict(self.headers))
            answer = behind.getresponse()
            status, told, headers = answer.status, answer.read(), answer.getheaders()
            behind.close()
        self.send_response(status)
        length = str(len(told))
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(told[: len(told) // 2] if fault == "cut" else told)
        if fault == "cut":
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass  # noqa: N815  (the base class's names)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""
