"""How long do the audits and views take on a round of a million ratings with five criteria each?

    python -m benchmarks.audits [--folder DIR] [--ratings 1000000]

Makes the round with DuckDB (DIR is kept and used again where it has one), then runs every audit in a process of its
own, on 2 threads. Goals: an audit in 5 s and 4 GiB, opening the views in 1 s.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from benchmarks import frame
from benchmarks.frame import ROOT, Figure
from tasks.auditing.audits import read_audits, run_audit
from tasks.auditing.evidence import audit_connection
from tasks.storage.db import connect
from tasks.storage.store import Store

ANSWERS, CRITERIA, FILES = 32, 5, 64
LIMIT_SEC, LIMIT_GIB, OPEN_SEC = 5.0, 4.0, 1.0
LAST_SEC = 60.0
EACH_ANSWER = ("answers", "ratings")


def prose(seed: str, words: int) -> str:
    """SQL for a text of random words."""
    return f"array_to_string(list_transform(range({words}), lambda j: 'w' || hash(({seed}) * 1000 + j) % 6000), ' ')"


def listed(fields: str) -> str:
    """SQL for a list with a struct for each criterion `c`."""
    return f"list_transform(range({CRITERIA}), lambda c: {{{fields}}})"


# i: the problem's number; k: the answer's; a: 0 for the reference, then 1, 2, …
QUERIES = {
    "documents": f"'d' || i AS document_id, 't' || i AS title, {prose('i', 150)} AS text, 150 AS words, "
    "if(i % 100 = 0, 'heldout', 'train') AS split",
    "problems": f"'p' || i AS problem_id, 'd' || i AS document_id, {prose('i + 7000000', 40)} AS problem, "
    f"{prose('i + 8000000', 80)} AS reference_answer",
    "answers": f"'a' || k AS answer_id, 'p' || i AS problem_id, 'd' || i AS document_id, a - 1 AS rollout, "
    f"{prose('k + 20000000', 60)} AS text, text AS final, 40 + hash(k) % 80 AS words",
    "rubrics": "'r' || i AS rubric_id, 'p' || i AS problem_id, 'd' || i AS document_id, "
    + listed(f"'name': 'point ' || i || ' ' || c, 'gold': {prose('i', 12)}, 'description': 'd', 'weight': 1.0 + c")
    + " AS criteria",
    "ratings": "'t' || k AS rating_id, 'a' || k AS answer_id, 'r' || i AS rubric_id, 'p' || i AS problem_id, "
    "'pointwise' AS mode, hash(k) % 200 / 100 AS score, "
    + listed("'name': 'point ' || i || ' ' || c, 'rating': (hash(k * 10 + c) % 3)::DOUBLE, 'thoughts': 'because of it'")
    + " AS ratings",
    "pairs": "'x' || i AS pair_id, 'p' || i AS problem_id, 'a' || k + 1 AS chosen_answer_id, "
    "'a' || k + 2 AS rejected_answer_id, 1.5 AS chosen_score, 0.5 AS rejected_score, 1.0 AS margin",
}


def make(folder: Path, ratings: int) -> None:
    """One round `big`: every rating has five criteria, every text other words."""
    con = duckdb.connect()
    con.execute("SET threads=2")
    con.execute(f"CREATE TABLE problem AS SELECT range AS i FROM range({ratings // (ANSWERS + 1)})")
    for table, query in QUERIES.items():
        target = folder / "big" / table / "round=000"
        target.mkdir(parents=True)
        answers = ANSWERS + 1 if table in EACH_ANSWER else 1
        source = f"(SELECT i, a, i * {ANSWERS + 1} + a AS k FROM problem, range({answers}) t(a))"
        footer = json.dumps({"stage": table})
        for file in range(FILES):
            con.execute(
                f"COPY (SELECT 'big' AS run, 'ok' AS status, {query} FROM {source} WHERE i % {FILES} = {file}) "
                f"TO '{target}/shard-{file:05d}.parquet' (COMPRESSION zstd, KV_METADATA {{pop: '{footer}'}})"
            )
    manifest = folder / "big/manifests/round=000/round.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"run": "big", "round": 0, "written": "2026-01-01T00:00:00+00:00"}))


def one(folder: str, name: str) -> None:
    """Run one audit (or `open` the views) in this process; prints seconds, peak GiB and its findings as JSON."""
    store = Store(folder, "big")
    started = time.monotonic()
    if name == "open":
        connect(store).close()
        found: list[object] = []
    else:
        audit = next(audit for audit in read_audits([]) if audit.name == name)
        with audit_connection(store) as con:
            con.execute("SET threads=2; SET memory_limit='4GB'")
            started = time.monotonic()
            found = [(f.part, f.value, f.n, f.verdict) for f in run_audit(con, audit, "big", 0)]
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": seconds, "gib": peak, "found": found}))


def apart(folder: Path, name: str) -> dict[str, Any]:
    """One audit (or `open`) in a process of its own; one that does not end in a minute took so long."""
    command = [sys.executable, "-m", "benchmarks.audits", "--folder", str(folder), "--in-this-process", name]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=LAST_SEC)
    except subprocess.TimeoutExpired:
        return {"seconds": LAST_SEC, "gib": 0.0, "found": []}
    found: dict[str, Any] = json.loads(done.stdout)
    shown = " ".join(str(one) for one in found["found"][:2])
    frame.note(f"{name:32} {found['seconds']:6.2f} s {found['gib']:5.2f} GiB {shown}")
    return found


def measure(given: argparse.Namespace) -> list[Figure]:
    """All of them once."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        if not (folder / "big/manifests/round=000/round.json").exists():  # which is written last
            shutil.rmtree(folder / "big", ignore_errors=True)
            make(folder, given.ratings)
        if given.only == "open":
            return [Figure("opening the views", apart(folder, "open")["seconds"], "s", f"<= {OPEN_SEC:g}")]
        names = [given.only] if given.only else [audit.name for audit in read_audits([])]
        found = {name: apart(folder, name) for name in names}
        opened = [] if given.only else [apart(folder, "open")["seconds"]]
    slowest = max(found, key=lambda name: float(found[name]["seconds"]))
    return [
        *(Figure("opening the views", seconds, "s", f"<= {OPEN_SEC:g}") for seconds in opened),
        Figure("the slowest audit", found[slowest]["seconds"], "s", f"<= {LIMIT_SEC:g}"),
        Figure(f"all {len(found)} audits", sum(one["seconds"] for one in found.values()), "s"),
        Figure("peak memory", max(one["gib"] for one in found.values()), "GiB", f"<= {LIMIT_GIB:g}"),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--folder", type=Path, help="where the round is made, and kept")
    parser.add_argument("--ratings", type=int, default=1_000_000)
    parser.add_argument("--only", help="one audit, or `open`")
    parser.add_argument("--in-this-process", help=argparse.SUPPRESS)


main = partial(frame.main, __doc__, measure, options, 1)

if __name__ == "__main__":
    if "--in-this-process" in sys.argv:
        one(sys.argv[sys.argv.index("--folder") + 1], sys.argv[sys.argv.index("--in-this-process") + 1])
    else:
        sys.exit(main())
