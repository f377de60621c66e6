"""What a person reads of a corpus: `pop look`, and the languages that the settings of a round do not suit."""

import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

from duckdb import DuckDBPyConnection
from rich.console import Console
from rich.table import Table

from flows.views.plain import plain
from schemas.config import Config, CorpusConfig
from schemas.names import expanded
from tasks.corpus.index import DONE, make, reading
from tasks.corpus.look import Look, look
from tasks.corpus.parts import Cursor
from tasks.corpus.suited import unsuited
from tasks.storage.jsonfile import read_json
from tasks.texts.scripts import language_of

EVERY_SEC, SAMPLE = 5.0, 500
UNTOLD = "not told"


def look_and_print(config: Config, format_: str, out: Console, err: Console) -> bool:
    """Go over the corpus with news on `err`; the result to `out`. Returns whether a round could be made of it.

    Raises:
        UserError: no such corpus, or nothing in it of a kind that can be read.
    """
    from tasks.shard import records_of  # with Prefect, which `pop status` has no need of

    found = look(records_of(config.corpus), config.corpus, _News(err).told)
    lines = unsuited(_told(found.languages), config)
    if format_ == "json":
        print(json.dumps(found.as_dict() | {"unsuited": lines}, ensure_ascii=False, indent=1))
    else:
        print_look(found, lines, out)
    return found.usable > 0


def index_and_print(config: CorpusConfig, folder: str | None, out: Console, err: Console) -> None:
    """Write the index of a corpus, with news on `err`; what to set then to `out`.

    Raises:
        UserError: no such corpus, or a folder that holds something else.
    """
    from tasks.shard import corpus_source

    there, news = index_folder(config.source, folder), _News(err)
    done, read = make(corpus_source(config.source), config, there, news.read)
    left_out = ", ".join(f"{count:,} {status}" for status, count in sorted(done["counts"].items()))
    said = f"{done['offered']:,} documents in {done['seen']:,} records of {done['inputs']:,} files"
    out.print(f"{there}: {said} ({left_out or 'none left out'})" + ", nothing has changed" * (not read), markup=False,
              soft_wrap=True)  # fmt: skip
    out.print(f"rounds draw from it with --set corpus.index={there}", markup=False, soft_wrap=True)


def index_folder(source: str, folder: str | None = None) -> Path:
    """Where the index of a source is, if nobody says otherwise."""
    name = re.sub(r"[^\w.-]+", "-", expanded(source.removeprefix("hf:")).resolve().name) or "corpus"
    return expanded(folder) if folder else Path("data") / "indexes" / name


def _index_of(config: CorpusConfig) -> str:
    """What is to be said of an index of the corpus."""
    folder = expanded(config.index) if config.index else index_folder(config.source)
    if not (done := read_json(folder / DONE)):
        return ""
    other = [name for name, value in reading(config).items() if done["settings"].get(name) != value]
    fits = f", made with another {' and '.join(other)}" if other else ""
    return f"{folder}: {done['offered']:,} documents{fits} (corpus.index)"


class _News:
    """A line now and then: how far it is."""

    def __init__(self, err: Console) -> None:
        self._err = err
        self._begun = time.monotonic()
        self._next = self._begun + EVERY_SEC

    def told(self, found: Look) -> None:
        """A record more."""
        if found.records % 64 == 0 and self._due():
            self._err.print(f"{found.records:,} records, {found.usable:,} usable; now {found.last_file}", markup=False)

    def read(self, cursor: Cursor, name: str) -> None:
        """A record more of an index."""
        if cursor.seen % 64 == 0 and self._due():
            said = f"{cursor.seen:,} records, {cursor.offered:,} documents; now {name}"
            self._err.print(f"{said} ({time.monotonic() - self._begun:.0f} s)", markup=False, soft_wrap=True)

    def _due(self) -> bool:
        due = time.monotonic() > self._next
        if due:
            self._next = time.monotonic() + EVERY_SEC
        return due


def print_look(found: Look, lines: list[str], out: Console) -> None:
    """The tables of `pop look`."""
    facts = found.as_dict()
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, said in _summary(found, facts):
        table.add_row(name, plain(said))
    out.print(f"{found.config.source}: what a round would read\n", markup=False)
    out.print(table)
    for status, count in found.statuses.most_common():
        out.print(f"\nleft out, {status}: {count:,}", markup=False)
        for reason in found.reasons[status]:
            out.print(f"  {plain(reason)}", markup=False, soft_wrap=True)
    if facts["examples"]:
        out.print("\nDrawn by lot:")
    for one in facts["examples"]:
        head = f"{one['source']}, {one['words']} words" + (f", {one['title']}" if one["title"] else "")
        out.print(f"\n  {plain(head)}", markup=False, soft_wrap=True, style="bold")
        out.print(f"  {plain(one['text'])}", markup=False)
    for line in lines:
        out.print(f"\nDoes not suit: {line}", markup=False, soft_wrap=True, style="yellow")
    if not found.usable:
        out.print("\nNothing here can be trained on.", style="red")


def _summary(found: Look, facts: dict[str, Any]) -> list[tuple[str, str]]:
    words, near = facts["words"], facts["near_duplicates"]
    files = ", ".join(f"{count:,} {kind}" for kind, count in found.files.most_common(8))
    rows = [("records", f"{found.records:,}" + (f" in {files}" if files else ""))]
    rows += [("index", said)] if (said := _index_of(found.config)) else []
    share = f" ({found.titled / found.usable:.0%} have a title)" if found.usable else ""
    rows.append(("usable documents", f"{found.usable:,}{share}"))
    if found.passages or found.cut:
        rows.append(("of long texts", f"{found.passages:,} passages, {found.cut:,} cut to their beginning"))
    if found.usable:
        sides = ", ".join(f"{count:,} {side}" for side, count in sorted(found.splits.items(), reverse=True))
        rows.append(("split", f"{sides} (corpus.heldout_share {found.config.heldout_share:g})"))
    if words["max"] is not None:
        rows.append((
            "words a record", f"{words['min']:,} to {words['max']:,}; the middle one {words['p50']:,}, 90 % from "
            f"{words['p5']:,} to {words['p95']:,}; {words['total']:,} in all",
        ))  # fmt: skip
    if found.languages:
        rows.append(("languages", ", ".join(f"{name} {count:,}" for name, count in found.languages.most_common(8))))
    if (copies := facts["duplicates"]["share"]) is not None:
        about = "" if facts["duplicates"]["exact"] else "about "
        rows.append(("copies", f"{about}{copies:.2%} of the documents are the same text as another one"))
        rows.append(("near-duplicates", f"{near['found']:,} of {near['compared']:,} compared"))
    return rows


def languages_of(con: DuckDBPyConnection, round_: int) -> Counter[str]:
    """Languages of the documents of a round, or of a part of them where they are many."""
    query = (
        "SELECT text FROM documents WHERE round = ? AND status = 'ok' AND text IS NOT NULL ORDER BY document_id LIMIT ?"
    )
    return Counter(language_of(text) or UNTOLD for (text,) in con.execute(query, [round_, SAMPLE]).fetchall())


def print_unsuited(con: DuckDBPyConnection, round_: int, config: Config, out: Console) -> None:
    """What of a round's settings does not suit the languages of its documents."""
    for line in unsuited(_told(languages_of(con, round_)), config):
        out.print(f"Does not suit: {line}", markup=False, soft_wrap=True)


def _told(languages: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in languages.items() if name != UNTOLD}
