"""The result of a query as table, CSV, JSON or Parquet.

What a format has no form of its own for is written as DuckDB writes it, in every format alike: an interval as
`1 month 2 days 03:00:00`, a blob as `\\xDE\\xAD`. JSON keeps numbers as numbers and nested values nested; in CSV a
list, a struct or a map is JSON in one field. Infinity and NaN, which JSON does not have, are null there.
"""

import csv
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import duckdb
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.views.plain import plain
from schemas.errors import UserError

MAX_ROWS = 200  # of a table on a terminal
Relation = duckdb.DuckDBPyRelation
_BATCH = 10_000  # rows
_NESTED = ("list", "struct", "map", "array", "union")
_NOT_IN_PARQUET = ("interval", "union", "bit", "time with time zone", "bignum", "uhugeint")
_NO_NUMBER = re.compile(r'"(?:[^"\\]|\\.)*"|-?NaN|-?Infinity')


def unique_names(con: duckdb.DuckDBPyConnection, relation: Relation) -> Relation:
    """Columns of the same name are told apart (`a`, `a_1`), or rows would lose values."""
    names: list[str] = []
    for name in relation.columns:
        fresh = (f"{name}_{n}" if n else name for n in count())
        names.append(next(candidate for candidate in fresh if candidate not in names))
    return relation if names == relation.columns else con.from_arrow(relation.to_arrow_table().rename_columns(names))


def write_json(relation: Relation) -> None:
    """A list with an object a row."""
    names = ", ".join(f"{_quoted(name)} := {_quoted(name)}" for name in relation.columns)
    rows = relation.project(f"to_json(struct_pack({names})) AS row")
    before = "[\n"
    for (row,) in _rows(rows):
        sys.stdout.write(f"{before} {finite(row)}")
        before = ",\n"
    print("\n]" if before == ",\n" else "[]")


def finite(text: str) -> str:
    """JSON as DuckDB writes it, with null in place of NaN and Infinity; what stands in a text stays."""
    if "NaN" not in text and "Infinity" not in text:
        return text
    return _NO_NUMBER.sub(lambda found: found.group() if found.group()[0] == '"' else "null", text)


def write_csv(relation: Relation) -> None:
    """RFC 4180, but for the line ends: LF."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(relation.columns)
    columns = zip(relation.columns, relation.types, strict=True)
    texts = relation.project(", ".join(f"{_as_text(name, type_)} AS {_quoted(name)}" for name, type_ in columns))
    for row in _rows(texts):
        writer.writerow(row)


def write_parquet(relation: Relation) -> None:
    """One Parquet file. An interval is text, since Parquet's own has no months; so is what Parquet has no type for."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if sys.stdout.isatty():
        raise UserError(
            "--format parquet writes binary; send it to a file: pop sql … --format parquet > result.parquet"
        )
    kept = relation.project(", ".join(
        f"{_as_text(name, type_) if _is_odd(type_, _NOT_IN_PARQUET) else _quoted(name)} AS {_quoted(name)}"
        for name, type_ in zip(relation.columns, relation.types, strict=True)
    ))  # fmt: skip
    try:
        pq.write_table(kept.to_arrow_table(), sys.stdout.buffer, compression="zstd")
    except pa.ArrowException as error:
        raise UserError(f"Parquet has no form for this ({error}): cast it, or take another --format") from None


def write_table(relation: Relation) -> None:
    """For a person, on the terminal."""
    print_table(relation, Console(highlight=False))


def print_table(relation: Relation, console: Console) -> None:
    """A table where it fits the terminal, else a block of lines for each row."""
    odd = [_is_odd(type_, ("interval", "blob")) for type_ in relation.types]
    shown = relation.project(", ".join(
        f"{_as_text(name, type_) if is_odd else _quoted(name)} AS {_quoted(name)}"
        for name, type_, is_odd in zip(relation.columns, relation.types, odd, strict=True)
    ))  # fmt: skip
    rows = shown.limit(MAX_ROWS + 1).fetchall()
    if not rows:
        console.print(f"no rows ({', '.join(relation.columns)})", markup=False)
    elif sum(max(len(name), 6) + 3 for name in relation.columns) > console.width:
        _print_blocks(relation.columns, rows[:MAX_ROWS], console)
    else:
        table = Table(row_styles=["", "dim"])
        for name in relation.columns:
            table.add_column(plain(name), overflow="fold", min_width=len(name))
        for row in rows[:MAX_ROWS]:
            table.add_row(*(_cell(value) for value in row))
        console.print(table)
    if len(rows) > MAX_ROWS:
        console.print(f"the first {MAX_ROWS} rows; --format csv, json or parquet gives all", markup=False)


WRITERS: dict[str, Callable[[Relation], None]] = {
    "table": write_table, "json": write_json, "csv": write_csv, "parquet": write_parquet,
}  # fmt: skip


def _as_text(name: str, type_: Any) -> str:
    """A column as text, in SQL: JSON where it is nested, else as DuckDB writes it."""
    return f"to_json({_quoted(name)})::VARCHAR" if type_.id in _NESTED else f"{_quoted(name)}::VARCHAR"


def _is_odd(type_: Any, kinds: Sequence[str]) -> bool:
    return any(_holds(type_, kind) for kind in kinds)


def _holds(type_: Any, kind: str) -> bool:
    """Whether a type is of that kind, or holds it within."""
    if type_.id == kind:
        return True
    if type_.id not in _NESTED:
        return False
    return any(_holds(child, kind) for _, child in type_.children if hasattr(child, "id"))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _rows(relation: Relation) -> Iterator[tuple[Any, ...]]:
    for batch in relation.to_arrow_reader(_BATCH):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _print_blocks(names: list[str], rows: list[tuple[Any, ...]], console: Console) -> None:
    for number, row in enumerate(rows, 1):
        console.rule(f"row {number}", align="left")
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold")
        grid.add_column(overflow="fold")
        for name, value in zip(names, row, strict=True):
            grid.add_row(plain(name), _cell(value))
        console.print(grid)


def _cell(value: Any) -> Text:
    if value is None:
        return Text("null", style="dim italic")
    if isinstance(value, float):
        return Text(f"{value:.4g}")
    nested = isinstance(value, list | dict)
    return plain(json.dumps(_plain(value), ensure_ascii=False, default=str) if nested else value)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
