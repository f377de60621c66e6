"""SQL over a run or over all of a root: one query to stdout, or a prompt with history and completion."""

import csv
import json
import math
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import duckdb
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.views.plain import plain
from schemas.errors import UserError
from tasks.processes.guarded import state_dir
from tasks.storage.db import connect
from tasks.storage.store import Store

_READING = {"SELECT", "EXPLAIN", "PRAGMA"}
MAX_ROWS = 200  # of a table on a terminal


def _cancellable(con: duckdb.DuckDBPyConnection, work: Callable[[], None]) -> None:
    """Do `work` in a thread, so that Ctrl-C reaches this one and ends the query; then KeyboardInterrupt goes on."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        try:
            future.result()
        except KeyboardInterrupt:
            con.interrupt()
            raise


def run_query(stores: Sequence[Store], query: str, output: str) -> None:
    """Run one query and print its result.

    Raises:
        UserError: DuckDB does not take it; its own first line, which names what is near, is the text.
    """
    try:
        con = connect(*stores)
        write = {"table": _table, "json": _json, "csv": _csv, "parquet": _parquet}[output]
        _cancellable(con, lambda: write(_one(con, query)))
    except duckdb.Error as error:
        raise UserError(_reason(error)) from None


def _one(con: duckdb.DuckDBPyConnection, query: str) -> duckdb.DuckDBPyRelation:
    """The relation of a query; columns of the same name are told apart (`a`, `a_1`), or rows would lose values."""
    statements = con.extract_statements(query)
    if len(statements) != 1 or statements[0].type.name not in _READING:
        raise UserError("give one query; nothing is written here")
    relation = con.sql(query)
    if relation is None:
        raise UserError("this statement has no result; give a query")
    names: list[str] = []
    for name in relation.columns:
        fresh = (f"{name}_{n}" if n else name for n in count())
        names.append(next(candidate for candidate in fresh if candidate not in names))
    return relation if names == relation.columns else con.from_arrow(relation.to_arrow_table().rename_columns(names))


def _reason(error: duckdb.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("LINE ", "^"))]
    return " ".join(said)[:400]


def _plain(value: Any) -> Any:
    """JSON has no infinity and no NaN: null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _text(value: Any) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, default=str)


def _json(relation: duckdb.DuckDBPyRelation) -> None:
    rows = [_plain(row) for row in relation.to_arrow_table().to_pylist()]
    print(json.dumps(rows, default=str, indent=1, ensure_ascii=False))


def _table(relation: duckdb.DuckDBPyRelation) -> None:
    _print_table(relation, Console(highlight=False))


def _print_table(relation: duckdb.DuckDBPyRelation, console: Console) -> None:
    """A table where it fits the terminal, else a block of lines for each row."""
    rows = relation.limit(MAX_ROWS + 1).fetchall()
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
    return plain(_text(value) if isinstance(value, list | dict) else value)


def _csv(relation: duckdb.DuckDBPyRelation) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(relation.columns)
    for batch in relation.to_arrow_reader(10_000):
        for row in batch.to_pylist():
            writer.writerow(_text(v) if isinstance(v, list | dict) else v for v in row.values())


def _parquet(relation: duckdb.DuckDBPyRelation) -> None:
    import pyarrow.parquet as pq

    if sys.stdout.isatty():
        raise UserError(
            "--format parquet writes binary; send it to a file: pop sql … --format parquet > result.parquet"
        )
    pq.write_table(relation.to_arrow_table(), sys.stdout.buffer, compression="zstd")


def prompt(stores: Sequence[Store], console: Console) -> None:
    """Read queries until end of input. Tables and views are completed; the history is kept between sessions."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.lexers import PygmentsLexer
    from pygments.lexers.sql import SqlLexer

    con = connect(*stores)
    names = [row[0] for row in con.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()]
    columns = {row[0] for row in con.execute("SELECT column_name FROM duckdb_columns() WHERE NOT internal").fetchall()}
    words = sorted({*names, *columns, "SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "LIMIT", "JOIN", "USING"})
    state_dir().mkdir(parents=True, exist_ok=True)
    session: PromptSession[str] = PromptSession(
        history=FileHistory(str(state_dir() / "sql_history")), lexer=PygmentsLexer(SqlLexer),
        completer=WordCompleter(words, ignore_case=True), complete_while_typing=False,
    )  # fmt: skip
    console.print(f"{', '.join(store.run for store in stores)}: {', '.join(sorted(names))}", markup=False)
    console.print("One query a line; Tab completes; Ctrl-D or exit leaves.", markup=False)
    while True:
        try:
            query = session.prompt("pop> ").strip().rstrip(";")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if query in ("exit", "quit"):
            return
        _answer(con, query, console)


def _answer(con: duckdb.DuckDBPyConnection, query: str, console: Console) -> None:
    if not query:
        return
    try:
        _cancellable(con, lambda: _print_table(_one(con, query), Console(highlight=False)))
    except duckdb.Error as error:
        console.print(_reason(error), style="red", markup=False)
    except UserError as error:
        console.print(str(error), style="red", markup=False)
    except KeyboardInterrupt:
        console.print("cancelled", style="dim")
