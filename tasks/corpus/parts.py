"""The parts of an index: tables of rows and of the files that they are from, and how far the corpus was read then."""

import io
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import unwritable
from tasks.corpus.inputs import Input
from tasks.corpus.records import BadRecord
from tasks.corpus.rejects import reject_row
from tasks.corpus.rows import DocumentRow
from tasks.storage.store import publish_local

BATCH_ROWS = 5_000
SCHEMA = pa.schema([
    ("document_id", pa.string()), ("split_at", pa.uint64()), ("source", pa.string()), ("file", pa.string()),
    ("at", pa.int64()), ("title", pa.string()), ("words", pa.int64()), ("status", pa.string()),
    ("reason", pa.string()), ("count", pa.int64()), ("whole", pa.bool_()),
])  # fmt: skip
FILES = pa.schema([("name", pa.string()), ("stamp", pa.string())])
Row = dict[str, Any]


@dataclass
class Cursor:
    """How far a corpus is read.

    Attributes:
        inputs: read to their end.
        within: records of the next one that are read.
        seen: records read, as a selection counts them.
        offered: documents found, copies too.
    """

    inputs: int = 0
    within: int = 0
    seen: int = 0
    offered: int = 0


@dataclass
class Part:
    """What is read and not yet published."""

    batches: list[pa.RecordBatch] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    files: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """One row more; columns keep it in a tenth of the memory that rows take."""
        self.rows.append(row)
        if len(self.rows) == BATCH_ROWS:
            self._pack()

    def _pack(self) -> None:
        self.batches.append(pa.RecordBatch.from_pylist(self.rows, SCHEMA))
        self.rows.clear()

    def __len__(self) -> int:
        return BATCH_ROWS * len(self.batches) + len(self.rows)

    def publish(self, folder: Path, number: int, cursor: Cursor) -> None:
        """Write it; the rows last, for their existence says that it is whole."""
        self._pack()
        publish(folder / f"files-{number:06d}.parquet", pa.Table.from_pylist(self.files, FILES))
        schema = SCHEMA.with_metadata({"cursor": json.dumps(asdict(cursor))})
        publish(part_of(folder, number), pa.Table.from_batches(self.batches, SCHEMA).cast(schema))


def part_of(folder: Path, number: int) -> Path:
    """The file of a part."""
    return folder / f"part-{number:06d}.parquet"


def publish(path: Path, table: pa.Table) -> None:
    """Write a table, whole or not at all."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    try:
        publish_local(path, buffer.getvalue())
    except OSError as error:
        raise unwritable(path, error) from None


def parts_of(folder: Path) -> list[Path]:
    """The parts, in order."""
    return sorted(folder.glob("part-*.parquet"))


def standing_parts(
    folder: Path, inputs: Iterator[Input | BadRecord], told: Callable[[str], None] = lambda _: None
) -> Iterator[list[Input]]:
    """Part after part, as long as the files whose reading began there are what they were: those files.

    `told` hears what ends it, if anything does before the last part.
    """
    files = (one for one in inputs if isinstance(one, Input))
    for number, path in enumerate(parts_of(folder)):
        if path != part_of(folder, number):
            return told(f"{part_of(folder, number).name} is missing")
        known = pq.read_table(folder / f"files-{number:06d}.parquet", use_threads=False).to_pylist()
        found = list(itertools.islice(files, len(known)))
        for was, one in itertools.zip_longest(known, found):
            if one is None or was["name"] != one.name:
                return told(f"{one.name} stands where {was['name']} was" if one else f"{was['name']} is gone")
            if was["stamp"] != one.stamp:
                return told(f"{one.name} is another than it was")
        yield found


def cursor_of(path: Path) -> Cursor:
    """How far the corpus was read when a part was written."""
    return Cursor(**json.loads((pq.read_schema(path).metadata or {})[b"cursor"]))


def reject_of(row: Row) -> DocumentRow:
    """A reject's row as a selection has it; its reason is cut already."""
    made = reject_row(row["source"], row["status"], "", row["title"], row["words"])
    return {**made, "reason": row["reason"]}
