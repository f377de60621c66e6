"""Servers that are not what they should be: one clear line, or a row that says what came."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from schemas.errors import PopError, UserError
from tasks.engine.client import Client
from tasks.engine.fake import FakeEngine
from tasks.engine.protocol import EngineError, Generation
from tests.engine.serving import serving
from tests.samples import asking, config


class Odd(BaseHTTPRequestHandler):
    """Answers everything with the status and the body that `ANSWERS` has for the path's first part."""

    def do_POST(self) -> None:
        """Read the request, answer."""
        self.rfile.read(int(self.headers["content-length"]))
        status, kind, body = ANSWERS[self.path.split("/")[1]]
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


def said(content: Any, **more: Any) -> tuple[int, str, str]:
    """A chat completion of this content."""
    message = {"role": "assistant", "content": content, **more}
    return 200, "application/json", json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


ANSWERS = {
    "page": (200, "text/html", "<html>Welcome</html>"), "torn": (200, "application/json", '{"choices": [{"ind'),
    "nothing": (200, "application/json", "{}"), "list": (200, "application/json", "[1]"),
    "parts": said([{"type": "text"}]), "big": (413, "text/plain", "x"),
    "no-message": (200, "application/json", '{"choices": [{"message": null}]}'), "down": (500, "text/plain", "x"),
    "key": (401, "application/json", '{"error": {"message": "bad key sk-1"}}'), "absent": (404, "text/plain", "x"),
    "long": (400, "application/json", '{"error": {"message": "maximum context length is 10"}}'),
    "thinker": said("Yes.", reasoning_content="Well"), "mute": said(None), "half": said("\ud83d!"),
}  # fmt: skip


@pytest.fixture(scope="module")
def odd() -> Iterator[str]:
    """The address of a server of many faces."""
    with serving(Odd) as address:
        yield address


def chat_at(*urls: str, calls: int = 1) -> list[Generation]:
    """Ask the servers of one model."""
    settings = config(engine={"max_retries": 0, "max_model_len": 4096})

    async def ask() -> list[Generation]:
        client = Client("m", settings.models["policy"], settings.engine, urls, asyncio.Semaphore(64))
        try:
            return await asyncio.gather(*(client.chat(asking(str(n))) for n in range(calls)))
        finally:
            await client.close()

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("face", "error"),
    [(face, EngineError) for face in ("page", "torn", "nothing", "list", "parts", "no-message", "down")]
    + [("key", UserError), ("absent", UserError)],
)
def test_a_server_that_does_not_speak_the_protocol_is_one_clear_line(
    odd: str, face: str, error: type[PopError]
) -> None:
    with pytest.raises(error) as caught:
        chat_at(f"{odd}/{face}/v1")
    assert "\n" not in str(caught.value)
    assert odd in str(caught.value)
    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize(
    ("face", "text", "failure"),
    [("thinker", "<think>Well</think>Yes.", None), ("half", "?!", None), ("mute", "", "empty"),
     ("long", None, "too_long"), ("big", None, "too_long")],
)  # fmt: skip
def test_what_a_server_answers_is_kept_as_it_is_or_as_a_failure(
    odd: str, face: str, text: str | None, failure: str | None
) -> None:
    (call,) = chat_at(f"{odd}/{face}/v1")
    assert text is None or call.completion == text
    assert (call.failure or (None,))[0] == failure


def test_requests_go_to_the_replica_with_the_fewest_in_flight() -> None:
    with FakeEngine(latency_sec=0.05) as one:
        other = one.url.replace("127.0.0.1", "localhost")
        assert set(Counter(call.endpoint for call in chat_at(one.url, other, calls=8)).values()) == {4}
