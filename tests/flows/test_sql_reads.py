"""`pop sql`: numbers stay numbers, nested stays nested, and nothing writes, however it is wrapped."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from flows.cli.formats import finite, write_parquet
from flows.cli.reading import statements
from schemas.errors import UserError

Cli = Callable[..., tuple[int, str, str]]
WRITES = (
    "copy t to '{f}'", "explain analyze copy t to '{f}'", "explain (analyze) copy t to '{f}'",
    "with x as (copy t to '{f}') select * from x", "/* c */ with x as (copy (select 1) to '{f}') select 1",
    "explain analyze with x as (copy t to '{f}') select * from x", "export database '{f}'", "attach '{f}'",
    "import database '{f}'", "pragma profiling_output='{f}'", "create table x as select 1", "insert into t values (1)",
    "with x as (insert into t values (1) returning a) select * from x", "copy (pivot t on a using sum(a)) to '{f}'",
    "install fts", "", ";", "-- only", "explain copy t to '{f}'",
)  # fmt: skip
READS = (
    "select 1", "-- a comment\nselect 1", "/* é */ select 1; -- end", "from t", "values (1)", "(select 1)",
    "pivot t on a using sum(a)", "from (pivot t on a using sum(a))", "describe t", "show tables", "summarize t",
    "explain select 1", "explain analyze select 1", "explain (format json) select 1", "pragma table_info('t')",
    "select copy from (select 1 as copy)", "with x as (select 1) select * from x", "select 'copy', (\"a\") from t",
)  # fmt: skip


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    """A database with a table t."""
    made = duckdb.connect()
    made.execute("create table t as select 1 a")
    return made


@pytest.mark.parametrize("query", WRITES)
def test_nothing_writes(con: duckdb.DuckDBPyConnection, tmp_path: Path, query: str) -> None:
    with pytest.raises(UserError, match=r"nothing is written|may change"):
        for one in statements(con, query.format(f=tmp_path / "file")):
            con.sql(one)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("query", READS)
def test_what_reads_is_run(con: duckdb.DuckDBPyConnection, query: str) -> None:
    [one] = statements(con, query)
    relation = con.sql(one)
    assert relation.fetchall() is not None


ODD = """select sum(1) as s, 1.5::decimal(10, 2) as d, interval '1 month 2 days' as i, '\\xDE\\xAD'::blob as b,
    {'x': [1, 2], 'n': 'nan'::double, 't': 'NaN'} as st, '{"a": [1]}'::json as j, 'inf'::double as f, true as yes"""


def test_every_value_has_one_form(cli: Cli, fake_root: Path) -> None:
    query = ("sql", ODD, "--run", "fake", "--root", str(fake_root), "--format")
    [row] = json.loads(cli(*query, "json")[1])
    assert row == {
        "s": 1, "d": 1.5, "i": "1 month 2 days", "b": "\\xDE\\xAD", "st": {"x": [1, 2], "n": None, "t": "NaN"},
        "j": {"a": [1]}, "f": None, "yes": True,
    }  # fmt: skip
    text = cli(*query, "csv")[1]
    [record] = csv.DictReader(io.StringIO(text))
    assert (record["s"], record["i"], record["b"]) == ("1", "1 month 2 days", "\\xDE\\xAD") and "\r" not in text


def test_nan_in_a_text_stays() -> None:
    assert json.loads(finite('{"a": "x \\"NaN Infinity", "b": NaN, "c": -Infinity}'))["a"] == 'x "NaN Infinity'


KINDS = {  # SQL, and what Parquet keeps of it
    "interval '1 month 2 days'": "1 month 2 days", "[interval '1 day']": '["1 day"]', "'\\xDE'::blob": b"\xde",
    "union_value(k := 3)": '{"k":3}', "'0101'::bit": "0101", "'01:02:03+01'::timetz": "01:02:03+01",
    "340282366920938463463374607431768211455::uhugeint": "340282366920938463463374607431768211455",
    "'{\"a\": 1}'::json": '{"a": 1}', "{'a': [1, 2]}": {"a": [1, 2]},
}  # fmt: skip


def relation(query: str) -> duckdb.DuckDBPyRelation:
    made = duckdb.sql(query)
    assert made is not None
    return made


@pytest.mark.parametrize("query", KINDS)
def test_parquet_keeps_every_value(query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "out.parquet").open("w") as out:
        monkeypatch.setattr("sys.stdout", out)
        write_parquet(relation(f"select {query} as x"))
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == [{"x": KINDS[query]}]


def test_what_parquet_has_no_form_for_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "out.parquet").open("w") as out, pytest.raises(UserError, match="another --format"):
        monkeypatch.setattr("sys.stdout", out)
        write_parquet(relation("select map{} as x"))
