"""What the audits look at beside a run's own tables: the runs that it took rows from, and the evaluation's texts."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import duckdb

from schemas.errors import UserError
from schemas.names import expanded
from tasks.storage.db import connect, local_copies
from tasks.storage.manifests import manifests
from tasks.storage.runs import runs
from tasks.storage.store import Store

_REUSED = ("problems", "answers", "rubrics", "ratings")
_READERS = {"jsonl": "read_json_objects", "json": "read_json_objects", "parquet": "read_parquet", "csv": "read_csv"}


@contextmanager
def audit_connection(store: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the run and to every run that its rows come from (so that judgements of the same answers in two
    runs can be compared), with the view `evaluation_texts` (run, source, text): the texts of the held-out documents and
    of the files named in `evaluation.files` and `evaluation.exams`.

    Raises:
        UserError: one of them cannot be read.
    """
    with ExitStack() as stack:
        there = stack.enter_context(local_copies(store))
        con = stack.enter_context(connect(*there))
        if others := _sources(con, store):
            there += stack.enter_context(local_copies(*(Store(store.root, name) for name in others)))
            con = stack.enter_context(connect(*there))
        named = sorted({one for manifest in manifests(store) for one in _files(manifest)})
        scans = [
            "SELECT run, 'held-out documents' AS source, text FROM documents WHERE split = 'heldout' AND status = 'ok'"
        ]
        scans += [_texts(con, store.run, file, setting) for file, setting in named]
        con.execute(f"CREATE VIEW evaluation_texts AS {' UNION ALL '.join(scans)}")
        yield con


def _sources(con: duckdb.DuckDBPyConnection, store: Store) -> list[str]:
    """The runs that rows of this run were taken from, as far as they are still there."""
    rows = " UNION ".join(f"SELECT reused_from FROM {table}" for table in _REUSED)
    found = con.execute(f"SELECT DISTINCT split_part(reused_from, '/', 1) FROM ({rows})").fetchall()
    names = {name for (name,) in found if name} - {store.run}
    return sorted(names & set(runs(store.root))) if names else []


def _files(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """The files of `evaluation.files` and of the exams, each with the setting that names it."""
    evaluation = manifest.get("config", {}).get("evaluation", {})
    exams = [str(expanded(exam["file"])) for exam in evaluation.get("exams", [])]
    files = [(file, "evaluation.files") for file in evaluation.get("files", [])]
    return files + [(file, "evaluation.exams") for file in exams]


def _texts(con: duckdb.DuckDBPyConnection, run: str, file: str, setting: str) -> str:
    """A query for every string in each record of a file."""
    quoted = json.dumps(file)[1:-1].replace("'", "''")
    if con.execute(f"SELECT count(*) FROM glob('{quoted}')").fetchone() == (0,):
        raise UserError(f"{setting}: {file} cannot be read (there is no such file)")
    reader = _READERS.get(file.removesuffix(".gz").rsplit(".", 1)[-1].lower())
    if reader is None:
        scan = f"SELECT '{run}' AS run, '{quoted}' AS source, content AS text FROM read_text('{quoted}')"
    else:
        record = "json" if reader == "read_json_objects" else "to_json(t)"
        strings = "SELECT string_agg(s.value ->> '$', ' . ') FROM json_tree(r.record) s WHERE s.type = 'VARCHAR'"
        scan = (
            f"SELECT '{run}' AS run, '{quoted}' AS source, ({strings}) AS text "
            f"FROM (SELECT {record} AS record FROM {reader}('{quoted}') t) r"
        )
    try:
        con.execute(f"SELECT * FROM ({scan}) LIMIT 1")
    except duckdb.Error as error:
        raise UserError(f"{setting}: {file} cannot be read ({' '.join(str(error).split())[:200]})") from None
    return scan
