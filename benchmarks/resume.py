"""What a resume costs: a round with 2,000 finished shards is asked for again. Promise: 2 s and 20 ms a shard at most.

    python -m benchmarks.resume [--shards 2000]

Measured is the flow, from its call to its outcome, against a Prefect server that runs already; the start of Python and
of that server are told apart. The files are written by the project's own store, a document a shard.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks import frame
from benchmarks.frame import Figure
from flows import settings  # noqa: F401  (Prefect's settings, before Prefect)
from schemas.load import load_config
from tasks.shard import corpus_stamp, shard_task, shards_of
from tasks.staging.plan import ROLE_OF, TABLE_OF, Plan, make_plan
from tasks.staging.stage import Round
from tasks.storage.store import Store
from tests.samples import Quiet, an_answer, problem


def finished_round(root: Path, shards: int) -> Plan:
    """Write a round of which nothing is owed."""
    corpus = root / "corpus.jsonl"
    texts = (f"Canal number {n} joins the rivers of district {n * 7}. " * 12 for n in range(shards * 2))
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    config = load_config("demo", [f"corpus.source={corpus}", f"corpus.documents={shards}",
                                  "corpus.documents_per_shard=1", "engine.kind=fake"])  # fmt: skip
    plan = make_plan(config, "bench", 0, {"policy": "fake:policy"}, corpus_stamp(config.corpus))
    store = Store(str(root / "runs"), "bench")
    round_ = Round(plan, store, {}, Quiet())
    shard_task.fn(round_)
    cut = shards_of(round_)
    assert cut is not None and len(cut.names) == shards
    rows = {"problems": [problem()], "answers": [an_answer(f"a{n}", rollout=n) for n in range(5)]}
    for name in cut.names:
        for stage in (*ROLE_OF, "pair"):
            footer = plan.footer(stage)
            store.write(TABLE_OF[stage], 0, name, rows.get(TABLE_OF[stage], []), footer)
            if stage in ROLE_OF:
                store.write("generations", 0, f"{name}.{stage}", [], footer)
        store.write("preferences", 0, name, [], plan.footer("pair"))
    return plan


def measure(given: argparse.Namespace) -> list[Figure]:
    """Write a finished round, and ask for it again."""
    shards = given.shards
    from prefect.testing.utilities import prefect_test_harness

    from flows.round import round_flow

    with tempfile.TemporaryDirectory() as folder, prefect_test_harness(server_startup_timeout=180):
        began = time.monotonic()
        plan = finished_round(Path(folder), shards)
        frame.note(f"{shards} finished shards written in {time.monotonic() - began:.0f} s")
        began, cpu = time.monotonic(), time.process_time()
        asyncio.run(round_flow(plan.config, run="bench", root=str(Path(folder) / "runs")))
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    return [
        Figure(f"resume of {shards} finished shards", seconds, "s", f"<= {2.0 + 0.02 * shards:g}"),
        Figure("CPU time of it", cpu, "s"),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--shards", type=int, default=2000)


main = partial(frame.main, __doc__, measure, options, 1)

if __name__ == "__main__":
    sys.exit(main())
