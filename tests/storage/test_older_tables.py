"""Tables of earlier versions read on: what they do not have yet is null."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.tables import TABLES
from tasks.models.registry import known_models, settle
from tasks.storage.db import connect
from tasks.storage.store import Damaged, Store


def write_without(store: Store, table: str, lacks: set[str], row: dict[str, Any]) -> None:
    """A file as a version without these columns wrote it."""
    schema = pa.schema([field for field in TABLES[table].schema if field.name not in lacks])
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row], schema.with_metadata({"pop": '{"fingerprint": "f"}'})), buffer)
    store.publish(store.path(table, 0, "shard-00000"), buffer.getvalue())


def test_a_model_that_an_earlier_version_trained_is_still_one(tmp_path: Path) -> None:
    store, later = Store(str(tmp_path), "run"), set(TABLES["models"].later)
    write_without(store, "models", later, {"run": "run", "model_id": "m", "path": "p", "status": "candidate"})
    assert store.footer("models", 0, "shard-00000") == {"fingerprint": "f"}
    (row,) = known_models(store)
    assert (row["model_id"], row["warnings"], row["kl_from_parent"]) == ("m", None, None)
    assert store.read("models", 0, "shard-00000", ["path", "warnings"]) == [{"path": "p", "warnings": None}]
    settle(store)
    assert connect(store).execute("SELECT model_id, largest_loss FROM models").fetchall() == [("m", None)]


def test_a_column_that_was_always_there_must_be_there(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "run")
    write_without(store, "models", {"path"}, {"run": "run", "model_id": "m"})
    with pytest.raises(Damaged, match="not the columns"):
        store.inspect(store.path("models", 0, "shard-00000"), "models")


def test_rubrics_and_ratings_of_earlier_versions_have_no_evidence_and_no_told(tmp_path: Path) -> None:
    """Fields of a struct, too, may be missing; here and beside rows that have them."""
    store = Store(str(tmp_path), "run")
    for table, column, lacks in (("rubrics", "criteria", 3), ("ratings", "ratings", 2)):
        full = TABLES[table].schema
        old = list(full.field(column).type.value_type)[:-lacks]
        kept = [f for f in full if f.name not in TABLES[table].later]
        schema = pa.schema([pa.field(f.name, pa.list_(pa.struct(old))) if f.name == column else f for f in kept])
        row = {"run": "run", TABLES[table].key: "x", column: [{"name": "n"}], "status": "ok", "score": 1.0}
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([row], schema.with_metadata({"pop": '{"fingerprint": "f"}'})), buffer)
        store.publish(store.path(table, 0, "shard-00000"), buffer.getvalue())
        assert store.footer(table, 0, "shard-00000") == {"fingerprint": "f"}
        store.write(table, 1, "shard-00000", store.read(table, 0, "shard-00000"), {})
    con = connect(store)
    assert con.execute("SELECT round, name, evidence, support, status FROM criteria ORDER BY 1").fetchall() == [
        (0, "n", None, None, None), (1, "n", None, None, None),
    ]  # fmt: skip
    assert con.execute("SELECT told, against FROM criterion_ratings").fetchall() == [(None, None)] * 2
    torn = pa.schema([f for f in TABLES["rubrics"].schema if f.name != "criteria"])
    assert not TABLES["rubrics"].holds(torn)
