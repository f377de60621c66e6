"""CSV and Parquet: columns are known before the rows, so that a wrong one is told at once and not a row at a time."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from schemas.errors import UserError
from tasks.corpus.records import BadRecord, Columns, Place, Record, from_row, from_text_row, open_text

_BATCH_ROWS = 64  # a row may be a whole book
_FIELD_BYTES = 64 * 2**20  # a quote that is never closed must not swallow a 10 GB file
_DELIMITERS = ",;\t|"


def no_column(name: str, columns: Columns, have: list[str]) -> UserError:
    """The one line for a table without the text column."""
    listed = ", ".join(have[:20]) + ", ..." * (len(have) > 20) if have else "none"
    return UserError(f"{name} has no column {columns.text!r}: set corpus.text_column to one it has ({listed})")


def read_csv(path: Path, name: str, columns: Columns) -> Iterator[Record]:
    """One document a row, named by the line it starts on."""
    csv.field_size_limit(min(_FIELD_BYTES, sys.maxsize))
    with open_text(path, newline="") as stream:
        head = stream.readline()
        if not head:
            yield BadRecord(name, "empty", f"{name} has no text")
            return
        delimiter, header = _header(head, columns)
        if columns.text not in header:
            raise no_column(name, columns, header)
        reader = csv.reader(stream, delimiter=delimiter)
        while True:
            place = Place(name, "line", reader.line_num + 2)
            try:
                row = next(reader, None)
            except csv.Error as error:
                yield place.bad("malformed", f"is not CSV: {error}")
                continue
            if row is None:
                return
            if row:
                yield _csv_row(place, dict(zip(header, row, strict=False)), columns)


def _header(head: str, columns: Columns) -> tuple[str, list[str]]:
    """(delimiter, column names): spreadsheets save with semicolons or tabs in half of the world."""
    found = [(delimiter, next(csv.reader([head], delimiter=delimiter))) for delimiter in _DELIMITERS]
    with_text = [candidate for candidate in found if columns.text in candidate[1]]
    return with_text[0] if with_text else max(found, key=lambda candidate: len(candidate[1]))


def _csv_row(place: Place, row: dict[str, str], columns: Columns) -> Record:
    if columns.text not in row:
        return place.bad("malformed", f"has only {len(row)} fields, none for {columns.text!r}")
    return from_text_row(place, row, columns)


def read_parquet(path: Path, name: str, columns: Columns) -> Iterator[Record]:
    """One document a row; only the text and the title are read, a batch of rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
            have = list(file.schema_arrow.names)
            if columns.text not in have:
                raise no_column(name, columns, have)
            wanted = [column for column in (columns.text, columns.title) if column in have]
            number = 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=wanted):
                for row in batch.to_pylist():
                    number += 1
                    yield from_row(Place(name, "row", number), row, columns)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        yield BadRecord(name, "malformed", f"{name} cannot be read as Parquet: {str(error).splitlines()[0]}")
