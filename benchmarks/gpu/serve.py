"""Tokens a second of vLLM behind the project's client, beside vLLM's own benchmark and the paper's way of asking.

    python benchmarks/gpu/serve.py --shape 7b --problems 32 --answers 32 --prompt 512 --words 1024

Three ways over the same server, whose weights are random (`--load-format dummy`, so every answer has all its tokens):

- `pipeline`: every answer and rating in flight as soon as it can be, up to `--in-flight`, by `tasks.engine.client`;
- `sampler`: 16 workers, each one problem at a time, its answers together and its ratings one after the other;
- `bench`: `vllm bench serve` with as many requests of the same lengths.

Prints one JSON line. Runs in the environment that has vLLM.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.gpu.shapes import SHAPES, make_model
from benchmarks.gpu.watch import Peak, machine
from schemas.config import EngineConfig
from schemas.roles import ModelConfig, Sampling
from tasks.engine.client import Client
from tasks.engine.group import serve_all
from tasks.engine.protocol import Request
from tasks.engine.server import Served, free_port, this_machine, vllm_command, vllm_environment

WORKERS = 16  # of the paper's sampler
BENCH = """
import argparse, asyncio, sys
from vllm.benchmarks.serve import add_cli_args, main
parser = argparse.ArgumentParser()
add_cli_args(parser)
main(parser.parse_args(sys.argv[1:]))
"""


class Load:
    """The requests of a round, by problem: answers, and a rating of each."""

    def __init__(self, client: Client, given: argparse.Namespace) -> None:
        self._client, self._given = client, given
        self.tokens = 0

    async def ask(self, role: str, subject: str, prompt: int, tokens: int) -> None:
        """One call; its tokens are counted."""
        text = f"{subject} {'x' * (prompt - len(subject) - 1)}"
        messages = ({"role": "user", "content": text},)
        done = await self._client.chat(Request(role, subject, "text", messages, Sampling(max_tokens=tokens)))
        self.tokens += done.completion_tokens or 0

    async def answer(self, problem: int, number: int) -> None:
        """One rollout."""
        await self.ask("answer", f"p{problem} a{number}", self._given.prompt, self._given.words)

    async def rate(self, problem: int, number: int) -> None:
        """One rating, which reads the answer."""
        longer = self._given.prompt + self._given.words
        await self.ask("judge", f"p{problem} a{number} rating", longer, self._given.rating)

    async def pipeline(self) -> None:
        """Every rollout and its rating by itself."""

        async def one(problem: int, number: int) -> None:
            await self.answer(problem, number)
            await self.rate(problem, number)

        await asyncio.gather(*(one(p, n) for p in range(self._given.problems) for n in range(self._given.answers)))

    async def sampler(self) -> None:
        """16 workers, a problem at a time; ratings one after the other."""
        owed = iter(range(self._given.problems))

        async def worker() -> None:
            for problem in owed:
                await asyncio.gather(*(self.answer(problem, n) for n in range(self._given.answers)))
                for number in range(self._given.answers):
                    await self.rate(problem, number)

        await asyncio.gather(*(worker() for _ in range(WORKERS)))


async def timed(load: Load, way: Callable[[], Awaitable[None]]) -> dict[str, Any]:
    """Seconds and tokens a second of one way."""
    started, before = time.monotonic(), load.tokens
    await way()
    seconds = time.monotonic() - started
    return {"seconds": round(seconds, 2), "tokens_a_second": round((load.tokens - before) / seconds, 1)}


def bench(url: str, model: Path, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """`vllm bench serve` with as many requests as a round has answers, of their lengths."""
    count = given.problems * given.answers
    command = [
        sys.executable, "-c", BENCH, "--backend", "openai", "--base-url", url.removesuffix("/v1"), "--model", "policy",
        "--tokenizer", str(model), "--dataset-name", "random", "--random-input-len", str(given.prompt),
        "--random-output-len", str(given.words), "--num-prompts", str(count), "--ignore-eos",
        "--max-concurrency", str(given.in_flight), "--save-result", "--result-dir", str(folder),
        "--result-filename", "bench.json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1:]}
    found = json.loads((folder / "bench.json").read_text())
    return {"seconds": round(found["duration"], 2), "tokens_a_second": round(found["output_throughput"], 1)}


async def run(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Serve the shape, and ask it in all three ways."""
    model = make_model(given.shape, folder / given.shape)
    config = EngineConfig(
        max_model_len=given.prompt + given.words + given.rating + 256, max_in_flight=given.in_flight,
        extra_args=["--load-format", "dummy"], start_timeout_sec=1200, timeout_sec=3600,
    )  # fmt: skip
    where, port = this_machine(given.device), free_port()
    command = vllm_command(Path(sys.executable), str(model), port, config, where)
    quiet: Callable[[str], None] = lambda text: print(text, file=sys.stderr)  # noqa: E731
    ways: dict[str, Any] = {}
    with Peak() as peak:
        one = Served("vLLM", command, vllm_environment(where), port, folder / "vllm.log", config, quiet, lambda _: None)
        async with serve_all([one], quiet):
            gate = asyncio.Semaphore(given.in_flight)
            load = Load(Client("shape", ModelConfig(path=str(model)), config, (one.url,), gate), given)
            await load.ask("answer", "warm-up", given.prompt, given.words)
            ways["pipeline"] = await timed(load, load.pipeline)
            ways["sampler"] = await timed(load, load.sampler)
            ways["bench"] = await asyncio.to_thread(bench, one.url, model, given, folder)
    return {
        "benchmark": "serve", "shape": given.shape, "problems": given.problems, "answers": given.answers,
        "prompt_tokens": given.prompt, "answer_tokens": given.words, "rating_tokens": given.rating,
        "in_flight": given.in_flight, **ways, **peak.figures(), "machine": machine(),
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """One JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    for name, value in (("problems", 32), ("answers", 32), ("prompt", 512), ("words", 1024), ("rating", 256)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--in-flight", type=int, default=256)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="pop-gpu-") as folder:
        print(json.dumps(asyncio.run(run(given, Path(folder)))), flush=True)


if __name__ == "__main__":
    main()
