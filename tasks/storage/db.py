"""DuckDB over the Parquet of one run or of several: every table, also an empty one, and the views of
`schemas/views.sql`."""

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatch
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

import schemas
from schemas.tables import TABLES
from tasks.storage.manifests import DOCUMENTS, LOADS, ROUNDS
from tasks.storage.snapshot import Snapshot
from tasks.storage.store import Row, Store

_VIEWS = Path(schemas.__file__).parent / "views.sql"
_TYPES = {"string": "VARCHAR", "int64": "BIGINT", "double": "DOUBLE", "bool": "BOOLEAN"}
_FEW = 8  # rounds, up to which each is read by a scan of its own
MANIFEST = {
    "version": "VARCHAR", "finished": "BOOLEAN", "written": "TIMESTAMP WITH TIME ZONE", "corpus": "VARCHAR",
    "config": "JSON", "models": "JSON", "fingerprints": "JSON",
}  # fmt: skip


class Database:
    """DuckDB in memory, whose views read the runs' files at every query; it writes nothing.

    With several runs (of one root) every table has the rows of all of them; `run` tells them apart. It is the name of
    the run's folder, so that ids joined on (run, round, id) never meet those of another run. A table is looked for on
    the disk when a query first names it: over hundreds of runs, that is what takes the time.
    """

    def __init__(self, *stores: Store) -> None:
        self._stores, self._opened = stores, set[str]()
        self.con = con = duckdb.connect(":memory:")
        con.execute("SET autoinstall_known_extensions=false; SET autoload_known_extensions=false")
        con.execute("SET enable_progress_bar=false; SET TimeZone='UTC'; SET parquet_metadata_cache=true")
        con.execute(f"SET temp_directory={_quoted(f'{gettempdir()}/pop-duckdb-{os.getpid()}')}")  # not where one stands
        if not stores[0].local:
            con.register_filesystem(stores[0].fs)
        for name, columns in _COLUMNS.items():
            con.execute(f'CREATE VIEW "{name}" AS {_with_all_columns(columns, [])}')
        for statement in _STATEMENTS.values():
            con.execute(statement)

    def open(self, query: str) -> None:
        """Make the tables that a query names, itself or by a view, read what is on the disk."""
        names = _tables_of(query) - self._opened
        _fetch(self._stores, names)
        for name in names:
            self.con.execute(
                f'CREATE OR REPLACE VIEW "{name}" AS {_with_all_columns(_COLUMNS[name], self._scans(name))}'
            )
            self._opened.add(name)

    def open_all(self) -> None:
        """The same for every table."""
        self.open(" ".join(_COLUMNS))

    def _scans(self, name: str) -> list[str]:
        if name == "manifests":
            return _manifests(self._stores)
        if name == "footers":
            return _footers(self._stores)
        if name == "document_counts":
            return _document_counts(self._stores)
        if name == "server_load":
            return _server_load(self._stores)
        return _scans(name, [(store, round_) for store in self._stores for round_ in _rounds(store, name)])


def connect(*stores: Store) -> duckdb.DuckDBPyConnection:
    """A connection with every table and view of the runs; see `Database`."""
    base = Database(*stores)
    base.open_all()
    return base.con


class Copies:
    """A run of an object store as copies on this disk; what has not changed since is not fetched again."""

    def __init__(self, store: Store, folder: str) -> None:
        self.copy, self._known = Store(folder, store.run), dict[str, Row]()

    def refreshed(self, store: Store) -> Store:
        """The copy, as the run is now."""
        for tries_left in reversed(range(3)):
            there = store.fs.find(store.base, detail=True)
            wanted = {path: info for path, info in there.items() if _is_copied(store.within(path))}
            fresh = [path for path, info in wanted.items() if self._known.get(path) != info]
            for path in self._known.keys() - wanted.keys():
                self._place(store, path).unlink(missing_ok=True)
            try:
                store.fs.get(fresh, [str(self._place(store, path)) for path in fresh])
                self._known = wanted
                break
            except FileNotFoundError:  # a round that is at work has set it aside since
                if not tries_left:
                    raise
        return self.copy

    def _place(self, store: Store, path: str) -> Path:
        return Path(self.copy.base) / store.within(path)


def _is_copied(path: str) -> bool:
    """Whether a file under a run's folder is one that queries read."""
    return any(fnmatch(path, one) for one in (ROUNDS, DOCUMENTS, LOADS)) or (
        path.split("/")[0] in TABLES and fnmatch(path, "*/round=*/*.parquet")
    )  # fmt: skip


_KEPT: dict[str, Copies] = {}


@contextmanager
def kept_copies(store: Store) -> Iterator[None]:
    """While a round runs, let `local_copies` fetch of its run in an object store only what is new."""
    if store.local:
        yield
        return
    with TemporaryDirectory(prefix="pop-") as folder:
        _KEPT[store.base] = Copies(store, folder)
        try:
            yield
        finally:
            del _KEPT[store.base]


@contextmanager
def local_copies(*stores: Store) -> Iterator[list[Store]]:
    """The runs, ready for many queries: those of an object store as copies on this disk, which are gone afterwards.

    DuckDB fetches what a query reads anew for every query: 25 audits of a small round took half a minute.
    """
    with TemporaryDirectory(prefix="pop-") as folder:
        yield [
            store if store.local else (_KEPT.get(store.base) or Copies(store, f"{folder}/{number}")).refreshed(store)
            for number, store in enumerate(stores)
        ]


def _fetch(stores: Sequence[Store], tables: set[str]) -> None:
    """Get the files of tables together, where they are looked at in an object store."""
    if isinstance(fs := stores[0].fs, Snapshot):
        below = {"manifests": ROUNDS, "document_counts": DOCUMENTS, "server_load": LOADS}
        if "footers" in tables:
            tables = tables | TABLES.keys()
        patterns = [below.get(name, f"{name}/round=*/*.parquet") for name in tables - {"footers"}]
        fs.fetch(path for store in stores for pattern in patterns for path in store.glob(pattern))


def rows_of(con: duckdb.DuckDBPyConnection, query: str, values: object = None) -> list[Row]:
    """The rows of a query, by the names of its columns."""
    return named_rows(con.execute(query, values))


def named_rows(cursor: duckdb.DuckDBPyConnection) -> list[Row]:
    """The rows of a query that was run, by the names of its columns."""
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _tables_of(query: str) -> set[str]:
    """The tables that a query may read: every word of it that names one, or a view that does."""
    found, left = set[str](), [query]
    while left:
        for word in set(re.findall(r"\w+", left.pop().lower())) - found:
            found.add(word)
            left += [_STATEMENTS[word]] if word in _STATEMENTS else []
    return found & _COLUMNS.keys()


def _rounds(store: Store, table: str) -> list[str]:
    """The rounds that a table has files of."""
    return sorted({path.split("/")[-2].removeprefix("round=") for path in store.glob(f"{table}/round=*/*.parquet")})


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


def _scans(table: str, there: Sequence[tuple[Store, str]]) -> list[str]:
    """The rounds of a table as few scans: one a round, or where there are many, one for all with the same columns.

    Every scan of its own costs some milliseconds of planning, in every query.
    """
    if len(there) <= _FEW:
        return [_scan(store, table, number) for store, number in there]
    with ThreadPoolExecutor(8) as pool:
        columns = list(pool.map(lambda one: _columns(one[0], table, one[1]), there))
    alike: dict[str, list[str]] = {}
    for (store, number), own in zip(there, columns, strict=True):
        alike.setdefault(own, []).append(_pattern(store, f"{table}/round={number}/*.parquet"))
    return [
        f"SELECT * EXCLUDE (run, filename), {_whose('filename')} FROM "
        f"read_parquet([{', '.join(patterns)}], hive_partitioning=false, filename=true)"
        for patterns in alike.values()
    ]


def _columns(store: Store, table: str, number: str) -> str:
    """Names and types of a round's columns, as one text; of a file that cannot be read, its name."""
    first = store.glob(f"{table}/round={number}/*.parquet")[:1]
    try:
        with store.fs.open(first[0], "rb") as handle:
            return str(pq.read_schema(handle).remove_metadata())
    except (pa.ArrowException, OSError, IndexError):
        return f"{store.base} {number}"


def _manifests(stores: Sequence[Store]) -> list[str]:
    patterns = [_pattern(store, ROUNDS) for store in stores if store.glob(ROUNDS)]
    if not patterns:
        return []
    columns = ", ".join(f"{name}: '{kind}'" for name, kind in MANIFEST.items())
    options = f"hive_partitioning=false, filename=true, maximum_object_size=100000000, columns={{{columns}}}"
    files = f"read_json([{', '.join(patterns)}], {options})"
    return [f"SELECT * EXCLUDE (filename), {_whose('filename')} FROM {files}"]


def _document_counts(stores: Sequence[Store]) -> list[str]:
    """How many documents a status each round met, also where they are too many for all to have rows."""
    patterns = [_pattern(store, DOCUMENTS) for store in stores if store.glob(DOCUMENTS)]
    if not patterns:
        return []
    options = "hive_partitioning=false, filename=true, maximum_object_size=100000000, columns={counts: 'JSON'}"
    files = f"read_json([{', '.join(patterns)}], {options})"
    return [
        f"SELECT {_whose('filename')}, t.key AS status, (t.value ->> '$')::BIGINT AS count "
        f"FROM {files} f, json_each(f.counts) t"
    ]


def _server_load(stores: Sequence[Store]) -> list[str]:
    """How full the servers of each model were, by what they told of themselves."""
    patterns = [_pattern(store, LOADS) for store in stores if store.glob(LOADS)]
    if not patterns:
        return []
    files = f"read_json_objects([{', '.join(patterns)}], hive_partitioning=false, filename=true)"
    figures = ", ".join(f"(t.value ->> '{name}')::DOUBLE AS {name}" for name in _LOADED)
    return [f"SELECT {_whose('filename')}, t.key AS model, {figures} FROM {files} f, json_each(f.json) t"]


def _footers(stores: Sequence[Store]) -> list[str]:
    """Provenance of every file: `content` is the JSON of its footer."""
    named = f"replace(file_name, '{Snapshot.protocol}://', '{_protocol(stores[0])}://') AS file_name"
    one = f"SELECT {named}, decode(value)::JSON AS content, {{0}} FROM parquet_kv_metadata([{{1}}]) WHERE key = 'pop'"
    scans = []
    for name in TABLES:
        patterns = [_pattern(store, f"{name}/round=*/*.parquet") for store in stores if _rounds(store, name)]
        scans += [one.format(_whose("file_name"), ", ".join(patterns))] if patterns else []
    return scans


def _whose(filename: str) -> str:
    """Run and round of a file, by its path."""
    path = f"regexp_extract({filename}, '([^/]+)/[^/]+/round=([0-9]+)/[^/]*$', {{0}})"
    return f"{path.format(1)} AS run, {path.format(2)}::INTEGER AS round"


def _pattern(store: Store, below: str) -> str:
    scheme = Snapshot.protocol if isinstance(store.fs, Snapshot) else _protocol(store)
    base = escape(store.base) if store.local else f"{scheme}://{escape(store.base)}"
    return _quoted(f"{base}/{below}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _protocol(store: Store) -> str:
    protocol = (store.fs.of if isinstance(store.fs, Snapshot) else store.fs).protocol
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


_FOOTER = {"file_name": "VARCHAR", "content": "JSON", "run": "VARCHAR"}
_LOADED = (
    "seconds", "full_seconds", "running_seconds", "waiting_seconds", "prefix_queries", "prefix_hits", "prompt_tokens",
    "written_tokens",
)  # fmt: skip
_LOAD = {"run": "VARCHAR", "model": "VARCHAR"} | dict.fromkeys(_LOADED, "DOUBLE")
_COUNTS = {"run": "VARCHAR", "status": "VARCHAR", "count": "BIGINT"}
# the columns of every table, and the statements that make the views over them, by name
_COLUMNS: dict[str, dict[str, str]] = {
    name: {field.name: _sql_type(field.type) for field in table.schema} for name, table in TABLES.items()
} | {
    "manifests": {"run": "VARCHAR"} | MANIFEST,
    "footers": _FOOTER,
    "document_counts": _COUNTS,
    "server_load": _LOAD,
}
_STATEMENTS = {
    statement.split("CREATE ", 1)[1].replace("(", " ").split()[1].lower(): statement
    for statement in _VIEWS.read_text(encoding="utf-8").split(";\n") if statement.strip()
}  # fmt: skip
