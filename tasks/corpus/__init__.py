"""From what a user has (files, folders, a dataset on the hub) to the documents of a round, in one streaming pass."""

from tasks.corpus.passages import normalise, passages, word_count
from tasks.corpus.readers import read
from tasks.corpus.records import BadRecord, RawDocument
from tasks.corpus.select import DocumentRow, Selection, document_id, select, split_of

__all__ = [
    "BadRecord",
    "DocumentRow",
    "RawDocument",
    "Selection",
    "document_id",
    "normalise",
    "passages",
    "read",
    "select",
    "split_of",
    "word_count",
]
