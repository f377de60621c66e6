"""A server that speaks vLLM's HTTP and has no model: for tests, dry runs and benchmarks.

    python -m tasks.engine.fake --port 8000 --model policy --fault http429=0.1 --fault slow=2:0.05

What it answers follows from the request alone (`fake_text`) and says that it is fake. What can go wrong with a real
server goes wrong here on request, by hash of the fault seed, the request and how often that very request has come.
Faults befall chat and completions only. `GET /pop/requests` tells what has come so far.
"""

import argparse
import asyncio
import contextlib
import hashlib
import http.client
import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn
from pydantic import BaseModel, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tasks.engine import fake_text as text

FAULTS = ("http429", "http500", "disconnect", "hang", "malformed", "truncated", "garbage")
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


class Part(BaseModel):
    """A piece of a message's content."""

    text: str = ""


class Message(BaseModel):
    """One turn of a conversation."""

    role: str
    content: str | list[Part] | None = None

    def plain(self) -> str:
        """The content as one text."""
        return "".join(p.text for p in self.content) if isinstance(self.content, list) else self.content or ""


class JsonSchema(BaseModel):
    """`response_format.json_schema`."""

    name: str
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(BaseModel):
    """`response_format`: text, json_object or json_schema."""

    type: str
    json_schema: JsonSchema | None = None


class StructuredOutputs(BaseModel):
    """vLLM's own `structured_outputs`, as far as it is faked."""

    json_: dict[str, Any] | None = Field(None, alias="json")
    choice: list[str] | None = Field(None, min_length=1)


class Sampling(BaseModel):
    """What both generation endpoints take. Unknown fields are ignored, as vLLM does."""

    model: str | None = None
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    seed: int | None = None
    n: int | None = Field(None, ge=1, le=1024)
    stop: str | list[str] | None = None
    stream: bool | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None


class ChatRequest(Sampling):
    """POST /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)


class CompletionRequest(Sampling):
    """POST /v1/completions. The prompt's four forms are told apart by `_prompts`."""

    prompt: Any
    prompt_logprobs: int | None = Field(None, ge=0, le=20)
    logprobs: int | None = Field(None, ge=0, le=20)


class TokenizeRequest(BaseModel):
    """POST /tokenize, of a text or of a conversation."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    add_generation_prompt: bool = True


class DetokenizeRequest(BaseModel):
    """POST /detokenize."""

    model: str | None = None
    tokens: list[int]


class RequestError(Exception):
    """A request that is refused, with its HTTP status."""

    def __init__(self, message: str, status: int = 400):
        super().__init__(message)
        self.status = status


class HalfResponse(Response):
    """Breaks off in the middle of the body: uvicorn closes the connection of an unfinished response."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send half of what the headers promise."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})


class FakeServer:
    """The endpoints and what they count."""

    def __init__(self, settings: Settings):
        self.settings = settings
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
            exception_handlers={RequestError: _refused, text.SchemaError: _refused, ValidationError: _refused},
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
            "vllm:prompt_tokens_total": ("counter", self.tokens["prompt"]),
            "vllm:generation_tokens_total": ("counter", self.tokens["generation"]),
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
        self._known_model(asked.model)
        if asked.messages is None and asked.prompt is None:
            raise RequestError("either prompt or messages is needed")
        whole = asked.prompt or ""
        if asked.messages is not None:
            whole = _rendered(asked.messages, asked.add_generation_prompt)
        pieces = text.tokenize(whole)
        ids = [text.token_id(piece) for piece in pieces]
        if len(self._words) < _KNOWN_WORDS:
            self._words.update(zip(ids, pieces, strict=True))
        return JSONResponse({"count": len(ids), "max_model_len": self.settings.max_model_len, "tokens": ids})

    async def detokenize(self, request: Request) -> Response:
        """Words joined by blanks; an id that this process never gave out becomes `<id>`."""
        asked = DetokenizeRequest.model_validate_json(await request.body())
        self._known_model(asked.model)
        return JSONResponse({"prompt": " ".join(self._words.get(token, f"<{token}>") for token in asked.tokens)})

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        return await self._generation(request, self._chat)

    async def completions(self, request: Request) -> Response:
        """POST /v1/completions."""
        return await self._generation(request, self._completions)

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
            content = json.dumps(answer(body, fault), separators=(",", ":")).encode()
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
        draw = text.Draw(self.settings.fault_seed, digest, self._times_seen[digest])
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

    def _chat(self, body: bytes, fault: str) -> dict[str, Any]:
        asked = ChatRequest.model_validate_json(body)
        prompt = _rendered(asked.messages, True)
        ask = self._ask(asked, prompt, text.tokenize(prompt), asked.messages[-1].plain())
        max_tokens = self._max_tokens(asked.max_completion_tokens or asked.max_tokens, len(ask.pieces))
        choices: list[dict[str, Any]] = []
        written = 0
        for index in range(asked.n or 1):
            content, reason, count = _completion(ask, index, max_tokens, _stops(asked), fault)
            logprobs = _chat_logprobs(ask, content, asked.top_logprobs or 0) if asked.logprobs else None
            message = {"role": "assistant", "content": content, "refusal": None}
            choices.append({"index": index, "message": message, "logprobs": logprobs, "finish_reason": reason})
            written += count
        return self._reply("chat.completion", body, ask.model, choices, len(ask.pieces), written)

    def _completions(self, body: bytes, fault: str) -> dict[str, Any]:
        asked = CompletionRequest.model_validate_json(body)
        choices: list[dict[str, Any]] = []
        read, written, name = 0, 0, ""
        for prompt in _prompts(asked.prompt):
            # ids are not looked up, so that the answer does not depend on what was tokenized before
            pieces = text.tokenize(prompt) if isinstance(prompt, str) else [f"<{token}>" for token in prompt]
            ids = [text.token_id(piece) for piece in pieces] if isinstance(prompt, str) else prompt
            if not ids:
                raise RequestError("The decoder prompt cannot be empty")
            whole = prompt if isinstance(prompt, str) else " ".join(pieces)
            ask = self._ask(asked, whole, pieces, whole if isinstance(prompt, str) else "")
            max_tokens, name = self._max_tokens(asked.max_tokens or 16, len(ids)), ask.model
            prompt_logprobs = _prompt_logprobs(ids, pieces, asked.prompt_logprobs, fault)
            for index in range(asked.n or 1):
                content, reason, count = _completion(ask, index, max_tokens, _stops(asked), fault)
                logprobs = None if asked.logprobs is None else _completion_logprobs(ids, content, asked.logprobs)
                choices.append({
                    "index": len(choices), "text": content, "logprobs": logprobs, "finish_reason": reason,
                    "prompt_logprobs": prompt_logprobs,
                })  # fmt: skip
                written += count
            read += len(ids)
        return self._reply("text_completion", body, name, choices, read, written)

    def _ask(self, asked: Sampling, prompt: str, pieces: Sequence[str], last: str) -> text.Ask:
        """What the completion depends on, out of the request.

        Raises:
            RequestError: an unknown model, or something that vLLM or the fake engine refuses.
        """
        model = self._known_model(asked.model)
        temperature = 1.0 if asked.temperature is None else asked.temperature
        if asked.stream:
            raise RequestError("the fake engine does not stream")
        if temperature == 0 and (asked.n or 1) > 1:
            raise RequestError("n must be 1 when using greedy sampling")
        schema, choices = _wanted(asked)
        sampling = (temperature, asked.top_p, asked.seed) if temperature else (0.0, None, None)
        return text.Ask(model, prompt, last[-text.TAIL_CHARS :], pieces, sampling, schema, choices)

    def _known_model(self, name: str | None) -> str:
        if name is not None and name not in self.settings.models:
            raise RequestError(f"The model `{name}` does not exist.", 404)
        return name or self.settings.models[0]

    def _max_tokens(self, asked: int | None, prompt_tokens: int) -> int:
        limit = self.settings.max_model_len
        if prompt_tokens + (asked or 1) > limit:
            raise RequestError(
                f"This model's maximum context length is {limit} tokens. However, you requested "
                f"{prompt_tokens + (asked or 1)} tokens ({prompt_tokens} in the messages, {asked or 1} in the "
                "completion). Please reduce the length of the messages or completion."
            )
        return asked or limit - prompt_tokens

    def _reply(
        self, kind: str, body: bytes, model: str, choices: list[dict[str, Any]], read: int, written: int
    ) -> dict[str, Any]:
        self.tokens.update(prompt=read, generation=written)
        return {
            "id": f"fake-{hashlib.blake2b(body, digest_size=12).hexdigest()}", "object": kind, "created": 0,
            "model": model, "system_fingerprint": "pop-fake-engine", "choices": choices,
            "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
        }  # fmt: skip


async def _refused(_: Request, error: Exception) -> Response:
    return _error(str(error), error.status if isinstance(error, RequestError) else 400)


def _error(message: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    kinds = {404: "NotFoundError", 429: "RateLimitError", 500: "InternalServerError"}
    about = {"message": message, "type": kinds.get(status, "BadRequestError"), "param": None, "code": status}
    return JSONResponse({"error": about}, status, headers)


def _rendered(messages: Sequence[Message], add_generation_prompt: bool) -> str:
    turns = "".join(f"<|im_start|>{message.role}\n{message.plain()}<|im_end|>\n" for message in messages)
    return turns + ("<|im_start|>assistant\n" if add_generation_prompt else "")


def _stops(asked: Sampling) -> list[str]:
    return [asked.stop] if isinstance(asked.stop, str) else asked.stop or []


def _prompts(prompt: Any) -> list[str | list[int]]:
    """One or several prompts, as text or as token ids."""
    prompts = prompt if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else [prompt]
    for one in prompts:
        if not isinstance(one, str) and not (isinstance(one, list) and all(type(token) is int for token in one)):
            raise RequestError("prompt must be a text, token ids, or a list of either")
    return prompts


def _wanted(asked: Sampling) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The JSON schema and the choices that the completion must keep to."""
    output, form = asked.structured_outputs, asked.response_format
    if output is not None:
        if output.json_ is None and not output.choice:
            raise RequestError("of structured_outputs, the fake engine knows json and choice")
        return output.json_, tuple(dict.fromkeys(output.choice or ()))
    if form is None or form.type == "text":
        return None, ()
    if form.type == "json_object":
        return {"type": "object", "minProperties": 1}, ()
    if form.type != "json_schema" or form.json_schema is None:
        raise RequestError("response_format must be text, json_object or json_schema with its json_schema")
    return form.json_schema.schema_, ()


def _completion(ask: text.Ask, index: int, max_tokens: int, stop: list[str], fault: str) -> tuple[str, str, int]:
    """Text, finish reason, tokens."""
    if fault in ("malformed", "truncated", "garbage"):
        content, reason = text.spoiled(fault, ask, index)
        return content, reason, len(text.tokenize(content))
    return text.cut(text.compose(ask, index), max_tokens, stop)


def _logprob(token: str, value: float) -> dict[str, Any]:
    return {"token": token, "logprob": value, "bytes": list(token.encode("utf-8", "surrogatepass"))}


def _written(ids: Sequence[int], content: str) -> list[tuple[str, float]]:
    """The tokens of a completion and their log-probabilities, given the prompt's ids."""
    pieces = text.tokenize(content)
    values = text.log_probabilities([*ids, *map(text.token_id, pieces)])[len(ids) :]
    return list(zip(pieces, values, strict=True))


def _chat_logprobs(ask: text.Ask, content: str, top: int) -> dict[str, Any]:
    """Of a choice: one token, with the likeliest choices beside it. Of other text: one entry a token."""
    if ask.choices:
        likely = {choice: round(math.log(p), 6) for choice, p in text.choice_probabilities(ask).items()}
        others = [_logprob(*pair) for pair in list(likely.items())[:top]]
        return {"content": [{**_logprob(content, likely.get(content, -20.0)), "top_logprobs": others}]}
    entries = []
    for piece, value in _written([text.token_id(piece) for piece in ask.pieces], content):
        others = [_logprob(token, other) for token, other, _ in text.alternatives(value, top)]
        entries.append({**_logprob(piece, value), "top_logprobs": others})
    return {"content": entries}


def _completion_logprobs(ids: Sequence[int], content: str, top: int) -> dict[str, Any]:
    written = _written(ids, content)
    offsets, at = [], 0
    for piece, _ in written:
        offsets.append(content.index(piece, at))
        at = offsets[-1] + len(piece)
    return {
        "tokens": [piece for piece, _ in written],
        "token_logprobs": [value for _, value in written],
        "top_logprobs": [
            {token: v for token, v, _ in text.alternatives(value, top)} | {piece: value} for piece, value in written
        ],
        "text_offset": offsets,
    }


def _prompt_logprobs(ids: Sequence[int], pieces: Sequence[str], top: int | None, fault: str) -> Any:
    """vLLM's shape: null for the first token, then the true token and `top` others, by token id."""
    if top is None or fault == "malformed":
        return None
    positions: list[dict[str, Any] | None] = [None]
    for token, piece, value in list(zip(ids, pieces, text.log_probabilities(ids), strict=True))[1:]:
        shown = float("nan") if fault == "garbage" else value
        position = {str(token): {"logprob": shown, "rank": text.rank(value), "decoded_token": piece}}
        for word, other, rank in text.alternatives(value, top) if top else ():
            position.setdefault(str(text.token_id(word)), {"logprob": other, "rank": rank, "decoded_token": word})
        positions.append(position)
    return positions[: len(positions) // 2] if fault == "truncated" else positions


class FakeEngine:
    """A fake engine in a process of its own, for tests and benchmarks.

    Example:
        >>> with FakeEngine(faults={"http500": 0.1}, latency_sec=0.05) as engine:
        ...     client = openai.AsyncOpenAI(base_url=engine.url, api_key="none")

    Args:
        models: the served names.
        faults: value by kind, as after `--fault`.
        port: 0 for any free one; a given one, to come back under the same address.
        options: the command line's other switches, e.g. `latency_sec=0.1`.
    """

    def __init__(self, *models: str, faults: Mapping[str, float | str] | None = None, port: int = 0, **options: float):
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
        with _bound(self._port) as sock:  # handed over bound, so that nobody can take the port in between
            self._port = sock.getsockname()[1]
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tasks.engine.fake", f"--fd={sock.fileno()}", *self._arguments],
                stdin=subprocess.PIPE, pass_fds=[sock.fileno()], cwd=Path(__file__).parents[2],
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


def _bound(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    return sock


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tasks.engine.fake", description="A fake OpenAI-compatible server.")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--port", type=int, help="on 127.0.0.1")
    where.add_argument("--fd", type=int, help="a bound socket; ends when standard input closes (for FakeEngine)")
    parser.add_argument("--model", action="append", help="a served name; several are allowed (default: policy)")
    parser.add_argument("--latency-sec", type=float, default=0.0)
    parser.add_argument("--max-model-len", type=int, default=8192)
    parser.add_argument(
        "--fault", action="append", default=[], metavar="KIND=SHARE",
        help=f"{', '.join(FAULTS)}: share of requests from 0 to 1; or slow=SECONDS or slow=SECONDS:SHARE",
    )  # fmt: skip
    parser.add_argument("--fault-seed", type=int, default=0)
    parser.add_argument("--retry-after-sec", type=float, default=1.0)
    parser.add_argument("--die-after", type=int, metavar="N", help="answer N generation requests, exit at the next")
    parser.add_argument("--start-delay-sec", type=float, default=0.0)
    return parser


def _faults(given: Sequence[str]) -> tuple[dict[str, float], tuple[float, float]]:
    """Share by kind, and the seconds and share of slowness, from the command line's KIND=VALUE.

    Raises:
        ValueError: an unknown kind, or a value out of range.
    """
    shares, slow = {}, (0.0, 0.0)
    for one in given:
        kind, _, value = one.partition("=")
        if kind == "slow":
            seconds, _, share = value.partition(":")
            slow = (float(seconds), float(share or 1))
        elif kind in FAULTS:
            shares[kind] = float(value)
        else:
            raise ValueError(f"unknown fault {kind!r}; known: {', '.join(FAULTS)}, slow")
    if any(not 0 <= share <= 1 for share in (*shares.values(), slow[1])) or sum(shares.values()) > 1.000001:
        raise ValueError("each share of --fault must be from 0 to 1, and their sum at most 1")
    return shares, slow


def _end_with_starter() -> None:
    while os.read(0, 1024):
        pass
    os._exit(0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        shares, slow = _faults(given.fault)
    except ValueError as error:
        parser.error(str(error))
    settings = Settings(
        tuple(given.model or ("policy",)), given.latency_sec, given.max_model_len, shares, slow, given.fault_seed,
        given.retry_after_sec, given.die_after,
    )  # fmt: skip
    if given.fd is not None:
        threading.Thread(target=_end_with_starter, daemon=True).start()
    time.sleep(given.start_delay_sec)
    config = uvicorn.Config(
        FakeServer(settings).app(), lifespan="off", access_log=False,
        log_level="critical",  # a connection closed on purpose is no error
        timeout_keep_alive=300,  # so that no client meets one closing just as it sends
        timeout_graceful_shutdown=1,  # hanging requests would keep it up
    )  # fmt: skip
    with socket.socket(fileno=given.fd) if given.fd is not None else _bound(given.port) as sock:
        uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    main()
