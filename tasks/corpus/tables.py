"""Parquet and Arrow: columns are known before the rows, and one bad value costs its row alone."""

import io
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from tasks.corpus.csvs import no_column
from tasks.corpus.records import BadRecord, Columns, Place, Record, damaged, from_row
from tasks.corpus.remote import File, Remote

_BATCH_ROWS, _BATCH_BYTES = 64, 8 * 2**20  # a row may be a whole book, and a batch is of few books
_UNREADABLE = object()  # in the place of a value that cannot be converted


@contextmanager
def _parquet(path: File) -> Iterator[Any]:
    """A file of Parquet, whose columns are read a mebibyte at a time."""
    import pyarrow.parquet as pq

    if isinstance(path, Remote):
        with (
            io.BufferedReader(path.open()) as source,
            pq.ParquetFile(source, pre_buffer=False, buffer_size=2**20) as file,
        ):
            yield file
    else:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
            yield file


def read_parquet(path: File, name: str, columns: Columns) -> Iterator[Record]:
    """One document a row; only the text and the title are read, a batch of rows at a time."""
    import pyarrow as pa

    try:
        with _parquet(path) as file:
            schema = file.schema_arrow
            refused = _refused(name, schema, columns)
            if refused:
                yield refused
                return
            wanted = [column for column in (columns.text, columns.title) if column in schema.names]
            number = 0
            for group in range(file.metadata.num_row_groups):
                about = file.metadata.row_group(group)
                after = number + about.num_rows
                rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES * about.num_rows // max(1, about.total_byte_size)))
                try:
                    for batch in file.iter_batches(rows, row_groups=[group], columns=wanted):
                        yield from _rows(batch, name, number, columns)
                        number += batch.num_rows
                except (pa.ArrowException, OSError) as error:  # the next group has pages of its own
                    why = f"rows {number + 1} to {after} cannot be read: {_line(error)}"
                    yield BadRecord(f"{name}:{number + 1}", "malformed", f"{name} {why}", after - number, whole=True)
                    number = after
    except (pa.ArrowException, OSError) as error:
        yield _unread(error, name, "Parquet")


def read_parquet_rows(path: File, name: str, columns: Columns, rows: Collection[int]) -> Iterator[Record]:
    """Some rows of a file that `read_parquet` has read, by their numbers: only their row groups are opened."""
    with _parquet(path) as file:
        wanted = [column for column in (columns.text, columns.title) if column in file.schema_arrow.names]
        number = 0
        for group in range(file.metadata.num_row_groups):
            about = file.metadata.row_group(group)
            before, number = number, number + about.num_rows
            left = sorted(row for row in rows if before < row <= number)
            size = max(1, min(_BATCH_ROWS, _BATCH_BYTES * about.num_rows // max(1, about.total_byte_size)))
            for batch in file.iter_batches(size, row_groups=[group], columns=wanted) if left else ():
                while left and left[0] <= before + batch.num_rows:
                    at = left.pop(0) - before - 1
                    yield from _rows(batch.slice(at, 1), name, before + at, columns)
                before += batch.num_rows
                if not left:
                    break


def read_arrow(path: File, name: str, columns: Columns) -> Iterator[Record]:
    """One document a row of an Arrow file: of the form with a footer, or of the stream that `datasets` writes."""
    import pyarrow as pa

    number = 0
    try:
        with (
            pa.PythonFile(io.BufferedReader(path.open()))
            if isinstance(path, Remote)
            else pa.memory_map(str(path)) as source
        ):
            for batch in _batches(source):
                refused = _refused(name, batch.schema, columns)
                if refused:
                    yield refused
                    return
                for start in range(0, batch.num_rows, _BATCH_ROWS):
                    yield from _rows(batch.slice(start, _BATCH_ROWS), name, number + start, columns)
                number += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        yield _unread(error, name, "Arrow" + f" after row {number}" * bool(number))


def _batches(source: Any) -> Iterator[Any]:
    """Record batches, as they are in the file; an empty one where it has none."""
    import pyarrow as pa

    magic = source.read(6)
    source.seek(0)
    if magic == b"ARROW1":
        with pa.ipc.open_file(source) as file:
            yield from (file.get_batch(at) for at in range(file.num_record_batches))
            schema = file.schema
    else:
        with pa.ipc.open_stream(source) as stream:
            yield from stream
            schema = stream.schema
    yield pa.RecordBatch.from_pylist([], schema=schema)


def _refused(name: str, schema: Any, columns: Columns) -> BadRecord | None:
    """Why a table has no texts, with the mend; None where it has."""
    have = list(schema.names)
    if columns.text not in have:
        return damaged(name, no_column(columns, have))
    if have.count(columns.text) > 1:
        return damaged(name, f"has several columns {columns.text!r}: rename all but one")
    kind = schema.field(columns.text).type
    if not _holds_text(kind):
        mend = "set corpus.text_column to a column of text" if len(have) > 1 else "write it again as strings"
        return damaged(name, f"holds {kind} in {columns.text!r}, not text: {mend} (it has {', '.join(have[:20])})")
    return None


def _holds_text(kind: Any) -> bool:
    """Whether values of an Arrow type are text, or bytes that may be."""
    import pyarrow.types as types

    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _holds_text(kind.value_type)
    if hasattr(kind, "storage_type"):  # an extension, such as arrow.json
        return _holds_text(kind.storage_type)
    tests = (
        types.is_string, types.is_large_string, types.is_string_view,
        types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary,
    )  # fmt: skip
    return any(test(kind) for test in tests)


def _rows(batch: Any, name: str, before: int, columns: Columns) -> Iterator[Record]:
    """The batch's rows as documents; `before` rows were in those before it."""
    texts = _values(batch.column(columns.text))
    with_title = batch.schema.names.count(columns.title) == 1
    titles = _values(batch.column(columns.title)) if with_title else [None] * len(texts)
    for number, (text, title) in enumerate(zip(texts, titles, strict=True), before + 1):
        place = Place(name, "row", number)
        if text is _UNREADABLE:
            yield place.bad("malformed", f"holds bytes in {columns.text!r} that are not UTF-8")
            continue
        row = {columns.text: text}
        if columns.title and with_title and title is not _UNREADABLE:
            row[columns.title] = title
        yield from_row(place, row, columns)


def _values(column: Any) -> list[Any]:
    """A column as Python values, bytes as text."""
    try:
        values = column.to_pylist()
    except (UnicodeDecodeError, ValueError, OverflowError):  # one byte that is no UTF-8, a date of the year 60,000
        values = [_value(value) for value in column]
    return [_decoded(value) if isinstance(value, bytes) else value for value in values]


def _value(value: Any) -> Any:
    try:
        return value.as_py()
    except (UnicodeDecodeError, ValueError, OverflowError):
        return _UNREADABLE


def _decoded(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _UNREADABLE


def _unread(error: Exception, name: str, what: str) -> BadRecord:
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        raise error  # the file system's word, and not pyarrow's: its caller says it
    return damaged(name, f"cannot be read as {what}: {_line(error)}")


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
