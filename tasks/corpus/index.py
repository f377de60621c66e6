"""An index of a corpus: what every record gives, and where it is, so that a round reads none but its own documents.

A folder of Parquet. `part-*` has a row for every document (hash, place, title, words; no text) and for every reject;
`files-*` the inputs whose reading began in that part, with their stamps. Each part is published when it is whole, its
footer says how far the corpus is read then, and a killed `pop index` goes on behind the last one. `rejects` and
`index.json` come last: without them there is no index.

What it holds depends on how texts are read and cut, not on how documents are drawn: any seed, share and number will do.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from schemas.config import CorpusConfig
from schemas.errors import DependencyError, UserError
from schemas.names import expanded
from tasks.corpus.identity import hash64
from tasks.corpus.inputs import Input, inputs_of
from tasks.corpus.parts import SCHEMA, Cursor, Part, cursor_of, part_of, parts_of, publish, reject_of, standing_parts
from tasks.corpus.readers import HUB
from tasks.corpus.records import BadRecord
from tasks.corpus.rejects import KEPT, Rejects, reject_row
from tasks.corpus.sampling import Found
from tasks.corpus.select import Refused, usable
from tasks.storage.jsonfile import read_json
from tasks.storage.store import publish_local

VERSION = 1
PART_ROWS = 100_000
WHYS = 100
READING = ("text_column", "title_column", "hub_config", "hub_split", "min_words", "max_words", "long_texts")
BEGUN, DONE, REJECTS = "begun.json", "index.json", "rejects.parquet"
Row = dict[str, Any]


def reading(config: CorpusConfig) -> Row:
    """The settings that an index depends on."""
    return {"version": VERSION} | {name: getattr(config, name) for name in READING}


def make(source: str, config: CorpusConfig, folder: Path, told: Callable[[Cursor, str], None]) -> tuple[Row, bool]:
    """Write the index of a source, from where an earlier call stopped; its manifest, and whether anything was read.

    Memory does not grow with the corpus. Files that were added behind those that are read cost their own reading
    alone; where an earlier one has changed, all from there on is read again.

    Raises:
        UserError: no such corpus; the folder lies in it, holds something else, or is in use.
    """
    _placed(source, config, folder)
    with _locked(folder):
        number, cursor = _resume(source, config, folder)
        if (done := read_json(folder / DONE)) and not _owed(source, config, cursor):
            return done, False
        (folder / DONE).unlink(missing_ok=True)
        cursor = _read(source, config, folder, number, cursor, told)
        return _finish(source, config, folder, cursor), True


def _read(
    source: str, config: CorpusConfig, folder: Path, number: int, cursor: Cursor, told: Callable[[Cursor, str], None]
) -> Cursor:  # fmt: skip
    """Read on from a cursor, part by part."""
    part, published = Part(), replace(cursor)
    inputs = (one for one in inputs_of(source, config) if isinstance(one, Input))
    for one in itertools.islice(inputs, cursor.inputs, None):
        if not cursor.within:
            part.files.append({"name": one.name, "stamp": one.stamp})
        for record in itertools.islice(one.records(), cursor.within, None):
            cursor.within += 1
            cursor.seen += record.count if isinstance(record, BadRecord) else 1
            at = None if isinstance(record, BadRecord) else record.at
            for found in usable(record, config.min_words, config.max_words, config.long_texts):
                cursor.offered += isinstance(found, Found)
                part.add(_row(found, one.name, at))
            told(cursor, one.name)
            if len(part) >= PART_ROWS:
                part.publish(folder, number, cursor)
                part, number, published = Part(), number + 1, replace(cursor)
        cursor.inputs, cursor.within = cursor.inputs + 1, 0
    if cursor != published:
        part.publish(folder, number, cursor)
    return cursor


def _row(found: Found | Refused, file: str, at: int | None) -> Row:
    if isinstance(found, Found):
        return {
            "document_id": found.document_id, "split_at": hash64("split", found.document_id), "source": found.source,
            "file": file, "at": at, "title": found.title, "words": found.words, "status": "ok", "reason": found.reason,
        }  # fmt: skip
    row = reject_row(found.record.source, found.record.status, found.record.reason, found.title, found.words)
    kept = {name: row[name] for name in ("source", "title", "words", "status", "reason")}
    return kept | {"file": file, "count": found.record.count, "whole": found.record.whole}


def _finish(source: str, config: CorpusConfig, folder: Path, cursor: Cursor) -> Row:
    """Sum up what is no document, and say that the index is there."""
    rejects, rows = Rejects(KEPT), list[Row]()
    for row in _rejected(folder):
        rejects.add(reject_of(row), row["count"], row["whole"])
    for one in inputs_of(source, config):
        if isinstance(one, BadRecord):
            cursor.seen += one.count
            rejects.add(reject_row(one.source, one.status, one.reason, None, None), one.count, one.whole)
    for place, kept in enumerate((rejects.whole, rejects.rows()[len(rejects.whole) :])):
        rows += [{**row, "document_id": None, "whole": not place} for row in kept]
    publish(folder / REJECTS, pa.Table.from_pylist(rows, SCHEMA))
    why = [list(one) for one in rejects.why(WHYS)]
    done = asdict(cursor) | {"counts": dict(rejects.counts), "why": why, "settings": reading(config)}
    publish_local(folder / DONE, json.dumps(done, indent=1, ensure_ascii=False).encode())
    return done


def _rejected(folder: Path) -> Iterator[Row]:
    for path in parts_of(folder):
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(5_000):
                yield from batch.filter(pc.is_null(batch["document_id"])).to_pylist()


def _resume(source: str, config: CorpusConfig, folder: Path) -> tuple[int, Cursor]:
    """How many parts stand, and how far the corpus is read with them; what does not stand is removed."""
    begun = read_json(folder / BEGUN)
    if not begun and any(not one.name.startswith(".") for one in folder.iterdir()):
        raise UserError(f"{folder} holds something else than an index: name another folder with --out")
    if begun != reading(config):
        publish_local(folder / BEGUN, json.dumps(reading(config)).encode())
        (folder / DONE).unlink(missing_ok=True)
        standing = 0
    else:
        standing = sum(1 for _ in standing_parts(folder, inputs_of(source, config)))
    for torn in folder.glob(".*.tmp"):  # of one that was killed while it wrote
        torn.unlink()
    parts = parts_of(folder)
    if parts[standing:]:
        (folder / DONE).unlink(missing_ok=True)
    for path in reversed(parts[standing:]):
        path.unlink()
    return standing, cursor_of(part_of(folder, standing - 1)) if standing else Cursor()


def _owed(source: str, config: CorpusConfig, cursor: Cursor) -> bool:
    """Whether there are inputs behind a cursor."""
    inputs = sum(isinstance(one, Input) for one in inputs_of(source, config))
    return bool(cursor.within) or inputs != cursor.inputs


def _placed(source: str, config: CorpusConfig, folder: Path) -> None:
    """See to it that there is a corpus, and that the index will be no part of it: the next reading would read it."""
    next(inputs_of(source, config), None)
    there = expanded(source.removeprefix(HUB))
    if there.is_dir() and folder.resolve().is_relative_to(there.resolve()):
        raise UserError(f"{folder} lies in the corpus itself: name a folder outside of {there} with --out")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise UserError(f"another `pop index` writes {folder}: wait for it, or name another with --out") from None
    except OSError as error:
        raise DependencyError(f"cannot write in {folder}: {error.strerror}; name another folder with --out") from None
    try:
        yield
    finally:
        lock.release()
