"""SQL over a run or over all of a root: queries to stdout, or a prompt with history and completion."""

import contextlib
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import duckdb
from rich.console import Console

from flows.cli.formats import WRITERS, print_table, unique_names
from flows.cli.reading import statements
from schemas.errors import UserError
from tasks.processes.guarded import state_dir
from tasks.storage.db import Database
from tasks.storage.store import Store

if TYPE_CHECKING:
    from prompt_toolkit.history import History

_RESERVED = ("by", "end", "order", "group", "table")  # names of columns that are words of SQL, too


def _cancellable(con: duckdb.DuckDBPyConnection, work: Callable[[], None]) -> None:
    """Do `work` in a thread, so that Ctrl-C reaches this one and ends the query; then KeyboardInterrupt goes on."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        try:
            future.result()
        except KeyboardInterrupt:
            con.interrupt()
            raise


def run_query(stores: Sequence[Store], text: str, output: str, several: bool = False) -> None:
    """Run one query (or `several`, one after the other) and print what comes of it.

    Raises:
        UserError: DuckDB does not take it; its own first line, which names what is near, is the text.
    """
    text = text.encode(errors="surrogateescape").decode(errors="replace")  # of a shell without UTF-8
    if output in ("csv", "json") and not sys.stdout.isatty():
        _utf8_whatever_the_terminal_speaks()
    try:
        base = Database(*stores)
        queries = statements(base.con, text)
        if len(queries) > 1 and (not several or output == "parquet"):
            raise UserError("give one query; nothing is written here")
        for query in queries:
            base.open(query)
            _cancellable(base.con, lambda query=query: WRITERS[output](_one(base.con, query)))  # type: ignore[misc]
    except duckdb.Error as error:
        raise UserError(_reason(error, text)) from None


def _utf8_whatever_the_terminal_speaks() -> None:
    """A file of data is UTF-8, also where the environment knows ASCII only."""
    with contextlib.suppress(AttributeError, ValueError):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]


def _one(con: duckdb.DuckDBPyConnection, query: str) -> duckdb.DuckDBPyRelation:
    """The relation of a query that was found to read only."""
    relation = con.sql(query)
    if relation is None:
        raise UserError("this statement has no result; give a query")
    return unique_names(con, relation)


def _reason(error: duckdb.Error, query: str) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(line for line in lines if not line.startswith(("LINE ", "^")))[:400]
    near = said.rpartition('at or near "')[2].rstrip('"').lower()
    words = [
        word
        for word in _RESERVED
        if re.search(rf"(?<!group )(?<!order )(?<!partition )\b{word}\s*{re.escape(near)}", query, re.IGNORECASE)
    ]
    if not said.startswith("Parser Error") or not (named := near if near in _RESERVED else "".join(words[:1])):
        return said
    return f'{said}; a column that is named like a word of SQL goes in quotes: "{named}"'


def prompt(stores: Sequence[Store], console: Console) -> None:
    """Read queries until end of input. Tables and views are completed; the history is kept between sessions."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.lexers import PygmentsLexer
    from pygments.lexers.sql import SqlLexer

    base = Database(*stores)
    con = base.con
    names = [row[0] for row in con.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()]
    columns = {row[0] for row in con.execute("SELECT column_name FROM duckdb_columns() WHERE NOT internal").fetchall()}
    words = sorted({*names, *columns, "SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "LIMIT", "JOIN", "USING"})
    session: PromptSession[str] = PromptSession(
        history=_history(), lexer=PygmentsLexer(SqlLexer),
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
        _answer(base, query, console)


def _history() -> "History":
    """What was asked before, kept between sessions where that can be written."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    try:
        state_dir().mkdir(parents=True, exist_ok=True)
        with (state_dir() / "sql_history").open("a"):
            return FileHistory(str(state_dir() / "sql_history"))
    except OSError:
        return InMemoryHistory()


def _answer(base: Database, text: str, console: Console) -> None:
    if not text:
        return
    try:
        for query in statements(base.con, text):
            base.open(query)
            _cancellable(base.con, lambda query=query: print_table(_one(base.con, query), Console(highlight=False)))  # type: ignore[misc]
    except duckdb.Error as error:
        console.print(_reason(error, text), style="red", markup=False)
    except UserError as error:
        console.print(str(error), style="red", markup=False)
    except KeyboardInterrupt:
        console.print("cancelled", style="dim")
