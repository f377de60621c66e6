"""Documents an hour of the pipeline against the paper's own way of sampling, on the same modelled server.

    python -m benchmarks.sampler [--documents 256] [--answers 16] [--card a100] [--speed 4]

The paper's pattern, in our words: 16 workers, each with one example at a time; its stages in sequence, an example's
answers together, its ratings one by one. They send the very requests that the pipeline has sent before (out of its
`generations`), so that both have the same prompts and get the same texts. The paper's are processes; here they share
one, which costs them nothing that the server would notice. `logprob`: the pipeline with `rating.mode=logprob` on the
same documents, against the pattern with its written ratings.

Seconds are the modelled server's, from the first request of the generation to the last answer.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import frame
from benchmarks.frame import Figure
from benchmarks.latency_model import CARDS
from benchmarks.model_server import ModelledEngine
from benchmarks.pipeline import Ran, generation, round_at
from tasks.storage.db import connect, rows_of
from tasks.storage.store import Store

WORKERS = 16  # of the paper's sampler
ROLES = ("propose", "answer", "rubric", "judge")
TOGETHER = ("answer",)
SHARDS = 32
Example = list[list[bytes]]  # the requests of each role, in order

ASKED = """
    WITH subjects AS (
        SELECT problem_id AS subject_id, problem_id FROM problems UNION SELECT answer_id, problem_id FROM answers
        UNION SELECT rubric_id, problem_id FROM rubrics UNION SELECT rating_id, problem_id FROM ratings
    )
    SELECT problem_id, role, messages, params FROM generations JOIN subjects USING (subject_id)
    ORDER BY problem_id, role, subject_id, attempt
"""


def examples(store: Store) -> list[Example]:
    """A round's chat requests, by problem and role."""
    found: dict[str, dict[str, list[bytes]]] = {}
    for row in rows_of(connect(store), ASKED):
        body = {"model": "policy", "messages": row["messages"], **json.loads(row["params"])}
        of_role = found.setdefault(row["problem_id"], {}).setdefault(row["role"], [])
        of_role.append(json.dumps(body).encode())
    return [[roles.get(role, []) for role in ROLES] for roles in found.values()]


async def pattern(url: str, work: Sequence[Example], workers: int = WORKERS) -> None:
    """Ask everything as the paper's sampler does."""
    owed = iter(work)
    timeout, connector = aiohttp.ClientTimeout(total=None), aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector, raise_for_status=True) as session:

        async def ask(body: bytes) -> None:
            async with session.post(f"{url}/chat/completions", data=body) as answer:
                await answer.read()

        async def worker() -> None:
            for example in owed:
                for role, bodies in zip(ROLES, example, strict=True):
                    if role in TOGETHER:
                        await asyncio.gather(*map(ask, bodies))
                    else:
                        for body in bodies:
                            await ask(body)

        await asyncio.gather(*(worker() for _ in range(workers)))


def an_hour(documents: int, load: dict[str, Any]) -> float:
    """Documents an hour of the server's time; says so where the server itself was too slow to be trusted."""
    began, ended = generation(load)
    if load["late_sec"] > 1.0:
        frame.note(f"the modelled server fell behind by {load['late_sec']:.1f} s: a lower --speed tells more")
    return documents * 3600 / (ended - began)


def settings(given: argparse.Namespace, mode: str) -> list[str]:
    """Of a round that is to keep a card busy: a few more requests than it has seats, and as many shards as the paper's
    4,096 documents would have, or half of them. As in the paper nobody asks how likely an answer is by itself."""
    return [
        f"sampling.answers={given.answers}", f"rating.mode={mode}", "rating.own_likelihood=false",
        f"engine.max_in_flight={CARDS[given.card].seats * 5 // 4}",
        f"corpus.documents_per_shard={max(1, given.documents // SHARDS)}",
    ]  # fmt: skip


def ours(given: argparse.Namespace, folder: Path, mode: str) -> tuple[Ran, float]:
    """The pipeline's round, and its documents an hour."""
    with ModelledEngine(card=given.card, speed=given.speed) as server:
        ran = round_at(server.url, folder, given.documents, settings(given, mode), mode, server.watch)
        return ran, an_hour(given.documents, server.load())


def measure(given: argparse.Namespace) -> list[Figure]:
    """All three ways, once."""
    with tempfile.TemporaryDirectory(prefix="pop-bench-") as temporary:
        folder = Path(temporary)
        ran, pipeline = ours(given, folder, "pointwise")
        _, digits = ours(given, folder, "logprob")
        with ModelledEngine(card=given.card, speed=given.speed) as server:
            work = examples(ran.store)
            server.watch(os.getpid())
            asyncio.run(pattern(server.url, work))
            paper = an_hour(given.documents, server.load())
    return [
        Figure("the paper's pattern", paper, "documents/hour"),
        Figure("pipeline, same requests", pipeline, "documents/hour"),
        Figure("pipeline, logprob rating", digits, "documents/hour"),
        Figure("same requests, ratio", pipeline / paper, "x", ">= 3"),
        Figure("logprob rating, ratio", digits / paper, "x", ">= 8"),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--documents", type=int, default=256)
    parser.add_argument("--answers", type=int, default=16)
    parser.add_argument("--card", choices=CARDS, default="a100")
    parser.add_argument("--speed", type=float, default=4.0, help="model seconds a second")


main = partial(frame.main, __doc__, measure, options)

if __name__ == "__main__":
    sys.exit(main())
