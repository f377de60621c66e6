"""The rows of an exam's file, strictly: what is wrong with it is one line, and nothing of it is used."""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import UserError
from schemas.names import expanded
from tasks.corpus.streams import UNDECODED, DamagedFile, open_text

Row = dict[str, Any]
Numbered = tuple[str, Row]  # `line 7`, by which a fault is named, and the row
KINDS = (".jsonl", ".csv", ".parquet")


class BadExam(UserError):
    """An exam's file that cannot be used; the line says where and why."""


def rows_of(file: str) -> list[Numbered]:
    """The rows of a .jsonl, .csv (both also .gz) or .parquet file, each with its place.

    Raises:
        BadExam: it is missing, of another kind, torn, empty, or one of its rows cannot be read.
    """
    path = expanded(file)
    kind = Path(path.name.lower().removesuffix(".gz")).suffix
    if kind not in KINDS:
        raise BadExam(f"evaluation.exams: {path} is none of {', '.join(KINDS)} (the first two also .gz)")
    try:
        found = list(_parquet(path) if kind == ".parquet" else _text(path, kind))
    except BadExam as bad:
        raise BadExam(f"evaluation.exams: {path}, {bad}") from None
    except DamagedFile as damage:
        raise BadExam(f"evaluation.exams: {path} is damaged: {damage}") from None
    except OSError as error:
        raise BadExam(f"evaluation.exams: cannot read {path}: {error.strerror or error}") from None
    if not found:
        raise BadExam(f"evaluation.exams: {path} is empty: an exam needs a prompt a row")
    return found


def _text(path: Path, kind: str) -> Iterator[Numbered]:
    with open_text(path, newline="" if kind == ".csv" else None) as stream:
        yield from _csv(stream) if kind == ".csv" else _jsonl(stream)


def _jsonl(lines: Iterator[str]) -> Iterator[Numbered]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if UNDECODED.search(line):
            raise BadExam(f"line {number}: not UTF-8; save the file as UTF-8")
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadExam(f"line {number}: no JSON ({str(error)[:120]}); is it cut?") from None
        if not isinstance(row, dict):
            raise BadExam(f"line {number}: no JSON object, but {type(row).__name__}")
        yield f"line {number}", row


def _csv(lines: Iterator[str]) -> Iterator[Numbered]:
    csv.field_size_limit(min(2**27, sys.maxsize))
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
        if twice := sorted({name for name in header if header.count(name) > 1}):
            raise BadExam(f"line 1: two columns are called {twice[0]!r}")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise BadExam(f"line {reader.line_num}: {len(cells)} fields, and the header has {len(header)}")
            if UNDECODED.search("".join(cells)):
                raise BadExam(f"line {reader.line_num}: not UTF-8; save the file as UTF-8")
            yield f"line {reader.line_num}", {n: _cell(c) for n, c in zip(header, cells, strict=True)}
    except csv.Error as error:
        raise BadExam(f"line {reader.line_num}: {error}; is a quote lost?") from None


def _cell(text: str) -> Any:
    """A cell; empty is none, and a list of objects (messages, a rubric) is written as JSON."""
    if text.lstrip().startswith("["):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return text
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            return value
    return text or None


def _parquet(path: Path) -> Iterator[Numbered]:
    try:
        file = pq.ParquetFile(path, pre_buffer=False)
        rows = file.read(use_threads=False).to_pylist()
    except (pa.ArrowException, ValueError) as error:
        raise BadExam(f"which is no whole Parquet file ({str(error)[:120]})") from None
    yield from ((f"row {number}", row) for number, row in enumerate(rows, 1))
