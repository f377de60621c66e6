"""Tokens a second of the pipeline against vLLM's own `vllm bench serve`: same server, same prompts, same lengths.

    python -m benchmarks.real [--documents 16] [--answers 5] [--in-flight 48]

A real vLLM serves the preset demo's model. The pipeline makes a round on it; then vLLM's benchmark sends the prompts of
that round's calls in their order, each to write as many tokens as the call has written, with as many in flight. The
prefix cache is emptied in between. The pipeline's seconds go from its first request to its last token, waits included;
the benchmark's are its own.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from benchmarks import frame
from benchmarks.frame import Figure
from benchmarks.gpu.serve import BENCH
from benchmarks.pipeline import RUN, Ran, round_at
from schemas.config import EngineConfig
from tasks.engine.group import Group, serve_all
from tasks.engine.load import read_metrics
from tasks.engine.server import Served, free_port, this_machine, vllm_command, vllm_environment
from tasks.runtime import runtime_device, runtime_python
from tasks.runtime.default_model import default_model
from tasks.storage.db import connect, rows_of
from tasks.storage.store import Store

EVERY_SEC = 0.2
READ, WRITTEN = "vllm:prompt_tokens_total", "vllm:generation_tokens_total"
SETTINGS = (
    "task.dialect=stepwise", "task.type=health_care", "rating.mode=logprob", "rubric.max_criteria=3",
    "rubric.shown_answers=0", "sampling.cut_answers=sentence", "corpus.max_words=200", "corpus.long_texts=cut",
    "corpus.documents_per_shard=4", "pairing.min_answers=2",
    "sampling.propose={temperature=0.4, top_p=0.9, max_tokens=110}",
    "sampling.answer={temperature=1.0, top_p=0.95, max_tokens=80}",
    "sampling.rubric={temperature=0.4, top_p=0.9, max_tokens=140}",
)  # fmt: skip
CALLS = """
    SELECT messages[-1].content AS prompt, completion_tokens AS output_tokens, prompt_tokens FROM generations
    WHERE completion_tokens > 0 ORDER BY array_position(['propose', 'answer', 'rubric', 'judge'], role), subject_id
"""


async def watch(url: str, over: asyncio.Event) -> list[tuple[float, dict[str, float]]]:
    """The server's metrics, five times a second until it is over."""
    found: list[tuple[float, dict[str, float]]] = []
    async with httpx.AsyncClient(timeout=60) as http:
        while not over.is_set():
            text = (await http.get(url.removesuffix("/v1") + "/metrics")).text
            found.append((time.monotonic(), read_metrics(text)))
            await asyncio.sleep(EVERY_SEC)
    return found


def worked(seen: list[tuple[float, dict[str, float]]]) -> tuple[float, float, float]:
    """Seconds from the first request of the generation to the last token, and the tokens read and written in them.

    Before it the pipeline asks the server what it can do, one question at a time.
    """
    running = [one["vllm:num_requests_running"] for _, one in seen]
    first = next(n for n, many in enumerate(running) if many >= min(2, max(running)))  # short ones may never meet
    last = next(
        n
        for n, (_, one) in enumerate(seen)
        if one["vllm:generation_tokens_total"] == seen[-1][1]["vllm:generation_tokens_total"]
    )
    (began, before), (ended, after) = seen[max(0, first - 1)], seen[last]
    read, written = (
        after[name] - before[name] for name in ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")
    )
    return ended - began, read, written


async def pipeline(
    url: str, folder: Path, given: argparse.Namespace, more: Sequence[str] = (), run: str = RUN
) -> tuple[Ran, tuple[float, float, float]]:  # fmt: skip
    """A round, and what the server did in it."""
    over = asyncio.Event()
    watching = asyncio.create_task(watch(url, over))
    settings = [*SETTINGS, "corpus.source=health_care", f"sampling.answers={given.answers}",
                f"engine.max_in_flight={given.in_flight}", *more]  # fmt: skip
    try:
        ran = await asyncio.to_thread(round_at, url, folder, given.documents, settings, run)
    finally:
        over.set()
    return ran, worked(await watching)


def bench(url: str, model: Path, store: Store, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """vLLM's own benchmark with the round's prompts and lengths.

    Raises:
        RuntimeError: it failed; with its last words.
    """
    rows = rows_of(connect(store), CALLS)
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [
        str(runtime_python()), "-c", BENCH, "--backend", "openai", "--base-url", url.removesuffix("/v1"),
        "--model", "policy", "--tokenizer", str(model), "--dataset-name", "custom", "--dataset-path", str(prompts),
        "--custom-output-len", "-1", "--disable-shuffle", "--ignore-eos", "--num-prompts", str(len(rows)),
        "--max-concurrency", str(given.in_flight), "--save-result", "--result-dir", str(folder),
        "--result-filename", "bench.json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"vllm bench serve ended with {done.returncode}: {done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads((folder / "bench.json").read_text())
    require_whole(found, rows)
    return found


def require_whole(found: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """vLLM's benchmark counts failed requests in its time and may ask for one token each without a word.

    Raises:
        RuntimeError: it has not done what was asked.
    """
    wanted = sum(row["output_tokens"] for row in rows)
    if found["completed"] != len(rows) or abs(found["total_output_tokens"] - wanted) > wanted / 100:
        raise RuntimeError(
            f"vllm bench serve answered {found['completed']} of {len(rows)} requests and wrote "
            f"{found['total_output_tokens']} of {wanted} tokens"
        )


def served(model: Path, folder: Path) -> AbstractAsyncContextManager[Group]:
    """A vLLM of this machine with the model."""
    where, port = this_machine(runtime_device()), free_port()
    config = EngineConfig(max_model_len=2048, start_timeout_sec=1800)
    command = vllm_command(runtime_python(), str(model), port, config, where)
    env = vllm_environment(where) | {"VLLM_SERVER_DEV_MODE": "1"}  # which has /reset_prefix_cache
    one = Served("vLLM", command, env, port, folder / "vllm.log", config, frame.note, lambda _: None)
    return serve_all([one], frame.note)


async def forget(url: str) -> None:
    """Empty the server's prefix cache."""
    async with httpx.AsyncClient(timeout=60) as http:
        (await http.post(url.removesuffix("/v1") + "/reset_prefix_cache")).raise_for_status()


async def both(given: argparse.Namespace, folder: Path) -> list[Figure]:
    """Serve the model, and ask it in both ways."""
    model = default_model(frame.note)
    async with served(model, folder) as server:
        ran, (seconds, read, written) = await pipeline(server.urls[0], folder, given)
        await forget(server.urls[0])
        theirs = await asyncio.to_thread(bench, server.urls[0], model, ran.store, folder, given)
    own = (theirs["total_input_tokens"] + theirs["total_output_tokens"]) / theirs["duration"]
    return [
        Figure("pipeline", (read + written) / seconds, "tokens/s"),
        Figure("vllm bench serve", own, "tokens/s"),
        Figure("pipeline, written", written / seconds, "tokens/s"),
        Figure("vllm bench serve, written", theirs["output_throughput"], "tokens/s"),
        Figure("written, ratio", written / seconds / theirs["output_throughput"], "x", ">= 0.9"),
        Figure("all tokens, ratio", (read + written) / seconds / own, "x"),
    ]


def measure(given: argparse.Namespace) -> list[Figure]:
    """One round and one benchmark."""
    with tempfile.TemporaryDirectory(prefix="pop-bench-") as folder:
        return asyncio.run(both(given, Path(folder)))


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--documents", type=int, default=16)
    parser.add_argument("--answers", type=int, default=5)
    parser.add_argument("--in-flight", type=int, default=48)


main = partial(frame.main, __doc__, measure, options)

if __name__ == "__main__":
    sys.exit(main())
