"""What the controller costs: CPU a model call and an answer, the longest pause of its event loop, its peak memory.

    python -m benchmarks.controller --documents 128 --answers 16 --in-flight 256 --mode likelihood [--json]

A whole round up to its pairs, against the stand-in server (a process of its own, without latency) and a Prefect server
(another one). CPU time is this process's alone, user and system, from the first shard's start to the last one's end.
Promised: 1.0 ms a call and no pause above 50 ms, of the loop's own CPU time: on a shared machine the wall's also has
what others did meanwhile.
"""

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.standin import FastEngine
from flows import settings  # noqa: F401  (Prefect's settings, before Prefect)
from schemas.config import Config
from schemas.load import load_config
from tasks.judging import MODES
from tasks.runtime.default_model import default_model
from tasks.staging.stage import Round
from tasks.storage.db import connect
from tasks.storage.store import Store

MOST_MS_A_CALL, LONGEST_PAUSE_MS = 1.0, 50.0
_BEAT_SEC = 0.005


class Meter:
    """What a piece of asynchronous work costs this process."""

    def __init__(self) -> None:
        self.cpu = self.wall = self.pause = self.pause_cpu = 0.0

    async def around(self, work: Awaitable[Any]) -> Any:
        """Do the work beside a heartbeat, whose lateness is the loop's pause."""
        heart = asyncio.create_task(self._beat())
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            return await work
        finally:
            self.cpu, self.wall = time.process_time() - cpu, time.perf_counter() - wall
            heart.cancel()

    async def _beat(self) -> None:
        while True:
            due, cpu = time.perf_counter() + _BEAT_SEC, time.thread_time()
            await asyncio.sleep(_BEAT_SEC)
            self.pause = max(self.pause, time.perf_counter() - due)
            self.pause_cpu = max(self.pause_cpu, time.thread_time() - cpu)


def a_config(folder: Path, url: str, given: argparse.Namespace) -> Config:
    """The demo's settings, with as many documents, answers and requests at once as are wanted."""
    corpus = folder / "corpus.jsonl"
    with corpus.open("w") as handle:
        for n in range(given.documents + given.documents // 4 + 8):
            text = (
                f"Canal number {n} joins the rivers of district {n * 7}. Its lock {n * 13} lifts {n % 90} boats. " * 6
            )
            handle.write(json.dumps({"title": f"Canal {n}", "text": text}) + "\n")
    dialect = "structured" if given.mode == "pointwise" else "stepwise"
    return load_config("demo", [
        f"corpus.source={corpus}", f"corpus.documents={given.documents}", "corpus.heldout_documents=4",
        "task.type=general", f"task.dialect={dialect}", f"sampling.answers={given.answers}",
        f"rating.mode={given.mode}", f"engine.max_in_flight={given.in_flight}",
        f'models.policy.base_urls=["{url}"]', "models.policy.served_name=policy", "training.enabled=false",
        "evaluation.probes=0", "task.max_similarity=1.0", "gate.audits=warn",
        *given.set,
    ])  # fmt: skip


def measured(given: argparse.Namespace) -> dict[str, Any]:
    """A round, and what it has cost."""
    from prefect.testing.utilities import prefect_test_harness

    from flows import round as flow

    meter, rounds = Meter(), list[Round]()
    run_shards = flow.run_shards  # type: ignore[attr-defined]

    def measured_shards(round_: Round, *rest: Any) -> Awaitable[Any]:
        rounds.append(round_)
        return meter.around(run_shards(round_, *rest))

    with (
        tempfile.TemporaryDirectory() as folder, prefect_test_harness(server_startup_timeout=180),
        FastEngine("policy", tokenizer=str(default_model(lambda _: None))) as engine,
        patch.object(flow, "run_shards", measured_shards),
    ):  # fmt: skip
        config, root = a_config(Path(folder), engine.url, given), str(Path(folder) / "runs")
        asyncio.run(flow.round_flow(config, run="bench", root=root))
        tokenized = engine.requests().get("/tokenize", 0)
        con = connect(Store(root, "bench"))
        calls, answers = (
            con.execute(f"select count(*) from {table}").fetchone() for table in ("generations", "answers")
        )
    assert calls and answers
    return {
        "documents": given.documents, "answers_each": given.answers, "in_flight": given.in_flight, "mode": given.mode,
        "calls": calls[0], "answers": answers[0], "cpu_sec": round(meter.cpu, 2), "wall_sec": round(meter.wall, 2),
        "ms_a_call": round(1e3 * meter.cpu / calls[0], 3), "ms_an_answer": round(1e3 * meter.cpu / answers[0], 3),
        "calls_a_sec": round(calls[0] / meter.wall, 1), "longest_pause_ms": round(1e3 * meter.pause, 1),
        "longest_pause_cpu_ms": round(1e3 * meter.pause_cpu, 1), "shards_at_once": rounds[0].most_at_once,
        "tokenize_calls": tokenized,
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }  # fmt: skip


def main() -> None:
    """Print the figures, and exit with 1 where they break the promise."""
    parser = argparse.ArgumentParser("python -m benchmarks.controller", description=__doc__)
    parser.add_argument("--documents", type=int, default=128)
    parser.add_argument("--answers", type=int, default=16)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--mode", choices=MODES, default="likelihood")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any other setting")
    parser.add_argument("--json", action="store_true")
    figures = measured(given := parser.parse_args())
    if given.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:<18} {value}")
    sys.exit(figures["ms_a_call"] > MOST_MS_A_CALL or figures["longest_pause_cpu_ms"] > LONGEST_PAUSE_MS)


if __name__ == "__main__":
    main()
