"""The fake engine's endpoints, what they count, and the faults that befall them."""

import asyncio
import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tasks.engine.fake.answers import Answers
from tasks.engine.fake.logprobs import token_id, tokenize
from tasks.engine.fake.schema import SchemaError
from tasks.engine.fake.wire import DetokenizeRequest, RequestError, TokenizeRequest, rendered
from tasks.engine.fake.words import Draw

_KNOWN_WORDS = 1_000_000  # what /detokenize remembers at most


@dataclass(frozen=True)
class Settings:
    """How the server behaves; the command line's switches.

    Attributes:
        shares: share of requests by fault, 1 in all at most.
        slow: seconds that a share of requests takes longer, and that share; on top of any fault.
        die_after: generation requests that are answered; the next one ends the process.
    """

    models: tuple[str, ...] = ("policy",)
    latency_sec: float = 0.0
    max_model_len: int = 8192
    shares: Mapping[str, float] = field(default_factory=dict)
    slow: tuple[float, float] = (0.0, 0.0)
    fault_seed: int = 0
    retry_after_sec: float = 1.0
    die_after: int | None = None


class HalfResponse(Response):
    """Breaks off in the middle of the body: uvicorn closes the connection of an unfinished response."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send half of what the headers promise."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})


class FakeServer:
    """The endpoints and what they count."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._answers = Answers(settings.models, settings.max_model_len)
        self.endpoints: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.running = self.peak = self.generations = 0
        self._times_seen: Counter[bytes] = Counter()
        self._words: dict[int, str] = {}

    def app(self) -> ASGIApp:
        """The ASGI application."""
        app = Starlette(
            routes=[
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/completions", self.completions, methods=["POST"]),
                Route("/tokenize", self.tokenize, methods=["POST"]),
                Route("/detokenize", self.detokenize, methods=["POST"]),
                Route("/health", self.health),
                Route("/v1/models", self.models),
                Route("/version", self.version),
                Route("/metrics", self.metrics),
                Route("/pop/requests", self.requests),
            ],
            exception_handlers={RequestError: _refused, SchemaError: _refused, ValidationError: _refused},
        )

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"] != "/pop/requests":
                self.endpoints[scope["path"]] += 1
            await app(scope, receive, send)

        return counted

    async def health(self, _: Request) -> Response:
        """Ready as soon as it listens."""
        return Response()

    async def version(self, _: Request) -> Response:
        """Says what it is."""
        return JSONResponse({"version": "fake"})

    async def models(self, _: Request) -> Response:
        """The served names."""
        about = {"object": "model", "created": 0, "owned_by": "pop-fake-engine", "parent": None}
        limit = self.settings.max_model_len
        cards = [{"id": name, **about, "root": name, "max_model_len": limit} for name in self.settings.models]
        return JSONResponse({"object": "list", "data": cards})

    async def metrics(self, _: Request) -> Response:
        """A few of vLLM's, in Prometheus' text form."""
        label = f'{{engine="0",model_name="{self.settings.models[0]}"}}'
        values = {
            "vllm:prompt_tokens_total": ("counter", self.tokens["prompt_tokens"]),
            "vllm:generation_tokens_total": ("counter", self.tokens["completion_tokens"]),
            "vllm:num_requests_running": ("gauge", self.running),
            "vllm:num_requests_waiting": ("gauge", 0),
        }
        lines = [f"# TYPE {name} {kind}\n{name}{label} {value:.1f}\n" for name, (kind, value) in values.items()]
        return PlainTextResponse("".join(lines))

    async def requests(self, _: Request) -> Response:
        """Requests by endpoint, faults by kind, and the most generation requests that were in flight at once."""
        return JSONResponse({"endpoints": self.endpoints, "faults": self.faults, "peak_in_flight": self.peak})

    async def tokenize(self, request: Request) -> Response:
        """Token ids, which /detokenize will know again."""
        asked = TokenizeRequest.model_validate_json(await request.body())
        self._answers.known_model(asked.model)
        if asked.messages is None and asked.prompt is None:
            raise RequestError("either prompt or messages is needed")
        whole = asked.prompt or ""
        if asked.messages is not None:
            whole = rendered(asked.messages, asked.add_generation_prompt)
        pieces = tokenize(whole)
        ids = [token_id(piece) for piece in pieces]
        if len(self._words) < _KNOWN_WORDS:
            self._words.update(zip(ids, pieces, strict=True))
        return JSONResponse({"count": len(ids), "max_model_len": self.settings.max_model_len, "tokens": ids})

    async def detokenize(self, request: Request) -> Response:
        """Words joined by blanks; an id that this process never gave out becomes `<id>`."""
        asked = DetokenizeRequest.model_validate_json(await request.body())
        self._answers.known_model(asked.model)
        return JSONResponse({"prompt": " ".join(self._words.get(token, f"<{token}>") for token in asked.tokens)})

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        return await self._generation(request, self._answers.chat)

    async def completions(self, request: Request) -> Response:
        """POST /v1/completions."""
        return await self._generation(request, self._answers.completions)

    async def _generation(self, request: Request, answer: Callable[[bytes, str], dict[str, Any]]) -> Response:
        body = await request.body()
        async with self._in_flight():
            fault, wait_sec = self._chosen_fault(body)
            if wait_sec:
                await asyncio.sleep(wait_sec)
            if fault == "hang":
                while (await request.receive())["type"] != "http.disconnect":
                    pass
            if fault == "http429":
                headers = {"Retry-After": f"{self.settings.retry_after_sec:g}"}
                return _error("[fake] rate limit reached", 429, headers)
            if fault == "http500":
                return _error("[fake] internal server error", 500)
            reply = answer(body, fault)
            self.tokens.update(reply["usage"])
            content = json.dumps(reply, separators=(",", ":")).encode()
            return (HalfResponse if fault == "disconnect" else Response)(content, media_type="application/json")

    @contextlib.asynccontextmanager
    async def _in_flight(self) -> AsyncIterator[None]:
        self.generations += 1
        if self.settings.die_after is not None and self.generations > self.settings.die_after:
            os._exit(1)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            yield
        finally:
            self.running -= 1

    def _chosen_fault(self, body: bytes) -> tuple[str, float]:
        """The fault that befalls this request ("" for none), and how many seconds it has to wait."""
        wait_sec, (slow_sec, slow_share) = self.settings.latency_sec, self.settings.slow
        if not self.settings.shares and not slow_share:
            return "", wait_sec
        digest = hashlib.blake2b(body, digest_size=16).digest()
        draw = Draw(self.settings.fault_seed, digest, self._times_seen[digest])
        self._times_seen[digest] += 1
        fault, left = "", draw.unit()
        for kind, share in self.settings.shares.items():
            left -= share
            if left < 0:
                fault = kind
                break
        if draw.unit() < slow_share:
            wait_sec += slow_sec
            self.faults["slow"] += 1
        self.faults.update([fault] if fault else [])
        return fault, wait_sec


async def _refused(_: Request, error: Exception) -> Response:
    return _error(str(error), error.status if isinstance(error, RequestError) else 400)


def _error(message: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    kinds = {404: "NotFoundError", 429: "RateLimitError", 500: "InternalServerError"}
    about = {"message": message, "type": kinds.get(status, "BadRequestError"), "param": None, "code": status}
    return JSONResponse({"error": about}, status, headers)
