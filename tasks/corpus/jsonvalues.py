"""The values of a JSON text one at a time, however long it is, and on after what is broken.

A text may hold several values and lists one after the other; the items of its lists are the values. Where something
is broken, the reader looks for where it ends: by its brackets, or else by the next object that is whole.
"""

import json
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TextIO

from tasks.corpus.streams import UNDECODED

MAX_RECORD = 64 * 2**20  # characters of one value
_CHUNK = 2**18
_LOOKAHEAD = 2**20  # how far the end of something broken is looked for before the next object is taken
_DEFINITE = 32  # an error so far before the end of what was read is not for want of more
_LONG_TRIES = 50  # bounds the time where every try looks at all that was read
_VALUE_MARKS = '{["-0123456789tfnNI'
_SPACE = re.compile(r"[ \t\n\r\ufeff]*")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|["\[\]{},]', re.DOTALL)
_NEXT = re.compile(r"[,\s\]}](?=\{)|[\n\]](?=\[)")
_PAIRS = {"]": "[", "}": "{"}


@dataclass(frozen=True)
class Broken:
    """What stands where a value should."""

    why: str


@dataclass(frozen=True)
class Aside:
    """A fault beside the values, such as a comma too many; none of them is lost by it."""

    why: str


Value = object


def loads(text: str) -> Value:
    """`json.loads` that also takes whole numbers of more digits than Python likes to convert."""
    return decode(text.lstrip(" \t\n\r\ufeff"), 0, whole=True)[0]


def decode(text: str, at: int, whole: bool = False) -> tuple[Value, int]:
    """A value and where it ends. Raises ValueError or RecursionError; with `whole`, also where more follows."""
    try:
        value, end = _DECODER.raw_decode(text, at)
    except json.JSONDecodeError:
        raise
    except ValueError:  # more digits than sys.get_int_max_str_digits
        value, end = _LONG_NUMBERS.raw_decode(text, at)
    if whole and text[end:].strip(" \t\n\r"):
        raise json.JSONDecodeError("Extra data", text, end)
    return value, end


def why(error: Exception, column: bool = True) -> str:
    """An error in words; its column only where the text is one line that people can count in."""
    if isinstance(error, json.JSONDecodeError):
        return error.msg + f" (column {error.colno})" * column
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def values(stream: TextIO, head: str = "", in_list: bool = False, closes: str = "") -> Iterator[Value | Broken | Aside]:
    """The values of a text, those of its lists one at a time.

    Args:
        stream: the text; read in chunks.
        head: what was read of it already.
        in_list: `head` begins inside of a list.
        closes: what closes around that list, and may hold more names and values.
    """
    yield from _Values(stream, head).read(in_list, closes)


class _Values:
    def __init__(self, stream: TextIO, head: str) -> None:
        self._stream, self._buffer, self._at, self._ended = stream, head, 0, False

    def read(self, in_list: bool, wrapped: str) -> Iterator[Value | Broken | Aside]:
        while True:
            if in_list:
                closed = yield from self._items()
                if closed and wrapped and not self._close(wrapped):
                    yield Aside("what follows the list is not JSON")
                in_list, wrapped = False, ""
            mark = self._peek()
            if not mark:
                return
            if mark == "[":
                self._at += 1
                in_list = True
            elif mark in ",]}":  # after a list that was closed too early
                self._at += 1
                yield Aside(f"there is a {mark!r} too many")
            else:
                yield self._value()

    def _items(self) -> Generator[Value | Broken | Aside, None, bool]:
        """The items of a list whose opening bracket is behind; returns whether it is closed."""
        mark, first = self._peek(), True
        while mark:
            if mark == "]":
                if not first:
                    yield Aside("an item is missing after a comma")
                self._at += 1
                return True
            found: Value = None
            if mark == ",":
                yield Aside("an item is missing before a comma")
            else:
                found = self._value()
                yield found
                if isinstance(found, Broken) and not self._peek():
                    return False  # it took all that there was
            first, mark = False, self._peek()
            if mark == "]":
                self._at += 1
                return True
            if mark == ",":
                self._at += 1
                mark = self._peek()
            elif mark and mark in _VALUE_MARKS and not isinstance(found, Broken):
                yield Aside("a comma is missing between two items")
        yield Aside("the list is not closed")
        return False

    def _peek(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            space = _SPACE.match(self._buffer, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Reads on; chunks double, or a long value would be parsed in squared time."""
        kept = self._buffer[self._at :]
        chunk = "" if self._ended else self._stream.read(max(_CHUNK, len(kept)))
        self._ended = not chunk
        self._buffer, self._at = kept + chunk, 0
        return not self._ended

    def _value(self) -> Value | Broken:
        """The value that begins here, or what is wrong with it; what comes next is behind either."""
        while True:
            problem: Exception | None = None
            try:
                value, end = decode(self._buffer, self._at)
                if end < len(self._buffer) or self._ended:  # or a number might be cut short
                    if isinstance(value, str) and self._goes_on(end):
                        return self._broken(json.JSONDecodeError("Expecting ',' delimiter", self._buffer, end))
                    undecoded = UNDECODED.search(self._buffer, self._at, end)
                    self._at = end
                    return Broken("is not UTF-8") if undecoded else value
            except (ValueError, RecursionError) as error:
                problem = error
            held = len(self._buffer) - self._at
            if problem and (self._is_definite(problem) or held >= MAX_RECORD or self._ended):
                return self._broken(problem)
            self._more()

    def _goes_on(self, end: int) -> bool:
        """Whether more stands right after a string: then its quotes are not its own, but those of two others."""
        space = _SPACE.match(self._buffer, end)
        return self._buffer[(at := space.end() if space else end) : at + 1] not in (
            "",
            ",",
            "]",
            "}",
            ":",
            '"',
            "[",
            "{",
        )

    def _is_definite(self, problem: Exception) -> bool:
        """Whether no reading on can mend it."""
        if not isinstance(problem, json.JSONDecodeError):
            return True
        return problem.pos < len(self._buffer) - _DEFINITE and not problem.msg.startswith("Unterminated string")

    def _broken(self, problem: Exception) -> Broken:
        """Leaves what is broken behind."""
        while len(self._buffer) - self._at < _LOOKAHEAD and self._more():
            pass
        end = self._end_by_brackets() or self._next_whole(self._at + 1)
        while end is None and not self._ended:  # what is in sight is given up, but for an object that may be cut short
            self._at = max(self._at, len(self._buffer) - _LOOKAHEAD)
            self._more()
            end = self._next_whole(self._at)
        self._at = len(self._buffer) if end is None else end
        return Broken(f"is not JSON: {why(problem, column=False)}")

    def _end_by_brackets(self) -> int | None:
        """Where a broken item ends, if its own brackets and what follows it are whole."""
        end = _closed(self._buffer, self._at)
        if end is None or self._buffer[end] != ",":
            return end
        space = _SPACE.match(self._buffer, end + 1)
        try:
            decode(self._buffer, space.end() if space else end + 1)
        except (ValueError, RecursionError) as error:
            cut = isinstance(error, json.JSONDecodeError) and not self._ended and not self._is_definite(error)
            return end if cut else None
        return end

    def _next_whole(self, start: int) -> int | None:
        """Where the next object or list that is whole begins."""
        long_tries = 0
        for found in _NEXT.finditer(self._buffer, start):
            try:
                _, end = decode(self._buffer, found.end())
            except (ValueError, RecursionError) as error:
                long_tries += str(error).startswith("Unterminated")  # it was looked at to the end of what was read
                if long_tries > _LONG_TRIES:
                    return None
                continue
            space = _SPACE.match(self._buffer, end)
            if self._buffer[(at := space.end() if space else end) : at + 1] in ("", ",", "]", "[", "{"):
                return found.end()
        return None

    def _close(self, wrapped: str) -> bool:
        """Goes over the rest of an object after the list in it."""
        while (mark := self._peek()) and mark == ",":
            self._at += 1
            for between in (":", ""):
                if not self._peek() or isinstance(self._value(), Broken):
                    return False
                if between and self._peek() != between:
                    return False
                self._at += len(between)
        closed = mark == wrapped
        self._at += closed
        return closed


def _closed(text: str, start: int) -> int | None:
    """Where the comma or bracket after an item is, if its strings and brackets are whole."""
    open_: list[str] = []
    for token in _TOKEN.finditer(text, start):
        mark = token[0]
        if mark == '"':  # a string that is not closed
            return None
        if not open_ and mark in (",", "]"):
            return token.start() if token.start() > start else None
        if mark in ("[", "{"):
            open_.append(mark)
        elif mark in _PAIRS and (not open_ or open_.pop() != _PAIRS[mark]):
            return None
    return None


def _long(digits: str) -> int | float:
    """A whole number; one of more digits than Python converts as a float, which may be infinite."""
    return int(digits) if len(digits) < 4000 else float(digits)


_DECODER = json.JSONDecoder()
_LONG_NUMBERS = json.JSONDecoder(parse_int=_long)
