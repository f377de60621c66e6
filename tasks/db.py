"""DuckDB over a run's Parquet: every table, also an empty one, and the views of `schemas/views.sql`."""

from glob import escape
from pathlib import Path

import duckdb

import schemas
from schemas.tables import TABLES
from tasks.store import Store

_VIEWS = Path(schemas.__file__).parent / "views.sql"
_TYPES = {"string": "VARCHAR", "int64": "BIGINT", "double": "DOUBLE", "bool": "BOOLEAN"}


def connect(store: Store) -> duckdb.DuckDBPyConnection:
    """A connection in memory, whose views read the files of the rounds that there are at every query.

    It writes nothing.
    """
    con = duckdb.connect(":memory:")
    con.execute("SET autoinstall_known_extensions=false; SET autoload_known_extensions=false")
    if not store.local:
        con.register_filesystem(store.fs)
    rounds: dict[str, set[str]] = {}
    for path in store.glob("*/round=*/*.parquet"):
        rounds.setdefault(path.split("/")[-3], set()).add(path.split("/")[-2].removeprefix("round="))
    for name, table in TABLES.items():
        parts = [_empty(table.schema), *(_scan(store, name, number) for number in sorted(rounds.get(name, ())))]
        con.execute(f'CREATE VIEW "{name}" AS {" UNION ALL BY NAME ".join(parts)}')
    for statement in _VIEWS.read_text().split(";\n"):
        if statement.strip():
            con.execute(statement)
    return con


def _scan(store: Store, table: str, number: str) -> str:
    """A round's files, whose columns are those of the first: one version of the project wrote all of them.

    Rounds of other versions may have others. Joined by name file by file, every query would open every file twice.
    """
    base = escape(store.base) if store.local else f"{_protocol(store)}://{escape(store.base)}"
    pattern = f"{base}/{table}/round={number}/*.parquet".replace("'", "''")
    # not by hive_partitioning: a root such as `sweep/run=5` would put its own column over ours
    return f"SELECT *, {int(number)} AS round FROM read_parquet('{pattern}', hive_partitioning=false)"


def _protocol(store: Store) -> str:
    protocol = store.fs.protocol
    return protocol if isinstance(protocol, str) else protocol[0]


def _sql_type(arrow_type: object) -> str:
    text = str(arrow_type)
    if text in _TYPES:
        return _TYPES[text]
    inner = getattr(arrow_type, "value_type", None)
    if inner is not None:
        return f"{_sql_type(inner)}[]"
    fields = [f'"{f.name}" {_sql_type(f.type)}' for f in arrow_type]  # type: ignore[attr-defined]
    return f"STRUCT({', '.join(fields)})"


def _empty(schema: object) -> str:
    columns = [f'NULL::{_sql_type(f.type)} AS "{f.name}"' for f in schema]  # type: ignore[attr-defined]
    return f"SELECT {', '.join(columns)}, NULL::INTEGER AS round WHERE false"
