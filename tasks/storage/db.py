"""DuckDB over the Parquet of one run or of several: every table, also an empty one, and the views of
`schemas/views.sql`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

import schemas
from schemas.tables import TABLES
from tasks.storage.manifests import DOCUMENTS, ROUNDS
from tasks.storage.store import Row, Store

_VIEWS = Path(schemas.__file__).parent / "views.sql"
_TYPES = {"string": "VARCHAR", "int64": "BIGINT", "double": "DOUBLE", "bool": "BOOLEAN"}
MANIFEST = {
    "version": "VARCHAR", "finished": "BOOLEAN", "written": "TIMESTAMP WITH TIME ZONE", "corpus": "VARCHAR",
    "config": "JSON", "models": "JSON", "fingerprints": "JSON",
}  # fmt: skip


def connect(*stores: Store) -> duckdb.DuckDBPyConnection:
    """A connection in memory, whose views read the runs' files at every query; it writes nothing.

    With several runs (of one root) every table has the rows of all of them; `run` tells them apart. It is the name of
    the run's folder, so that ids joined on (run, round, id) never meet those of another run.
    """
    con = duckdb.connect(":memory:")
    con.execute("SET autoinstall_known_extensions=false; SET autoload_known_extensions=false")
    con.execute("SET enable_progress_bar=false; SET TimeZone='UTC'; SET parquet_metadata_cache=true")
    if not stores[0].local:
        con.register_filesystem(stores[0].fs)
    there = [(store, _rounds(store)) for store in stores]
    for name, table in TABLES.items():
        columns = {field.name: _sql_type(field.type) for field in table.schema}
        scans = [_scan(store, name, number) for store, rounds in there for number in sorted(rounds.get(name, ()))]
        con.execute(f'CREATE VIEW "{name}" AS {_with_all_columns(columns, scans)}')
    con.execute(f"CREATE VIEW manifests AS {_with_all_columns({'run': 'VARCHAR'} | MANIFEST, _manifests(stores))}")
    con.execute(f"CREATE VIEW footers AS {_footers(there)}")
    con.execute(f"CREATE VIEW document_counts AS {_document_counts(stores)}")
    for statement in _VIEWS.read_text().split(";\n"):
        if statement.strip():
            con.execute(statement)
    return con


@contextmanager
def local_copies(*stores: Store) -> Iterator[list[Store]]:
    """The runs, ready for many queries: those of an object store as copies on this disk, which are gone afterwards.

    DuckDB fetches what a query reads anew for every query: 25 audits of a small round took half a minute.
    """
    with TemporaryDirectory(prefix="pop-") as folder:
        yield [store if store.local else _copy(store, folder) for store in stores]


def _copy(store: Store, folder: str) -> Store:
    for tries_left in reversed(range(3)):
        copy = Store(f"{folder}/{tries_left}", store.run)  # nothing of a try that failed is beside the next one's
        paths = [path for path in store.glob("*/round=*/*.parquet") if path.split("/")[-3] in TABLES]
        paths += [*store.glob(ROUNDS), *store.glob(DOCUMENTS)]
        try:
            store.fs.get(paths, [f"{copy.base}/{store.within(path)}" for path in paths])
            break
        except FileNotFoundError:  # a round that is at work has set it aside since
            if not tries_left:
                raise
    return copy


def rows_of(con: duckdb.DuckDBPyConnection, query: str, values: object = None) -> list[Row]:
    """The rows of a query, by the names of its columns."""
    return named_rows(con.execute(query, values))


def named_rows(cursor: duckdb.DuckDBPyConnection) -> list[Row]:
    """The rows of a query that was run, by the names of its columns."""
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _rounds(store: Store) -> dict[str, set[str]]:
    """The rounds that each table has files of."""
    found: dict[str, set[str]] = {}
    for path in store.glob("*/round=*/*.parquet"):
        table, round_ = path.split("/")[-3:-1]
        found.setdefault(table, set()).add(round_.removeprefix("round="))
    return found


def _with_all_columns(columns: dict[str, str], scans: list[str]) -> str:
    """The scans with every column of today: files of an older version give null for those that they do not have."""
    nulls = ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in columns.items())
    return " UNION ALL BY NAME ".join([f"SELECT {nulls}, NULL::INTEGER AS round WHERE false", *scans])


def _scan(store: Store, table: str, number: str) -> str:
    """A round's files, whose columns are those of the first: one version of the project wrote all of them.

    Joined by name file by file, every query would open every file twice.
    """
    # not by hive_partitioning: a root such as `sweep/run=5` would put its own column over ours
    files = f"read_parquet({_pattern(store, f'{table}/round={number}/*.parquet')}, hive_partitioning=false)"
    return f"SELECT * EXCLUDE (run), {_quoted(store.run)} AS run, {int(number)} AS round FROM {files}"


def _manifests(stores: Sequence[Store]) -> list[str]:
    patterns = [_pattern(store, ROUNDS) for store in stores if store.glob(ROUNDS)]
    if not patterns:
        return []
    columns = ", ".join(f"{name}: '{kind}'" for name, kind in MANIFEST.items())
    options = f"hive_partitioning=false, filename=true, maximum_object_size=100000000, columns={{{columns}}}"
    files = f"read_json([{', '.join(patterns)}], {options})"
    return [f"SELECT * EXCLUDE (filename), {_whose('filename')} FROM {files}"]


def _document_counts(stores: Sequence[Store]) -> str:
    """How many documents a status each round met, also where they are too many for all to have rows."""
    patterns = [_pattern(store, DOCUMENTS) for store in stores if store.glob(DOCUMENTS)]
    empty = "SELECT NULL::VARCHAR AS run, NULL::INTEGER AS round, NULL::VARCHAR AS status, NULL::BIGINT AS count"
    if not patterns:
        return f"{empty} WHERE false"
    options = "hive_partitioning=false, filename=true, maximum_object_size=100000000, columns={counts: 'JSON'}"
    files = f"read_json([{', '.join(patterns)}], {options})"
    return (
        f"SELECT {_whose('filename')}, t.key AS status, (t.value ->> '$')::BIGINT AS count "
        f"FROM {files} f, json_each(f.counts) t"
    )


def _footers(there: Sequence[tuple[Store, dict[str, set[str]]]]) -> str:
    """Provenance of every file: `content` is the JSON of its footer."""
    one = "SELECT file_name, decode(value)::JSON AS content, {0} FROM parquet_kv_metadata([{1}]) WHERE key = 'pop'"
    scans = []
    for name in TABLES:
        patterns = [_pattern(store, f"{name}/round=*/*.parquet") for store, rounds in there if name in rounds]
        scans += [one.format(_whose("file_name"), ", ".join(patterns))] if patterns else []
    empty = "SELECT NULL::VARCHAR AS file_name, NULL::JSON AS content, NULL::VARCHAR AS run, NULL::INTEGER AS round"
    return " UNION ALL BY NAME ".join([f"{empty} WHERE false", *scans])


def _whose(filename: str) -> str:
    """Run and round of a file, by its path."""
    path = f"regexp_extract({filename}, '([^/]+)/[^/]+/round=([0-9]+)/[^/]*$', {{0}})"
    return f"{path.format(1)} AS run, {path.format(2)}::INTEGER AS round"


def _pattern(store: Store, below: str) -> str:
    base = escape(store.base) if store.local else f"{_protocol(store)}://{escape(store.base)}"
    return _quoted(f"{base}/{below}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


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
