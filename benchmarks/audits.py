"""How long do the audits and views take on a round of a million ratings with five criteria each?

    python benchmarks/audits.py [--folder DIR] [--ratings 1000000]

Makes the round with DuckDB (DIR is kept and used again where it has one), then runs every audit in a process of its
own, on 2 threads. Exit code 1 where an audit takes more than 5 s or 4 GiB, or opening the views more than 1 s.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tasks.auditing.audits import read_audits, run_audit
from tasks.auditing.evidence import audit_connection
from tasks.storage.db import connect
from tasks.storage.store import Store

ANSWERS, CRITERIA, FILES = 32, 5, 64
LIMIT_SEC, LIMIT_GIB, OPEN_SEC = 5.0, 4.0, 1.0
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


def main() -> int:
    """Everything; 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", help="where the round is made, and kept")
    parser.add_argument("--ratings", type=int, default=1_000_000)
    parser.add_argument("--only", help="one audit, or `open`")
    parser.add_argument("--in-this-process", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.in_this_process:
        one(given.folder, given.in_this_process)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given.folder or temporary)
        if not (folder / "big").exists():
            started = time.monotonic()
            make(folder, given.ratings)
            print(f"made in {time.monotonic() - started:.0f} s", file=sys.stderr)
        names = ["open", *(audit.name for audit in read_audits([]))]
        failed = 0
        for name in [given.only] if given.only else names:
            command = [sys.executable, __file__, "--folder", str(folder), "--in-this-process", name]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                print(f"{name:32} FAILED {error} {str(error.stderr)[-300:]}", flush=True)
                failed += 1
                continue
            got = json.loads(done.stdout)
            slow = got["seconds"] > (OPEN_SEC if name == "open" else LIMIT_SEC) or got["gib"] > LIMIT_GIB
            failed += slow
            shown = " ".join(str(f) for f in got["found"][:2])
            verdict = "SLOW" if slow else "ok"
            print(f"{name:32} {got['seconds']:6.2f} s {got['gib']:5.2f} GiB {verdict:4} {shown}", flush=True)
        return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
