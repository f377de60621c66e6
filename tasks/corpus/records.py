"""What every reader yields: a document as it was found, or why there is none."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tasks.corpus import wikitext
from tasks.corpus.streams import UNDECODED
from tasks.corpus.titles import as_title

NOT_UTF8 = "is not UTF-8: convert the file with iconv -t utf-8"


@dataclass(frozen=True, slots=True)
class RawDocument:
    """One text. `source` names it within the corpus (`health.jsonl:17`), never a path of this machine.

    Attributes:
        at: the byte of its file where its line begins; None where only reading the file leads there.
    """

    source: str
    title: str | None
    text: str
    at: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class BadRecord:
    """Something that should have been a document. It becomes a row, and the others go on.

    Attributes:
        count: how many files it stands for, where many of one kind are one row.
        whole: it is about a file and not a row of one; its row is kept, however many rejects there are.
    """

    source: str
    status: str
    reason: str
    count: int = 1
    whole: bool = False


Record = RawDocument | BadRecord


class Columns(NamedTuple):
    """Where a table keeps the text and, perhaps, the title."""

    text: str
    title: str | None


class Place(NamedTuple):
    """A row of a file: `health.jsonl`, `line`, 17; or its third of several values, "17.3". `at`: see `RawDocument`."""

    name: str
    unit: str
    number: int | str
    at: int | None = None

    @property
    def source(self) -> str:
        return f"{self.name}:{self.number}"

    def __str__(self) -> str:
        return f"{self.name} {self.unit} {self.number}"

    def bad(self, status: str, what: str) -> BadRecord:
        """This row as a reject; `what` goes on after its name: "is not JSON: ..."."""
        return BadRecord(self.source, status, f"{self} {what}")


def document(source: str, text: str, title: str | None = None, at: int | None = None) -> RawDocument:
    """The document with WikiText's marks, if it has any, turned into plain text."""
    if wikitext.is_marked(text):
        heading, text = wikitext.clean(text)
        title = title or heading
    return RawDocument(source, title, text, at)


def from_row(place: Place, row: object, columns: Columns) -> Record:
    """A table's row, a JSON line or an item of a list as a document."""
    if not isinstance(row, Mapping):
        return place.bad("malformed", f"is a {type(row).__name__}, not an object with {columns.text!r}")
    if columns.text not in row:
        return place.bad("malformed", f"has no {columns.text!r} (it has {', '.join(map(str, row)) or 'nothing'})")
    text = row[columns.text]
    if text is not None and not isinstance(text, str):
        return place.bad("malformed", f"holds a {type(text).__name__} in {columns.text!r}, not text")
    if text is None or not text.strip():
        return place.bad("empty", f"has nothing in {columns.text!r}")
    return document(place.source, text, as_title(row.get(columns.title)) if columns.title else None, place.at)


def damaged(name: str, why: str) -> BadRecord:
    """A file that cannot be read, or not to its end; `why` goes on after its name."""
    return BadRecord(name, "malformed", f"{name} {why}", whole=True)


def from_text_row(place: Place, row: object, columns: Columns) -> Record:
    """Like `from_row`, for rows that came through `open_text`: says so where the text was not UTF-8."""
    text = row.get(columns.text) if isinstance(row, Mapping) else None
    if isinstance(text, str) and not text.isascii() and UNDECODED.search(text):
        return place.bad("malformed", NOT_UTF8)
    return from_row(place, row, columns)
