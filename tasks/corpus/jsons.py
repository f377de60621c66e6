"""JSON lines and JSON: one document an object, however large the file."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

from schemas.errors import UserError
from tasks.corpus.records import Columns, Place, Record, from_row, from_text_row, open_bytes, open_text

MAX_RECORD = 64 * 2**20  # bytes of one line or characters of one item
MAX_WHOLE = 256 * 2**20  # characters of a .json file that has to be parsed at once
_CHUNK = 2**18
_LIST = re.compile(r'(?:\{\s*"data"\s*:\s*)?\[')
_GAP = re.compile(r"[\s,]*")


def read_jsonl(path: Path, name: str, columns: Columns) -> Iterator[Record]:
    """One document a line; a line that is none is told by its number and the others go on."""
    with open_bytes(path) as stream:
        for number, line in enumerate(_lines(stream), 1):
            place = Place(name, "line", number)
            if line is None:
                yield place.bad("malformed", f"is longer than {MAX_RECORD >> 20} MiB")
            elif record := line.strip():
                yield _parsed(place, record, columns)


def _parsed(place: Place, line: bytes, columns: Columns) -> Record:
    try:
        row = json.loads(line)
    except UnicodeDecodeError:
        return place.bad("malformed", "is not UTF-8: convert the file with iconv -t utf-8")
    except (ValueError, RecursionError) as error:
        return place.bad("malformed", f"is not JSON: {_why(error)}")
    return from_row(place, row, columns)


def _lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """The lines, None for one that is too long to hold."""
    while line := stream.readline(MAX_RECORD):
        too_long = len(line) == MAX_RECORD and not line.endswith(b"\n")
        yield None if too_long else line
        while too_long and line and not line.endswith(b"\n"):
            line = stream.readline(MAX_RECORD)


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (column {error.colno})"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def read_json(path: Path, name: str, columns: Columns) -> Iterator[Record]:
    """One document an item of a list or of `data`; JSON lines under the name of .json are common and work too."""
    with open_text(path) as stream:
        head = stream.read(_CHUNK).lstrip()
        opening = _LIST.match(head)
        if opening:
            yield from _from_items(_items(stream, head[opening.end() :]), name, columns)
        elif _is_lines(path):
            yield from read_jsonl(path, name, columns)
        else:
            yield from _from_items(_whole(stream, head, name), name, columns)


def _from_items(items: Iterator[object], name: str, columns: Columns) -> Iterator[Record]:
    number = 0
    try:
        for number, item in enumerate(items, 1):
            yield from_text_row(Place(name, "item", number), item, columns)
    except (ValueError, RecursionError) as error:
        yield Place(name, "item", number + 1).bad("malformed", f"is not JSON, nothing after it is read: {_why(error)}")


def _items(stream: TextIO, buffer: str) -> Iterator[object]:
    """The items of a list, parsed one at a time. `buffer` is what was read after the opening bracket."""
    decode = json.JSONDecoder().raw_decode
    at = 0
    while True:
        gap = _GAP.match(buffer, at)
        at = gap.end() if gap else at
        if buffer.startswith("]", at):
            return
        problem: Exception | None = None
        try:
            item, end = decode(buffer, at)
        except (ValueError, RecursionError) as error:
            problem, end = error, len(buffer)
        if end < len(buffer):  # something follows, so that it was not cut short
            yield item
            at = end
            continue
        # What looks broken may go on in the next chunk. Chunks double, or a long item would be parsed in squared time.
        chunk = stream.read(max(_CHUNK, len(buffer) - at)) if len(buffer) - at < MAX_RECORD else ""
        if not chunk:
            raise problem or ValueError("the list is not closed")
        buffer, at = buffer[at:] + chunk, 0


def _is_lines(path: Path) -> bool:
    """Whether the first line is an object by itself, and not a `data` list in one line."""
    with open_bytes(path) as stream:
        first = next((line for line in _lines(stream) if line is None or line.strip()), None)
    try:
        row = json.loads(first or b"")
    except (ValueError, RecursionError):
        return False
    return isinstance(row, dict) and not isinstance(row.get("data"), list)


def _whole(stream: TextIO, head: str, name: str) -> Iterator[object]:
    """The items of `{"data": [...]}`, or one object that is the whole file."""
    text = head + stream.read(MAX_WHOLE)
    if len(text) >= MAX_WHOLE:
        raise UserError(f"{name} is too large for an object in one piece: convert it, jq -c '.data[]' to a .jsonl file")
    value = json.loads(text)
    data = value.get("data") if isinstance(value, dict) else None
    yield from data if isinstance(data, list) else [value]
