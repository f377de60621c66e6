"""Single documents of a corpus, read again from where an index says that they are.

A line of a plain file is one seek, rows of Parquet are those of their row groups; of any other file (packed, a list, a
table of lines, a dataset of the hub) the beginning is read, up to the last document that is wanted.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

import pyarrow as pa

from schemas.config import CorpusConfig
from tasks.corpus.files import kind_of
from tasks.corpus.identity import document_id
from tasks.corpus.inputs import Input, columns_of
from tasks.corpus.jsons import read_line
from tasks.corpus.records import Place, RawDocument, Record
from tasks.corpus.select import texts_of
from tasks.corpus.tables import read_parquet_rows

_PASSAGE = re.compile(r"#p\d+$")


class Where(NamedTuple):
    """Where a document is: its source, the input that has it, and its byte there if a seek leads to it."""

    source: str
    file: str
    at: int | None

    @property
    def record(self) -> str:
        """The source of the record that it is a part of."""
        return _PASSAGE.sub("", self.source)


def fetch(wanted: Mapping[str, Where], inputs: Mapping[str, Input], config: CorpusConfig) -> dict[str, str]:
    """The texts of documents by their ids; one that is not where it was is missing."""
    texts: dict[str, str] = {}
    for file in sorted({where.file for where in wanted.values()} & inputs.keys()):
        here = [where for where in wanted.values() if where.file == file]
        with suppress(OSError, pa.ArrowException):  # torn or cut since: what it had is missing
            for record in _records(inputs[file], here, config):
                for _, text, _ in texts_of(record, config.max_words, config.long_texts):
                    if (found := document_id(text)) in wanted:
                        texts[found] = text
    return texts


def _records(one: Input, wanted: Collection[Where], config: CorpusConfig) -> Iterator[RawDocument]:
    """The records of an input that the wanted documents are parts of."""
    left = {where.record for where in wanted}
    for record in _candidates(one, wanted, config):
        if isinstance(record, RawDocument) and record.source in left:
            left.remove(record.source)
            yield record
            if not left:
                return


def _candidates(one: Input, wanted: Collection[Where], config: CorpusConfig) -> Iterator[Record]:
    columns = columns_of(config)
    lines = {where.at: where.record for where in wanted if where.at is not None}
    if one.path is None or (len(lines) == 0 and kind_of(one.path) != ".parquet"):
        yield from one.records()
    elif lines:
        for at, source in sorted(lines.items()):
            yield from read_line(one.path, Place(one.name, "line", _number(source), at), columns)
    else:
        yield from read_parquet_rows(one.path, one.name, columns, {_number(where.record) for where in wanted})


def _number(source: str) -> int:
    """17 of `a.jsonl:17` and of `a.jsonl:17.3`."""
    return int(source.rpartition(":")[2].partition(".")[0])
