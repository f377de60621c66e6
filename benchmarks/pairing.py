"""How long pairing a million rated answers takes, and how much memory: the pair stage itself, over made-up tables.

    python -m benchmarks.pairing [--answers 1000000] [--folder DIR]

Shards of 64 problems with 32 answers of 60 words each and the reference, five criteria; `pairs` and `preferences` are
written. Measured in a process of its own, from the stage's first shard to its last, without Prefect's 10 ms a task.
DIR keeps the tables and is used again where it has them.
"""

import argparse
import asyncio
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import frame
from benchmarks.audits import listed, prose
from benchmarks.frame import ROOT, Figure
from schemas.load import load_config
from schemas.tables import TABLES
from tasks.pair import READ, pair_task
from tasks.staging.plan import Plan, make_plan
from tasks.staging.stage import Round
from tasks.storage.store import Store
from tests.samples import Quiet

PROBLEMS, ANSWERS = 64, 32  # of a shard, of a problem
# i: the problem's number; k: the answer's; a: 0 for the reference, then 1, 2, …
QUERIES = {
    "problems": f"'p' || i AS problem_id, 'd' || i AS document_id, 'general' AS task, {prose('i + 7000000', 40)} AS "
    f"problem, {prose('i + 8000000', 80)} AS reference_answer",
    "answers": f"'a' || k AS answer_id, 'p' || i AS problem_id, 'd' || i AS document_id, a - 1 AS rollout, "
    f"{prose('k', 60)} AS text, text AS final, 40 + hash(k) % 80 AS words, words AS tokens",
    "rubrics": "'r' || i AS rubric_id, 'p' || i AS problem_id, 'd' || i AS document_id, "
    + listed(f"'name': 'point ' || c, 'gold': {prose('i', 12)}, 'description': 'd', 'weight': 1.0 + c")
    + " AS criteria",
    "ratings": "'t' || k AS rating_id, 'a' || k AS answer_id, 'r' || i AS rubric_id, 'p' || i AS problem_id, "
    "'pointwise' AS mode, hash(k) % 200 / 100 AS score, "
    + listed("'name': 'point ' || c, 'rating': (hash(k * 10 + c) % 3)::DOUBLE, 'thoughts': 'because of it'")
    + " AS ratings",
}  # fmt: skip
EACH_ANSWER = ("answers", "ratings")


def plan() -> Plan:
    """Of a round that is rated and not paired yet."""
    config = load_config("demo", ["engine.kind=fake", "pairing.min_margin=0"])
    return make_plan(config, "big", 0, {"policy": "fake:policy"})


def make(store: Store, answers: int, words: int = 60) -> list[str]:
    """Write the tables that the stage reads, with answers of so many words; returns the shards' names."""
    con = duckdb.connect()
    shards = max(1, answers // (PROBLEMS * ANSWERS))
    for shard in range(shards):
        con.execute(f"CREATE OR REPLACE TABLE problem AS SELECT range + {shard * PROBLEMS} AS i FROM range({PROBLEMS})")
        for table, query in QUERIES.items():
            rows = ANSWERS + 1 if table in EACH_ANSWER else 1
            source = f"(SELECT i, a, i * {ANSWERS + 1} + a AS k FROM problem, range({rows}) t(a))"
            query = query.replace(prose("k", 60), prose("k", words))
            made = con.sql(f"SELECT 'big' AS run, 'ok' AS status, {query} FROM {source}").to_arrow_table()
            write(store, table, f"shard-{shard:05d}", made)
    return store.files("answers", 0)


def write(store: Store, table: str, shard: str, made: pa.Table) -> None:
    """A file with the table's columns; those that were not made are null."""
    schema = TABLES[table].schema
    columns = [
        made[field.name].cast(field.type) if field.name in made.column_names else pa.nulls(made.num_rows, field.type)
        for field in schema
    ]
    path = Path(store.path(table, 0, shard))
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = pa.Table.from_arrays(columns, schema=schema.with_metadata({"pop": json.dumps({"stage": table})}))
    pq.write_table(whole, path, compression="zstd", write_page_checksum=True)


async def pair_all(store: Store) -> int:
    """The stage over all shards; how many pairs there are."""
    round_ = Round(plan(), store, {}, Quiet())
    done = [await pair_task.fn(round_, shard) for shard in store.files("answers", 0)]
    return sum(one["pairs"] for one in done)


def one(folder: str) -> None:
    """In this process; prints JSON."""
    began = time.monotonic()
    pairs = asyncio.run(pair_all(Store(folder, "big")))
    seconds = time.monotonic() - began
    peak = frame.peak_mib() / 2**10
    cpu = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"seconds": seconds, "cpu": cpu.ru_utime + cpu.ru_stime, "gib": peak, "pairs": pairs}))


def measure(given: argparse.Namespace) -> list[Figure]:
    """One run over all shards."""
    with tempfile.TemporaryDirectory(prefix="pop-bench-") as temporary:
        folder = given.folder or Path(temporary)
        store = Store(str(folder), "big")
        shards = store.files("answers", 0) or make(store, given.answers)
        for table in ("pairs", "preferences"):
            shutil.rmtree(folder / "big" / table, ignore_errors=True)
        command = [sys.executable, "-m", "benchmarks.pairing", "--folder", str(folder), "--in-this-process"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    whole = len(shards) * PROBLEMS * ANSWERS >= 990_000  # the goals are for a million
    return [
        Figure(
            f"pairing {len(shards) * PROBLEMS * ANSWERS:,} answers", found["seconds"], "s", "<= 30" if whole else None
        ),
        Figure("CPU time, Python's start included", found["cpu"], "s"),
        Figure("peak memory", found["gib"], "GiB", "<= 2" if whole else None),
        Figure("pairs", found["pairs"], ""),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--answers", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the tables are made, and kept")
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)


assert set(QUERIES) == set(READ)
main = partial(frame.main, __doc__, measure, options)

if __name__ == "__main__":
    if "--in-this-process" in sys.argv:
        one(sys.argv[sys.argv.index("--folder") + 1])
    else:
        sys.exit(main())
