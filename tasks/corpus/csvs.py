"""CSV and TSV, strictly: a row with another number of fields than the header is a reject, never a text cut short.

Python's csv module reads (with `strict`), and this module finds the way back after what it refuses. It was chosen by
trying: DuckDB's reader gives no line numbers of good rows, takes the lost quote of the tests for an unquoted dialect
and knows neither xz nor bzip2; pyarrow's closes the lost quote at the file's end, so that thirty rows are one text.
"""

import contextlib
import csv
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TextIO

from tasks.corpus.files import UNREAD
from tasks.corpus.records import BadRecord, Columns, Place, Record, damaged, from_text_row
from tasks.corpus.remote import File
from tasks.corpus.streams import DamagedFile, open_text

MAX_FIELD = 64 * 2**20  # a quote that is never closed must not swallow a 10 GB file
_DELIMITERS = ",;\t|"
_HEADER_CHARS = 2**20
_LOOKED_AT = 1000  # lines after a lost quote among which one must look like a row
_HEADER_LINES = 64
_LINE_BYTES = 64  # of every line in memory, beside its characters
_TOO_LONG = f"it takes more than {MAX_FIELD >> 20} MiB"
_SURE_LINES = 3  # rows in a row, where no column has numbers to know them by


def no_column(columns: Columns, have: Sequence[str]) -> str:
    """The one line for a table without the text column, as it goes on after the table's name."""
    listed = ", ".join(have[:20]) + ", ..." * (len(have) > 20) if have else "none"
    return f"has no column {columns.text!r}: set corpus.text_column to one it has ({listed})"


def read_csv(path: File, name: str, columns: Columns) -> Iterator[Record]:
    """One document a row, named by the line it starts on."""
    csv.field_size_limit(min(2 * MAX_FIELD, sys.maxsize))
    held: Record | None = None
    damage: DamagedFile | None = None
    try:
        with open_text(path, newline="") as stream:
            for record in _Table(stream, path, name, columns).records():
                if held:
                    yield held
                held = record
    except DamagedFile as error:  # of what is read last nobody knows whether it is whole
        damage = error
    if held and not (damage and damage.cut):
        yield held
    if damage:
        raise damage


class _Lines:
    """The lines of a file, which can be given back; one that is too long to be held comes in parts."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._back = stream, list[str]()
        self.number, self._ended = 0, True  # of the line given last, and whether all of it was given

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._back.pop() if self._back else self._stream.readline(MAX_FIELD)
        if not line:
            raise StopIteration
        self.number += self._ended
        self._ended = line.endswith(("\n", "\r"))
        return line

    def give_back(self, lines: Sequence[str]) -> None:
        """Takes the lines given last; they come again."""
        self._back += reversed(lines)
        self.number, self._ended = self.number - len(lines), True


def _noted(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    """The lines, which are noted while a row takes them, so that they can be given back."""
    size = 0
    for line in lines:
        size = (size if taken else 0) + len(line) + _LINE_BYTES
        taken.append(line)
        if size >= MAX_FIELD:
            raise csv.Error(_TOO_LONG)
        yield line


class _Header(NamedTuple):
    """A line read as a header by one delimiter, and how many lines its names take."""

    delimiter: str
    names: list[str]
    lines: int


class _Table:
    """One file: its dialect and header, and the rows below."""

    def __init__(self, stream: TextIO, path: File, name: str, columns: Columns) -> None:
        self._lines, self._name, self._columns = _Lines(stream), name, columns
        self._prefer = "\t" if ".tsv" in path.suffixes else ","
        self._header: list[str] = []
        self._options: dict[str, Any] = {}
        self._numbers: list[int] | None = None  # columns with a number in every row so far
        self._before: list[str] = []  # the row before
        self._above: BadRecord | None = None  # what stands above the header

    def records(self) -> Iterator[Record]:
        """Every row as a document or a reject."""
        refused = self._read_header()
        if refused:
            yield refused
            return
        if self._above:
            yield self._above
        taken: list[str] = []  # the lines of the row at hand
        rows = self._reader(taken)
        while True:
            taken.clear()
            place = Place(self._name, "line", self._lines.number + 1)
            try:
                row = next(rows, None)
            except csv.Error as error:
                yield self._refused(place, taken, str(error))
                rows = self._reader(taken)
                continue
            if row is None:
                return
            if row:
                swallowed = len(taken) > 1 and self._swallowed(row, taken)
                yield self._refused(place, taken, "") if swallowed else self._record(place, row)

    def _reader(self, taken: list[str]) -> Iterator[list[str]]:
        return csv.reader(_noted(self._lines, taken), **self._options)

    def _read_header(self) -> BadRecord | None:
        """Finds delimiter and columns; what is wrong with the file, if anything is."""
        line, delimiters = self._first_line(), _DELIMITERS
        if line is not None and line.lower().startswith("sep=") and len(line.rstrip("\r\n")) == 5:  # Excel's own line
            delimiters, line = line[4], self._first_line()
        if line is None:
            return BadRecord(self._name, "empty", f"{self._name} has no text")
        if len(line) >= _HEADER_CHARS:
            return damaged(self._name, f"begins with a line of more than {_HEADER_CHARS >> 20} MiB, which is no header")
        start = self._lines.number
        self._lines.give_back([line])
        header = self._candidates(delimiters)[0]
        if self._columns.text in header.names:
            return self._take(line, header)
        return self._read_below_titles(start, header, delimiters)

    def _read_below_titles(self, start: int, first: _Header, delimiters: str) -> BadRecord | None:
        """Goes on where the first line has no text column: it may be a title of the table, as people export them."""
        why = no_column(self._columns, first.names)
        below = self._header_below(delimiters)
        if below is None:
            return damaged(self._name, f"(its header is line {start}) {why}" if start > 1 else why)
        line, header, sure = below
        last = self._lines.number
        if not sure:
            return damaged(self._name, f"{why}. Line {last + 1} has it: if it is the header, take off what is above it")
        span = f"to {last} " * (last > start)
        what = f"{span}not read: above the header, which is line {last + 1}"
        self._above = Place(self._name, "line", start).bad(UNREAD, what)
        return self._take(line, header)

    def _take(self, line: str, header: _Header) -> BadRecord | None:
        """Makes a header, which comes next, that of this table."""
        for _ in range(header.lines):
            next(self._lines)
        self._header = header.names
        if self._header.count(self._columns.text) > 1:
            return damaged(self._name, f"has several columns {self._columns.text!r}: rename all but one")
        spaced = f"{header.delimiter} " in line and header.delimiter != "\t"
        self._options = {"delimiter": header.delimiter, "skipinitialspace": spaced, "strict": True}
        return None

    def _candidates(self, delimiters: str) -> list[_Header]:
        """The next line as a header by each delimiter, the likeliest first."""
        found = [self._names(one) for one in sorted(delimiters, key=lambda one: one != self._prefer)]
        return sorted(found, key=lambda one: (self._columns.text not in one.names, -len(one.names)))

    def _header_below(self, delimiters: str) -> tuple[str, _Header, bool] | None:
        """(line, header, whether it is surely one) where titles or comments stand above it; it comes next then.

        It is sure where every line above has fewer fields than it: a table's own header has as many as its rows.
        """
        passed = list[str]()
        for line in itertools.islice(self._lines, _HEADER_LINES):
            self._lines.give_back([line])
            header = self._candidates(delimiters)[0]
            if self._columns.text in header.names:
                return line, header, all(_filled(one, header.delimiter) < len(header.names) for one in passed)
            next(self._lines)
            passed.append(line)
            if len(line) >= _HEADER_CHARS:
                break
        self._lines.give_back(passed)
        return None

    def _names(self, delimiter: str) -> _Header:
        """The next line as a header."""
        lines, names = list[str](), list[str]()
        with contextlib.suppress(csv.Error):
            reader = csv.reader(_noted(itertools.islice(self._lines, _HEADER_LINES), lines), delimiter=delimiter)
            names = [name.strip().strip('"') for name in next(reader, [])]
        self._lines.give_back(lines)
        return _Header(delimiter, names, len(lines))

    def _first_line(self) -> str | None:
        """The next line that is not blank, as far as a header may be long."""
        return next((line for line in self._lines if line.strip()), None)

    def _record(self, place: Place, row: list[str]) -> Record:
        fields, wanted = len(row), len(self._header)
        if fields != wanted and (fields < wanted or any(row[wanted:])):
            hint = "a comma in a text needs quotes around it" if fields > wanted else "is it cut short?"
            return place.bad("malformed", f"has {fields} fields, the header {wanted}: {hint}")
        text = self._header.index(self._columns.text)
        if wanted > 1 and row[text] in self._header and sorted(row[:wanted]) == sorted(self._header):
            self._header = row[:wanted]  # files joined end to end; the columns may stand in another order from here on
            return place.bad(UNREAD, "is the header again")
        if self._numbers is None:
            self._numbers = [at for at, value in enumerate(row[:wanted]) if at != text and _number(value)]
        elif self._numbers and not all(_number(row[at]) for at in self._numbers):
            self._numbers = [at for at in self._numbers if _number(row[at])]
        self._before = row
        return from_text_row(place, dict(zip(self._header, row, strict=False)), self._columns)

    def _refused(self, place: Place, taken: list[str], why: str) -> BadRecord:
        """The reject for a row that could not be read. Goes on with the first line after it that looks like a row."""
        again = next((at for at in range(1, min(len(taken), _LOOKED_AT)) if self._are_rows(taken, at)), None)
        if again is not None:
            self._lines.give_back(taken[again:])
        elif why == _TOO_LONG:
            self._skip(taken)
        last = self._lines.number
        span = f"to {last} " * (last > int(place.number))
        return place.bad(
            "malformed", f"{span}is not CSV: is a quote missing, or not doubled?" + f" ({why})" * bool(why)
        )

    def _are_rows(self, lines: list[str], at: int) -> bool:
        """Whether lines from one on are rows of this table: nobody can tell where there is only one column.

        The columns that have numbers in every other row say so; without such columns, three rows must follow.
        """
        if len(self._header) == 1:
            return False
        if self._numbers:
            return self._is_row(lines[at], self._numbers)
        return all(self._is_row(line, []) for line in lines[at : at + _SURE_LINES])

    def _is_row(self, line: str, numbers: list[int]) -> bool:
        """Whether a line by itself has a field a column, and numbers where they must be."""
        fields = self._alone(line)
        fits = fields is not None and len(fields) == len(self._header)
        return fits and all(_number((fields or [])[at]) for at in numbers)

    def _alone(self, line: str) -> list[str] | None:
        try:
            return next(csv.reader([line], **self._options), None)
        except csv.Error:
            return None

    def _swallowed(self, row: list[str], taken: list[str]) -> bool:
        """Whether a field of many lines holds rows of this table: all of them parse, with numbers where this one has.

        A lost quote that a later one happens to close is CSV without a fault; a text whose every line is such a row is
        none that people write, but for a list in it, whose numbers do not go on where this row's are.
        """
        inner = taken[1:-1] or taken[1:]
        numbers = [at for at in self._numbers or [] if at < len(row) and _number(row[at])]
        if not numbers or not all(self._is_row(line, numbers) for line in inner):
            return False
        rows = [row, *(self._alone(line) or [] for line in inner)]
        counting = [at for at in numbers if self._before and _next(self._before, row, at)]  # such as an id
        on = [at for at in counting or numbers if all(_next(one, other, at) for one, other in itertools.pairwise(rows))]
        return bool(on) or (len(taken) > 2 and not counting)

    def _skip(self, taken: list[str]) -> None:
        """Leaves a huge row behind: to the end of its line, or of the line that closes its quote."""
        inside = sum(line.count('"') for line in taken) % 2
        if taken[-1].endswith(("\n", "\r")) and not inside:
            return
        for line in self._lines:
            inside ^= line.count('"') % 2
            if not inside and line.endswith(("\n", "\r")):
                return


def _next(row: Sequence[str], other: Sequence[str], at: int) -> bool:
    """Whether a number goes on by one from a row to another."""
    return float(other[at]) == float(row[at]) + 1


def _filled(line: str, delimiter: str) -> int:
    """Fields of a line that hold something; none of a comment."""
    return 0 if line.lstrip().startswith("#") else sum(bool(one.strip(' "\r\n')) for one in line.split(delimiter))


def _number(value: str) -> bool:
    return value.strip().lstrip("+-").replace(".", "", 1).isdecimal()
