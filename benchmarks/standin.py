"""The stand-in's answers behind a server that costs little, so that a benchmark measures the controller.

    python -m benchmarks.standin --fd N --model policy [--tokenizer FOLDER]

Starlette and h11 take some milliseconds a request, which would leave the controller waiting. With a model's folder,
/tokenize makes that model's token ids.
"""

import argparse
import asyncio
import json
import socket
import threading
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from tasks.engine.fake.answers import Answers
from tasks.engine.fake.logprobs import token_id, tokenize
from tasks.engine.fake.process import FakeEngine, end_with_starter
from tasks.engine.fake.wire import Message, RequestError, rendered
from tasks.engine.tokenizer import LocalTokenizer

LIMIT = 8192


class FastEngine(FakeEngine):
    """A `FakeEngine` that knows no faults, and is fast."""

    module = "benchmarks.standin"


class StandIn:
    """Its endpoints, and how often each was asked."""

    def __init__(self, model: str, tokenizer: LocalTokenizer | None) -> None:
        self._model, self._tokenizer, self._answers = model, tokenizer, Answers((model,), LIMIT)
        self.endpoints: dict[str, int] = {}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Any request."""
        path, body = request.path, await request.read()
        if path == "/pop/requests":
            return _json({"endpoints": self.endpoints, "faults": {}})
        self.endpoints[path] = self.endpoints.get(path, 0) + 1
        try:
            return _json(self._answer(path, body))
        except RequestError as error:
            return _json({"error": {"message": str(error)}}, error.status)

    def _answer(self, path: str, body: bytes) -> Any:
        if path == "/v1/chat/completions":
            return self._answers.chat(body, "")
        if path == "/v1/completions":
            return self._answers.completions(body, "")
        if path == "/tokenize":
            ids = self._ids(json.loads(body))
            return {"count": len(ids), "max_model_len": LIMIT, "tokens": ids}
        if path == "/v1/models":
            return {"object": "list", "data": [{"id": self._model, "owned_by": "vllm", "max_model_len": LIMIT}]}
        if path == "/health":
            return {}
        raise RequestError("Not Found", 404)

    def _ids(self, asked: dict[str, Any]) -> list[int]:
        messages = asked.get("messages")
        if self._tokenizer is not None:
            if messages is not None:
                return self._tokenizer.prompt_ids(messages) or []
            return self._tokenizer.ids(asked["prompt"], asked.get("add_special_tokens", True))
        whole = asked.get("prompt") or rendered([Message(**one) for one in messages or []], True)
        return [token_id(piece) for piece in tokenize(whole)]


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


async def serve(sock: socket.socket, stand_in: StandIn) -> None:
    """Until the process ends."""
    runner = web.ServerRunner(web.Server(stand_in.handle, keepalive_timeout=300, access_log=None))
    await runner.setup()
    await web.SockSite(runner, sock, backlog=4096).start()
    await asyncio.Event().wait()


def main() -> None:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser("python -m benchmarks.standin", description=__doc__)
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--model", default="policy")
    parser.add_argument("--tokenizer", type=Path)
    given = parser.parse_args()

    threading.Thread(target=end_with_starter, daemon=True).start()
    tokenizer = LocalTokenizer(given.tokenizer) if given.tokenizer else None
    with socket.socket(fileno=given.fd) as sock:
        asyncio.run(serve(sock, StandIn(given.model, tokenizer)))


if __name__ == "__main__":
    main()
