"""What a resume costs: a round with 2,000 finished shards is asked for again. Promise: 2 s and 20 ms a shard at most.

    python -m benchmarks.resume [SHARDS]

Measured is the flow, from its call to its outcome, against a Prefect server that runs already; the start of Python and
of that server are told apart. The files are written by the project's own store, a document a shard.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

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


def main() -> None:
    """Print the seconds, and exit with 1 where they break the promise."""
    shards = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    from prefect.testing.utilities import prefect_test_harness

    from flows.round import round_flow

    with tempfile.TemporaryDirectory() as folder, prefect_test_harness(server_startup_timeout=180):
        began = time.monotonic()
        plan = finished_round(Path(folder), shards)
        print(f"{shards} finished shards written in {time.monotonic() - began:.0f} s", flush=True)
        began = time.monotonic()
        asyncio.run(round_flow(plan.config, run="bench", root=str(Path(folder) / "runs")))
        seconds = time.monotonic() - began
    allowed = 2.0 + 0.02 * shards
    print(f"resume of {shards} finished shards: {seconds:.1f} s; allowed {allowed:.1f} s", flush=True)
    sys.exit(seconds > allowed)


if __name__ == "__main__":
    main()
