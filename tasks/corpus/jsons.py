"""JSON lines and JSON: one document an object, however large the file.

Lines are read as lines for as long as each is a value; what else stands there (several values in a line, a list, a
value over several lines) is read as what it is, and where that fails it is a reject.
"""

import io
import json
import re
from collections.abc import Iterator
from typing import BinaryIO

from tasks.corpus.jsonvalues import MAX_RECORD, Aside, Broken, decode, loads, values, why
from tasks.corpus.records import NOT_UTF8, BadRecord, Columns, Place, RawDocument, Record, from_row
from tasks.corpus.remote import File
from tasks.corpus.streams import DamagedFile, head_of, is_plain, open_bytes, open_raw, open_text

_HEAD = 2**18
_SPACE = " \t\n\r\ufeff"
_LIST = re.compile(r"\[")
# `{"data": [{`, perhaps after numbers and strings: the list is what the file is about
_DATA = re.compile(
    r'\{\s*(?:"\w+"\s*:\s*(?:[-\d.]+|"[^"\\]*"|true|false|null)\s*,\s*)*"(?:data|rows)"\s*:\s*\[(?=\s*[{\]])'
)
_BRACKETS = re.compile(rb'"(?:[^"\\\n]|\\.)*"|([\[{])|([\]}])')


def read_jsonl(path: File, name: str, columns: Columns) -> Iterator[Record]:
    """One document a line; a line that is none is told by its number and the others go on."""
    last: tuple[Place, bytes] | None = None
    try:
        with open_bytes(path) as stream:
            if _opens_list(stream):
                yield from _from_values(path, name, columns)
                return
            plain = is_plain(stream)
            lines = _Lines(stream)
            for number, line in lines:
                place = Place(name, "line", number, lines.at if plain else None)
                if line is None:
                    yield place.bad("malformed", f"is longer than {MAX_RECORD >> 20} MiB")
                elif not line.endswith(b"\n"):
                    last = place, line
                elif record := line.strip():
                    yield from _line_records(place, record, columns, lines)
    except DamagedFile:  # the last line may be cut short
        yield from (record for record in _last(last, columns) if isinstance(record, RawDocument))
        raise
    yield from _last(last, columns)


def read_line(path: File, place: Place, columns: Columns) -> Iterator[Record]:
    """The records of a line (or of the value that begins there) that is known by its byte in a plain file."""
    with io.BufferedReader(open_raw(path)) as stream:
        stream.seek(place.at or 0)
        lines = _Lines(stream, int(place.number) - 1)
        _, line = next(iter(lines), (0, None))
        if line and line.strip():
            yield from _line_records(place, line.strip(), columns, lines if line.endswith(b"\n") else None)


def _last(last: tuple[Place, bytes] | None, columns: Columns) -> Iterator[Record]:
    return _line_records(last[0], last[1].strip(), columns, None) if last and last[1].strip() else iter(())


class _Lines:
    """(number, line) of a file, None for one that is too long to hold; lines can be given back. `at` is the byte where
    the line given last begins."""

    def __init__(self, stream: BinaryIO, before: int = 0) -> None:
        self._stream, self._back = stream, list[bytes]()
        self.number, self.at, self._next = before, 0, 0

    def __iter__(self) -> Iterator[tuple[int, bytes | None]]:
        while line := self._back.pop() if self._back else self._stream.readline(MAX_RECORD):
            self.number += 1
            self.at, self._next = self._next, self._next + len(line)
            too_long = len(line) == MAX_RECORD and not line.endswith(b"\n")
            yield self.number, None if too_long else line
            while too_long and line and not line.endswith(b"\n"):
                line = self._stream.readline(MAX_RECORD)
                self._next += len(line)

    def rest_of_value(self, first: bytes) -> bytes | None:
        """A value of several lines of which the first is known; None, and nothing is read, where it is not whole.

        It ends before a line that is a value by itself: in a file of lines, no broken line takes the next one along.
        """
        parts, depth, size = [first], _depth(first), len(first)
        while depth > 0 and size < MAX_RECORD:
            line = self._back.pop() if self._back else self._stream.readline(MAX_RECORD)
            parts += [line] if line else []
            if not line or (line[:1] in (b"{", b"[") and _is_value(line)):
                break
            depth, size = depth + _depth(line), size + len(line)
        if depth == 0 and len(parts) > 1:
            self.number += len(parts) - 1
            self._next += sum(map(len, parts[1:]))
            return b"".join(parts)
        self._back += reversed(parts[1:])
        return None


def _depth(line: bytes) -> int:
    """Brackets that are open after a line, less those before it."""
    found = _BRACKETS.findall(line)
    return sum(map(bool, (opens for opens, _ in found))) - sum(map(bool, (closes for _, closes in found)))


def _is_value(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _line_records(place: Place, line: bytes, columns: Columns, lines: _Lines | None) -> Iterator[Record]:
    try:
        row = json.loads(line)
    except UnicodeDecodeError:
        yield place.bad("malformed", NOT_UTF8)
    except (ValueError, RecursionError) as error:
        yield from _odd_line(place, line, columns, lines, error)
    else:
        yield from _row_records(place, row, columns)


def _row_records(place: Place, row: object, columns: Columns) -> Iterator[Record]:
    """The document that a value is, or those of the list that it is or holds."""
    inner = row if isinstance(row, list) else _wrapped(row, columns)
    if inner is not None and any(isinstance(item, dict) and columns.text in item for item in inner):
        for number, item in enumerate(inner, 1):
            yield from_row(place._replace(number=f"{place.number}.{number}"), item, columns)
    else:
        yield from_row(place, row, columns)


def _wrapped(row: object, columns: Columns) -> list[object] | None:
    """The list in an object without a text of its own: `{"rows": [{"text": ...}]}`; None where there are several."""
    if not isinstance(row, dict) or columns.text in row:
        return None
    lists = [value for value in row.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
    return lists[0] if len(lists) == 1 else None


def _odd_line(place: Place, line: bytes, columns: Columns, lines: _Lines | None, error: Exception) -> Iterator[Record]:
    """A line that is no single value: a number of many digits, values side by side, a value over several lines."""
    text = line.decode(errors="surrogateescape").lstrip(_SPACE)
    if not text:  # a byte-order mark alone
        return
    try:
        yield from _row_records(place, loads(text), columns)
        return
    except (ValueError, RecursionError):
        pass
    whole = lines.rest_of_value(line + b"\n") if lines and isinstance(error, json.JSONDecodeError) else None
    if whole is not None:
        yield from _line_records(place, whole, columns, None)
    elif text.startswith("[") and re.match(r"\[\s*\{", text):
        yield from _numbered(values(io.StringIO(text)), place, columns)
    else:
        yield from _side_by_side(place, text, columns, error)


def _side_by_side(place: Place, text: str, columns: Columns, error: Exception) -> Iterator[Record]:
    """Objects one after the other in a line; what follows that is none is told."""
    at, number = 0, 0
    try:
        while rest := text[at:].lstrip(_SPACE):
            row, end = decode(rest, 0)
            if not isinstance(row, dict):
                break
            at, number = len(text) - len(rest) + end, number + 1
            yield from_row(place._replace(number=f"{place.number}.{number}") if number > 1 else place, row, columns)
    except (ValueError, RecursionError):
        pass
    if not number:
        yield place.bad("malformed", f"is not JSON: {why(error)}")
    elif text[at:].strip(_SPACE + ","):
        rest_of = place._replace(number=f"{place.number}.{number + 1}")
        yield BadRecord(rest_of.source, "malformed", f"{place} goes on after its value with what is not JSON")


def read_json(path: File, name: str, columns: Columns) -> Iterator[Record]:
    """One document an item of a list, or of `data`; JSON lines under the name of .json are common and work too."""
    head = head_of(path, _HEAD).lstrip(_SPACE)
    opening = _LIST.match(head) or _DATA.match(head)
    first, end, _ = head.partition("\n")
    alone = bool(end) and opening and opening.re is _DATA and _is_value(first.encode(errors="replace"))
    if opening and not alone:
        yield from _from_values(path, name, columns)
    else:
        yield from read_jsonl(path, name, columns)


def _opens_list(stream: BinaryIO) -> bool:
    """Whether a file of lines is a list over several lines: `[`, or `[{...},` with the rest below."""
    head = stream.peek(2**12)[: 2**12].lstrip(b"\xef\xbb\xbf \t\r\n")  # type: ignore[attr-defined]
    first, end, _ = head.partition(b"\n")
    return bool(end) and head.startswith(b"[") and (not first[1:].strip() or first.rstrip().endswith(b","))


def _from_values(path: File, name: str, columns: Columns) -> Iterator[Record]:
    with open_text(path) as stream:
        head = stream.read(_HEAD).lstrip(_SPACE)
        opening = _DATA.match(head)
        inside = head[opening.end() :] if opening else head
        yield from _numbered(
            values(stream, inside, bool(opening), "}" if opening else ""), Place(name, "item", 0), columns
        )


def _numbered(found: Iterator[object], place: Place, columns: Columns) -> Iterator[Record]:
    """Values as documents, numbered in the file (or in their line); faults beside them by the number before them."""
    number = asides = 0
    for value in found:
        prefix = f"{place.number}." if place.unit == "line" else ""
        if isinstance(value, Aside):
            asides += 1
            after = f"{place} item {number}" if prefix else f"{place.name} item {number}"
            source = place._replace(number=f"{prefix}{number}+{asides}").source
            yield BadRecord(source, "malformed", f"{after}, after it: {value.why}")
            continue
        number, asides = number + 1, 0
        at = place._replace(number=f"{prefix}{number}")
        if isinstance(value, Broken):
            yield at.bad("malformed", value.why)
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            yield from _row_records(at, value, columns)
        else:
            yield from_row(at, value, columns)
