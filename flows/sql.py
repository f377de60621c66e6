"""SQL over a run: one query to stdout, or a prompt with history and completion."""

import json
import sys
from typing import Any

import duckdb
from rich.console import Console
from rich.table import Table

from schemas.errors import UserError
from schemas.tables import TABLES
from tasks.db import connect
from tasks.processes import state_dir
from tasks.store import Store

MAX_ROWS = 200  # of a table on a terminal


def run_query(store: Store, query: str, output: str) -> None:
    """Run one query and print its result.

    Raises:
        UserError: DuckDB does not take it; its own first line, which names what is near, is the text.
    """
    relation = _relation(connect(store), query)
    if relation is None:
        return
    if output == "table":
        _print_table(relation, Console(highlight=False))
    elif output == "json":
        print(json.dumps(relation.to_arrow_table().to_pylist(), default=str, indent=1, ensure_ascii=False))
    elif output == "csv":
        _csv(relation)
    else:
        _parquet(relation)


def _relation(con: duckdb.DuckDBPyConnection, query: str) -> duckdb.DuckDBPyRelation | None:
    try:
        return con.sql(query)
    except duckdb.Error as error:
        raise UserError("; ".join(line.strip() for line in str(error).splitlines() if line.strip())[:500]) from None


def _print_table(relation: duckdb.DuckDBPyRelation, console: Console) -> None:
    table = Table(row_styles=["", "dim"], show_lines=False)
    for name in relation.columns:
        table.add_column(name, overflow="fold")
    rows = relation.limit(MAX_ROWS + 1).fetchall()
    for row in rows[:MAX_ROWS]:
        table.add_row(*(_cell(value) for value in row))
    console.print(table)
    if len(rows) > MAX_ROWS:
        console.print(f"the first {MAX_ROWS} rows; --format csv, json or parquet gives all", markup=False)


def _cell(value: Any) -> str:
    from rich.markup import escape

    if value is None:
        return "[dim italic]null[/]"
    if isinstance(value, float):
        return f"{value:.4g}"
    return escape(json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value))


def _csv(relation: duckdb.DuckDBPyRelation) -> None:
    import csv

    writer = csv.writer(sys.stdout)
    writer.writerow(relation.columns)
    for batch in relation.to_arrow_reader(10_000):
        writer.writerows(row.values() for row in batch.to_pylist())


def _parquet(relation: duckdb.DuckDBPyRelation) -> None:
    import pyarrow.parquet as pq

    if sys.stdout.isatty():
        raise UserError(
            "--format parquet writes binary; send it to a file: pop sql … --format parquet > result.parquet"
        )
    pq.write_table(relation.to_arrow_table(), sys.stdout.buffer, compression="zstd")


def prompt(store: Store, console: Console) -> None:
    """Read queries until end of input. Tables and views are completed; the history is kept between sessions."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.lexers import PygmentsLexer
    from pygments.lexers.sql import SqlLexer

    con = connect(store)
    names = [row[0] for row in con.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()]
    columns = {column for table in TABLES.values() for column, _ in table.columns}
    words = sorted({*names, *columns, "SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "LIMIT", "JOIN", "USING"})
    state_dir().mkdir(parents=True, exist_ok=True)
    session: PromptSession[str] = PromptSession(
        history=FileHistory(str(state_dir() / "sql_history")), lexer=PygmentsLexer(SqlLexer),
        completer=WordCompleter(words, ignore_case=True), complete_while_typing=False,
    )  # fmt: skip
    console.print(f"{store.run}: {', '.join(sorted(names))}\nCtrl-D leaves; Tab completes.", markup=False)
    while True:
        try:
            query = session.prompt("pop> ").strip().rstrip(";")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        _answer(con, query, console)


def _answer(con: duckdb.DuckDBPyConnection, query: str, console: Console) -> None:
    if not query:
        return
    try:
        if relation := _relation(con, query):
            _print_table(relation, Console(highlight=False))
    except (UserError, duckdb.Error) as error:
        console.print(str(error), style="red", markup=False)
    except KeyboardInterrupt:
        con.interrupt()
        console.print("cancelled", style="dim")
