"""An OpenAI-compatible server that takes as long as a 7B model on a given card would, and has no model.

    python -m benchmarks.model_server --port 8000 --card a100 --speed 10

Time comes from `latency_model`, texts from `model_answers`. With `--speed 10` its clock runs ten times as fast as the
wall's; how long its callers take then counts ten times too, so that a speed-up never flatters them. Beside the API it
has /tokenize, vLLM's /metrics, and `GET /pop/load`: what every step of the engine was, for `busy`.

A request joins at the step that begins next. Where the process itself cannot keep up, its clock falls behind the
wall's: `late_sec` in /pop/load says by how much at most, and a run in which that is more than a fraction of a second
says little.
"""

import argparse
import asyncio
import contextlib
import json
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from benchmarks.latency_model import CARDS, QWEN_7B, Engine, Job
from benchmarks.model_answers import ModelAnswers, Said, rendered, tokenized
from tasks.engine.fake.process import FakeEngine, bound, end_with_starter
from tasks.engine.fake.schema import SchemaError
from tasks.engine.fake.wire import RequestError

AHEAD_SEC = 0.0005  # of wall time that is not worth a sleep


class Waited:
    """Seconds that a process was ready to run and had no core, by Linux' own count (`/proc/PID/schedstat`).

    Of its main thread, in which the controller's event loop runs.
    """

    def __init__(self) -> None:
        self._pid = self._before = self._total = 0

    def watch(self, pid: int) -> None:
        """Count this one from now on; where there is no such count, nothing is."""
        self._pid, self._before = pid, self._read(pid) or 0

    @property
    def seconds(self) -> float:
        """So far."""
        now = self._read(self._pid) if self._pid else None
        if now is not None:
            self._total, self._before = self._total + now - self._before, now
        return self._total / 1e9

    @staticmethod
    def _read(pid: int) -> int | None:
        try:
            return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1])
        except (OSError, IndexError):  # it has ended
            return None


class Clock:
    """Steps the engine in its own time, `speed` times the wall's; idle time passes too.

    It stands still while the process that is watched waits for a core: on a machine with others it so gives nearly what
    it would give with nobody else there. What that process computes itself counts in full.
    """

    def __init__(self, engine: Engine, speed: float) -> None:
        self.engine, self.speed, self.now, self.late_sec, self.waited = engine, speed, 0.0, 0.0, Waited()
        self.steps: list[tuple[float, float, int, int, int]] = []
        self._began, self._work, self._finished = time.monotonic(), asyncio.Event(), list[asyncio.Future[None]]()

    @property
    def wall(self) -> float:
        """Model seconds that have passed by the wall's clock."""
        return (time.monotonic() - self._began - self.waited.seconds) * self.speed

    async def done(self, prompt: int, blocks: list[int], completion: int) -> None:
        """Queue a sequence and wait for its end.

        Raises:
            RequestError: it will never fit into the KV cache.
        """
        future = asyncio.get_running_loop().create_future()
        try:
            self.engine.add(Job(prompt, completion, lambda: self._finished.append(future), blocks))
        except ValueError as error:
            raise RequestError(str(error)) from None
        self._work.set()
        await future

    async def run(self) -> None:
        """For ever."""
        while True:
            if not self.engine.has_work:
                self._work.clear()
                await self._work.wait()
                self.now = max(self.now, self.wall)
            began, seconds = self.now, self.engine.step()
            self.now += seconds
            self.steps.append((began, seconds, self.engine.running, len(self.engine.waiting), self.engine.used))
            ahead = (self.now - self.wall) / self.speed
            self.late_sec = max(self.late_sec, -ahead)
            await asyncio.sleep(ahead if ahead > AHEAD_SEC else 0)
            for future in self._finished:
                if not future.done():
                    future.set_result(None)
            self._finished.clear()


class ModelServer:
    """The endpoints."""

    def __init__(self, model: str, max_model_len: int, answers: ModelAnswers, clock: Clock) -> None:
        self._model, self._max_model_len, self._answers, self.clock = model, max_model_len, answers, clock
        self._finished = 0

    def app(self) -> web.Application:
        """The application."""
        app = web.Application(client_max_size=2**30)
        app.add_routes([
            web.post("/v1/chat/completions", self.chat), web.post("/v1/completions", self.completions),
            web.post("/tokenize", self.tokenize), web.get("/health", self.health), web.get("/v1/models", self.models),
            web.get("/metrics", self.metrics), web.get("/pop/load", self.load),
            web.post("/pop/watch/{pid}", self.watch),
        ])  # fmt: skip
        app.cleanup_ctx.append(self._running)
        return app

    async def _running(self, _: web.Application) -> Any:
        running = asyncio.create_task(self.clock.run())
        yield
        running.cancel()

    async def chat(self, request: web.Request) -> web.Response:
        """POST /v1/chat/completions."""
        return await self._generation(request, self._answers.chat)

    async def completions(self, request: web.Request) -> web.Response:
        """POST /v1/completions."""
        return await self._generation(request, self._answers.completions)

    async def _generation(self, request: web.Request, answer: Callable[[bytes], Said]) -> web.Response:
        try:
            said = answer(await request.read())
            await asyncio.gather(*(self.clock.done(*cost) for cost in said.costs))
        except (RequestError, SchemaError, ValidationError, KeyError, ValueError) as error:
            return _error(str(error), error.status if isinstance(error, RequestError) else 400)
        self._finished += 1
        return _json(said.reply)

    async def health(self, _: web.Request) -> web.Response:
        """Ready as soon as it listens."""
        return web.Response()

    async def models(self, _: web.Request) -> web.Response:
        """The one it serves."""
        card = {"id": self._model, "object": "model", "owned_by": "latency-model", "max_model_len": self._max_model_len}
        return _json({"object": "list", "data": [card]})

    async def tokenize(self, request: web.Request) -> web.Response:
        """Token ids of a text or a conversation."""
        asked = json.loads(await request.read())
        ids = tokenized(rendered(asked["messages"]) if asked.get("messages") else asked.get("prompt") or "")
        return _json({"count": len(ids), "max_model_len": self._max_model_len, "tokens": ids})

    async def metrics(self, _: web.Request) -> web.Response:
        """Those of vLLM's that say how busy it is, in Prometheus' text form."""
        engine = self.clock.engine
        counters = {
            "prompt_tokens": engine.read_tokens + engine.hits, "generation_tokens": engine.written_tokens,
            "prefix_cache_queries": engine.queries, "prefix_cache_hits": engine.hits,
            "num_preemptions": engine.preemptions, "request_success": self._finished,
        }  # fmt: skip
        gauges = {
            "num_requests_running": engine.running, "num_requests_waiting": len(engine.waiting),
            "kv_cache_usage_perc": engine.used / engine.capacity,
        }  # fmt: skip
        label = f'{{engine="0",model_name="{self._model}"}}'
        lines = [
            f"# TYPE vllm:{name}_total counter\nvllm:{name}_total{label} {n:.1f}\n" for name, n in counters.items()
        ]
        lines += [f"# TYPE vllm:{name} gauge\nvllm:{name}{label} {n:.6g}\n" for name, n in gauges.items()]
        return web.Response(text="".join(lines))

    async def watch(self, request: web.Request) -> web.Response:
        """From now on the clock stands still while this process waits for a core."""
        self.clock.waited.watch(int(request.match_info["pid"]))
        return web.Response()

    async def load(self, _: web.Request) -> web.Response:
        """Every step: when it began and how long it took, in the model's seconds, sequences running and waiting, and
        tokens of KV cache in use."""
        engine, clock = self.clock.engine, self.clock
        return _json({
            "steps": clock.steps, "seats": engine.card.seats, "capacity": engine.capacity, "speed": clock.speed,
            "late_sec": clock.late_sec, "waited_sec": clock.waited.seconds,
            "written_tokens": engine.written_tokens, "read_tokens": engine.read_tokens,
            "hits": engine.hits, "queries": engine.queries, "preemptions": engine.preemptions,
            "requests": self._finished,
        })  # fmt: skip


def _json(content: Any, status: int = 200) -> web.Response:
    body = json.dumps(content, separators=(",", ":")).encode()
    return web.Response(body=body, content_type="application/json", status=status)


def _error(message: str, status: int) -> web.Response:
    about = {"message": message, "type": "NotFoundError" if status == 404 else "BadRequestError", "code": status}
    return _json({"error": about}, status)


class ModelledEngine(FakeEngine):
    """The server in a process of its own.

    Example:
        >>> with ModelledEngine(card="h100", speed=5) as engine:
        ...     engine.url, engine.load()

    Args:
        options: the command line's switches.
    """

    module = "benchmarks.model_server"

    def load(self) -> dict[str, Any]:
        """See `ModelServer.load`."""
        return dict(json.loads(self._get("/pop/load")))

    def watch(self, pid: int) -> None:
        """See `ModelServer.watch`."""
        url = f"http://127.0.0.1:{self._port}/pop/watch/{pid}"
        urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=60).close()


def _length(given: str) -> tuple[str, tuple[float, float]]:
    name, _, value = given.partition("=")
    median, _, deviation = value.partition(":")
    return name, (float(median), float(deviation or 0.0))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--port", type=int, help="on 127.0.0.1")
    where.add_argument("--fd", type=int, help="a bound socket; ends when standard input closes")
    parser.add_argument("--card", choices=CARDS, default="a100")
    parser.add_argument("--speed", type=float, default=1.0, help="model seconds a second")
    parser.add_argument("--model", default="policy", help="the served name")
    parser.add_argument("--max-model-len", type=int, default=32768)
    parser.add_argument("--kv-tokens", type=int, help="tokens of KV cache (default: what the card has room for)")
    parser.add_argument("--seats", type=int, help="sequences in a step (default: vLLM's for the card)")
    parser.add_argument("--seed", type=int, default=0, help="of texts and lengths")
    parser.add_argument(
        "--length", action="append", default=[], type=_length, metavar="NAME=MEDIAN:SIGMA",
        help="tokens of a plain text (`text`) or of a field of JSON, log-normal",
    )  # fmt: skip
    return parser


async def serve(given: argparse.Namespace) -> None:
    """Serve until a signal."""
    card = CARDS[given.card]
    if given.seats:
        card = replace(card, seats=given.seats)
    answers = ModelAnswers(given.model, given.max_model_len, dict(given.length), given.seed)
    clock = Clock(Engine(card, QWEN_7B, given.kv_tokens), given.speed)
    runner = web.AppRunner(ModelServer(given.model, given.max_model_len, answers, clock).app(), access_log=None)
    await runner.setup()
    with bound(given.port) if given.fd is None else socket.socket(fileno=given.fd) as sock:
        await web.SockSite(runner, sock, backlog=4096).start()
        await asyncio.Event().wait()


def main() -> None:
    """As a command."""
    given = _parser().parse_args()
    with contextlib.suppress(OSError):
        os.nice(-10)  # it stands for a card of its own: on a machine with others it must not be late
    if given.fd is not None:
        threading.Thread(target=end_with_starter, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(given))


if __name__ == "__main__":
    main()
