"""Audits: canned queries, each with a threshold, that say whether a round fooled itself.

An audit is a file `<name>.sql`: a header of comment lines, then one query over the tables and views.

    -- title: Malformed share
    -- meaning: Share of a stage's rows whose output could not be read.
    -- threshold: 0.25
    -- direction: at_most
    -- blocks: no
    -- needs: 20
    SELECT run, round, stage AS part, … AS value, count(*) AS n FROM … GROUP BY ALL

The query gives a row a round, or one for each `part` of it: `value` (null: nothing to look at), `n` (rows looked at)
and, where it likes, `part` and `detail` in words. Fewer than `needs` rows (1 where it is not given) are no verdict. The
project's are in `data/audits`; a user's, in `<root>/audits` or a folder of his own, stand beside them and replace those
of the same name.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
import fsspec

from schemas.errors import UserError
from schemas.load import PROJECT, did_you_mean
from tasks.storage.db import named_rows

SHIPPED = PROJECT / "data" / "audits"
KEYS = {"title": True, "meaning": True, "threshold": True, "direction": True, "blocks": True, "needs": False}
_HEADER = re.compile(r"--\s*(\w+):\s*(.*)")
_MORE = re.compile(r"--\s{2,}(\S.*)")
Verdict = Literal["ok", "warn", "fail", "n/a"]


@dataclass(frozen=True)
class Audit:
    """A query and how its value is judged: `at_most` or `at_least` the threshold, from `needs` rows on."""

    name: str
    title: str
    meaning: str
    threshold: float
    direction: str
    blocks: bool
    needs: int
    query: str

    def verdict(self, value: float | None, n: int) -> Verdict:
        """`n/a` where there is nothing (or too little) to look at; else by the threshold."""
        if value is None or n < self.needs:
            return "n/a"
        if value <= self.threshold if self.direction == "at_most" else value >= self.threshold:
            return "ok"
        return "fail" if self.blocks else "warn"


@dataclass(frozen=True)
class Finding:
    """What an audit says of a round, or of a part of it; `value` is null where it has nothing to look at."""

    audit: Audit
    part: str
    value: float | None
    n: int
    detail: str
    verdict: Verdict


def read_audits(folders: Iterable[str]) -> list[Audit]:
    """The project's audits and those of further folders (or URLs), by name; a later one replaces an earlier one.

    Raises:
        UserError: a file is none of the form above; names it and what is wrong.
    """
    found: dict[str, Audit] = {}
    for folder in (str(SHIPPED), *folders):
        fs, base = fsspec.core.url_to_fs(folder)
        for path in sorted(fs.ls(base, detail=False)) if fs.isdir(base) else []:
            if path.endswith(".sql"):
                audit = parse_audit(path, fs.cat_file(path).decode(errors="replace"))
                found[audit.name] = audit
    return [found[name] for name in sorted(found)]


def parse_audit(path: str, text: str) -> Audit:
    """An audit from its file.

    Raises:
        UserError: a key of the header is missing, unknown, given twice or has no such value; there is no query.
    """
    name = Path(path).name.removesuffix(".sql")

    def wrong(what: str) -> UserError:
        return UserError(f"audit {path}: {what}")

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise wrong("its name must be lower-case letters, digits and underscores")
    header, query = _split(text, wrong)
    if missing := [key for key, needed in KEYS.items() if needed and not header.get(key)]:
        raise wrong(f"the header has no {missing[0]}")
    if not query.strip():
        raise wrong("there is no query after the header")
    if header["direction"] not in ("at_most", "at_least"):
        raise wrong(f"direction is at_most or at_least, not {header['direction']!r}")
    if header["blocks"] not in ("yes", "no"):
        raise wrong(f"blocks is yes or no, not {header['blocks']!r}")
    threshold, needs = _number(header["threshold"]), _number(header.get("needs", "1"))
    if threshold is None:
        raise wrong(f"threshold is no number: {header['threshold']!r}")
    if needs is None or needs < 1 or needs != int(needs):
        raise wrong(f"needs is no count of rows: {header['needs']!r}")
    return Audit(
        name, header["title"], header["meaning"], threshold, header["direction"], header["blocks"] == "yes",
        int(needs), query.strip().removesuffix(";"),
    )  # fmt: skip


def _split(text: str, wrong: Any) -> tuple[dict[str, str], str]:
    header: dict[str, str] = {}
    lines = text.splitlines()
    at, last = 0, None
    for at, line in enumerate(lines):
        if match := _HEADER.fullmatch(line.strip()):
            last, value = match.groups()
            if last not in KEYS:
                raise wrong(f"line {at + 1}: no key {last!r}{did_you_mean(last, list(KEYS))}; keys: {', '.join(KEYS)}")
            if last in header:
                raise wrong(f"line {at + 1}: {last} is given twice")
            header[last] = value.strip()
        elif last and (more := _MORE.fullmatch(line.strip())):
            header[last] += f" {more.group(1).strip()}"
        elif line.strip():
            break
    else:
        return header, ""
    return header, "\n".join(lines[at:])


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def run_audits(con: duckdb.DuckDBPyConnection, audits: Sequence[Audit], run: str, round_: int) -> list[Finding]:
    """Every audit's findings of one round.

    Raises:
        UserError: a query fails, or gives other columns than it should.
    """
    return [finding for audit in audits for finding in run_audit(con, audit, run, round_)]


def run_audit(con: duckdb.DuckDBPyConnection, audit: Audit, run: str, round_: int) -> list[Finding]:
    """One audit's findings, the worst part first; a single `n/a` where its query gives no row."""
    try:
        statements = con.extract_statements(audit.query)
        if len(statements) != 1 or statements[0].type.name != "SELECT":
            raise UserError(f"audit {audit.name}: give one SELECT")
        cursor = con.execute(f"SELECT * FROM ({audit.query}\n) AS audit WHERE run = ? AND round = ?", [run, round_])
        names, rows = [column[0] for column in cursor.description], named_rows(cursor)
    except duckdb.Error as error:
        raise UserError(f"audit {audit.name}: {' '.join(str(error).split())[:300]}") from None
    if missing := {"value", "n"} - set(names):
        raise UserError(f"audit {audit.name}: its query has no column {min(missing)}")
    if extra := set(names) - {"run", "round", "value", "n", "part", "detail"}:
        raise UserError(f"audit {audit.name}: nobody reads the column {min(extra)!r} of its query")
    found = [_finding(audit, row) for row in rows] or [Finding(audit, "", None, 0, "nothing to look at", "n/a")]
    return sorted(found, key=lambda f: (("fail", "warn", "ok", "n/a").index(f.verdict), f.part))


def _finding(audit: Audit, row: dict[str, Any]) -> Finding:
    value, n = row["value"], int(row["n"] or 0)
    try:
        value = None if value is None or not math.isfinite(value) else float(value)
    except TypeError:
        raise UserError(f"audit {audit.name}: value is no number: {str(value)[:60]!r}") from None
    detail = str(row.get("detail") or "")
    if n < audit.needs:
        detail = "nothing to look at" if n == 0 else f"{n} rows; {audit.needs} are needed for a verdict"
    elif value is None:
        detail = detail or "cannot be told from these rows"
    return Finding(audit, str(row.get("part") or ""), value, n, detail, audit.verdict(value, n))
