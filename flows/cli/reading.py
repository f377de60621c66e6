"""Which SQL only reads. DuckDB has no such mode for a database in memory: `COPY` writes files from there as well."""

import re
from collections.abc import Sequence
from itertools import pairwise

import duckdb

from schemas.errors import UserError

WRITING = frozenset(
    ("copy", "insert", "update", "delete", "merge", "truncate", "create", "drop", "alter", "attach", "export", "import")
)
READING = frozenset(
    ("select", "from", "with", "values", "table", "pivot", "pivot_wider", "unpivot", "pivot_longer", "describe", "desc",
     "summarize", "show", "explain", "pragma", "(")
)  # fmt: skip
PRAGMAS = re.compile(r"pragma\s+(table_info|storage_info|show|show_tables|show_tables_expanded|database_list|"
                     r"database_size|version|functions|collations|platform)\b", re.IGNORECASE)  # fmt: skip
_REFUSED = "give one query; nothing is written here"


def statements(con: duckdb.DuckDBPyConnection, text: str) -> list[str]:
    """The queries of a text, each checked.

    Raises:
        UserError: there is none, or one of them would write.
        duckdb.Error: it is no SQL.
    """
    found = [_bare(statement.query) for statement in con.extract_statements(text)]
    if not found:
        raise UserError(_REFUSED)
    for query in found:
        _require_reading(con, query)
    return found


def _bare(query: str) -> str:
    """The statement without what may stand after it, a semicolon and comments: it is put into another one."""
    raw = query.encode()  # positions count bytes
    spans = list(duckdb.tokenize(query))
    kept = len(spans)
    while kept and (spans[kept - 1][1] == duckdb.token_type.comment or raw[spans[kept - 1][0] :][:1] == b";"):
        kept -= 1
    return query if kept == len(spans) else raw[: spans[kept][0]].decode(errors="replace").rstrip()


def _require_reading(con: duckdb.DuckDBPyConnection, query: str) -> None:
    words = tokens(query)
    if not words or words[0] not in READING:
        raise UserError(_REFUSED)
    if words[0] == "pragma" and not PRAGMAS.match(without_comments(query)):
        raise UserError("this pragma may change or write something; nothing is written here")
    if words[0] == "explain" and (not (inner := explained(words)) or inner[0] not in READING):
        raise UserError(_REFUSED)
    # also within: WITH x AS (COPY …), which DuckDB counts among the SELECTs
    if any(before == "(" and word in WRITING for before, word in pairwise([*words, ""])):
        raise UserError(_REFUSED)


def explained(words: Sequence[str]) -> Sequence[str]:
    """The tokens of what EXPLAIN [ANALYZE] [(options)] explains."""
    rest = words[1:]
    if rest[:1] == ["("] and ")" in rest and rest[1:2] != ["select"]:
        rest = rest[rest.index(")") + 1 :]
    return rest[1:] if rest[:1] == ["analyze"] else rest


def tokens(query: str) -> list[str]:
    """Keywords and signs in small letters; a name in quotes is no keyword, and a text is none either."""
    spans = list(duckdb.tokenize(query))
    ends = [start for start, _ in spans[1:]] + [len(query)]
    found = []
    raw = query.encode()  # positions count bytes
    ends = [*ends[:-1], len(raw)]
    for (start, kind), end in zip(spans, ends, strict=True):
        if kind != duckdb.token_type.comment:
            found.append(raw[start:end].decode(errors="replace").strip().lower())
    return [word.split()[0] if word and word[0] not in "'\"$" else word for word in found if word]


def without_comments(query: str) -> str:
    """The query from its first word on."""
    raw = query.encode()
    starts = [start for start, kind in duckdb.tokenize(query) if kind != duckdb.token_type.comment]
    return raw[starts[0] :].decode(errors="replace") if starts else ""
