"""Plain text and Markdown: one document a file, unless the file holds many articles or is too large to hold at once."""

import json
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from tasks.corpus import wikitext
from tasks.corpus.disguises import HEAD, in_disguise
from tasks.corpus.records import BadRecord, Columns, RawDocument, Record, document
from tasks.corpus.remote import File
from tasks.corpus.streams import PACKED, UNDECODED, open_text
from tasks.corpus.titles import titled
from tasks.corpus.webpages import read_html

_PARTED = re.compile(r"[-_\s]+")
_PAGE = re.compile(r"\s*<(?:!doctype\s+html|html)[\s>]", re.IGNORECASE)
_END_OF_TEXT = re.compile(r"<\|(?:endoftext|end_of_text)\|>")  # as files of many texts are written for training
PART_CHARS = 8 * 2**20  # beyond any book; a larger file is read in parts that end with a paragraph


def read_text(path: File, name: str, columns: Columns) -> Iterator[Record]:
    """The documents of a .txt or .md file; by `columns`, rows that lost their suffix are known."""
    before, again = 0, 1
    for first_line, text, alone, named in _parts(path):
        before, again = first_line, again + 1 if first_line == before else 1
        source = name if alone else f"{name}:{first_line}" + f".{again}" * (again > 1)
        undecoded = UNDECODED.search(text)
        if undecoded:
            line = first_line + text.count("\n", 0, undecoded.start())
            yield BadRecord(
                source, "malformed", f"{name} line {line} is not UTF-8: convert the file with iconv -t utf-8"
            )
        elif not text.strip():
            yield BadRecord(source, "empty", f"{name} has no text")
        elif first_line == 1 and (other := in_disguise(text[:HEAD].encode(errors="replace")) or _rows(text, columns)):
            yield BadRecord(name, "malformed", f"{name} is {other}", whole=True)
            return
        elif alone and _PAGE.match(text):  # a page that was saved under the name of a text
            yield from read_html(path, name, columns)
        else:
            title, text = titled(text)
            found = document(source, text, title)
            yield RawDocument(source, found.title or (readable(path) if named else None), found.text)


def _rows(text: str, columns: Columns) -> str | None:
    """What a text is whose first line is an object with a text of its own: read as text, its marks would be learned."""
    first, _, _ = text.lstrip("\ufeff \t\r\n").partition("\n")
    if not first.startswith("{"):
        return None
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        return None
    return "JSON lines: name it .jsonl" if isinstance(row, dict) and columns.text in row else None


def readable(path: File) -> str | None:
    """A file's name as a title: `jack-sheppard.txt` is "Jack sheppard". A numbered name (`article-059.txt`) says
    nothing of what is in it, and a model asked for a question about "Article 059" writes one: no title."""
    stem, suffix = os.path.splitext(path.name)  # noqa: PTH122 - as in files.py
    stem = os.path.splitext(stem)[0] if suffix.lower() in PACKED else stem  # noqa: PTH122
    if any(map(str.isdigit, stem)):
        return None
    words = " ".join(_PARTED.split(stem.encode(errors="replace").decode())).strip()
    return words[:1].upper() + words[1:]


class _Part(NamedTuple):
    """A text of a file: where it begins, whether it is all there is, and whether the file's name may be its title."""

    line: int
    text: str
    alone: bool = False
    named: bool = True


def _parts(path: File) -> Iterator[_Part]:
    """The texts of a file: articles of WikiText, what `<|endoftext|>` stands between, parts of a huge one."""
    lines: list[str] = []
    size, first_line, articles, whole = 0, 1, False, True
    with open_text(path) as stream:
        for number, line in enumerate(iter(lambda: stream.readline(PART_CHARS), ""), 1):
            *ended, line = _END_OF_TEXT.split(line) if "<|" in line else [line]
            for one in ended:
                if (text := "".join([*lines, one])).strip():
                    yield _Part(first_line, text, named=False)
                lines, size, first_line, whole = [], 0, number, False
            after_blank = bool(lines) and not lines[-1].strip()
            opens = (after_blank or not lines) and wikitext.is_title(line)
            if (articles and opens) or size >= (PART_CHARS if after_blank else 2 * PART_CHARS):
                yield _Part(first_line, "".join(lines), named=whole)
                lines, size, first_line = [], 0, number
            articles = articles or (opens and not "".join(lines).strip())
            lines.append(line)
            size += len(line)
    if whole or "".join(lines).strip():
        yield _Part(first_line, "".join(lines), whole and first_line == 1, whole)
