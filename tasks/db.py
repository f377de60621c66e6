"""DuckDB over a run's Parquet: every table, also an empty one, and the views of `schemas/views.sql`."""

from glob import escape
from pathlib import Path

import duckdb

import schemas
from schemas.tables import TABLES
from tasks.runs import manifests
from tasks.store import Store

_VIEWS = Path(schemas.__file__).parent / "views.sql"
_TYPES = {"string": "VARCHAR", "int64": "BIGINT", "double": "DOUBLE", "bool": "BOOLEAN"}


def connect(store: Store) -> duckdb.DuckDBPyConnection:
    """A connection in memory, whose views read the run's files at every query; it writes nothing."""
    con = duckdb.connect(":memory:")
    con.execute("SET autoinstall_known_extensions=false; SET autoload_known_extensions=false")
    if not store.local:
        con.register_filesystem(store.fs)
    for name, table in TABLES.items():
        con.execute(f'CREATE VIEW "{name}" AS {_scan(store, name) if store.files(name) else _empty(table.schema)}')
    _prices(con, store)
    for statement in _VIEWS.read_text().split(";\n"):
        if statement.strip():
            con.execute(statement)
    return con


def _prices(con: duckdb.DuckDBPyConnection, store: Store) -> None:
    """Table `prices`: what each round's configuration says that the tokens of a model cost, null where it does not."""
    columns = ("usd_per_million_prompt_tokens", "usd_per_million_completion_tokens")
    con.execute(f"CREATE TABLE prices (run VARCHAR, round INTEGER, model VARCHAR, {' DOUBLE, '.join(columns)} DOUBLE)")
    for manifest in manifests(store):
        models = manifest["config"]["models"]
        by_identity = {identity: models[name] for name, identity in manifest["models"].items() if name in models}
        for identity, model in by_identity.items():
            row = [store.run, manifest["round"], identity, *(model.get(column) for column in columns)]
            con.execute("INSERT INTO prices VALUES (?, ?, ?, ?, ?)", row)


def _scan(store: Store, table: str) -> str:
    base = escape(store.base) if store.local else f"{_protocol(store)}://{escape(store.base)}"
    pattern = f"{base}/{table}/round=*/*.parquet".replace("'", "''")
    # not by hive_partitioning: a root such as `sweep/run=5` would put its own column over ours
    round_ = "regexp_extract(filename, 'round=([0-9]+)/[^/]*$', 1)::INTEGER AS round"
    options = "hive_partitioning=false, union_by_name=true, filename=true"
    return f"SELECT * EXCLUDE (filename), {round_} FROM read_parquet('{pattern}', {options})"


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
