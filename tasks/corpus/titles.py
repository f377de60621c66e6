"""Titles: from front matter, from a heading, from a table's column. What is no title of a text gives none."""

import datetime
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence

import yaml

_FRONT_LINES = 400  # longer than any front matter; a rule that opens a text is looked for no further
_KEY = re.compile(r"[\"']?[\w .-]+[\"']?\s*[:=]")
_COMMENT = re.compile(r"\s*<!--.*?-->", re.DOTALL)
_ATX = re.compile(r" {0,3}(#{1,6})\s+(.*?\S)\s*#*\s*")
_SETEXT = re.compile(r" {0,3}(?:={2,}|-{2,})\s*")
_NOT_A_TITLE = frozenset({"", "nan", "null", "none", "nat", "n/a", "na", "untitled", "[]", "{}"})
MAX_CHARS = 300


def titled(text: str) -> tuple[str | None, str]:
    """The title that a text carries on its top, and the text without it.

    Front matter (YAML between `---`, TOML between `+++`) and comments before the heading are no part of the text. Its
    `title` goes before the first heading, which is a line `# Title` or one that is underlined with `===` or `---`. A
    heading of a lower level gives the title too, but stays: it may be that of a first section.
    """
    fields, text = front_matter(text)
    named = (value for key, value in fields.items() if str(key).casefold() == "title")
    title = as_title(next(named, None)) if fields else None
    text = _without_comments(text)
    heading, rest, is_top = _heading(text)
    if heading is None or not rest.strip():
        return title, text
    if title is None or _same(heading, title):
        return title or heading, rest if is_top else text
    return title, text


def front_matter(text: str) -> tuple[Mapping[str, object], str]:
    """The fields of a text's front matter, and what follows it; nothing where a rule or a heading opens the text.

    What stands between the marks is front matter only if its first line is a key with a value, no line of it is a
    paragraph, and the second mark is there. Front matter that does not parse is taken off all the same.
    """
    opened = text.lstrip("\ufeff\n\r ")
    if not opened.startswith(("---", "+++")):
        return {}, text
    lines = opened.split("\n")
    mark = lines[0].rstrip()
    ends = {"---": ("---", "..."), "+++": ("+++",)}.get(mark)
    if not ends:
        return {}, text
    stop = next((n for n, line in enumerate(lines[1:_FRONT_LINES], 1) if line.rstrip() in ends), None)
    inside = [line for line in lines[1:stop] if line.strip()]
    if stop is None or not inside or not _KEY.match(inside[0].lstrip("# ")):
        return {}, text
    fields = _fields(mark, "\n".join(lines[1:stop]))
    if fields is None and not all(_KEY.match(line) or line[:1] in " \t-#]})" for line in inside):
        return {}, text
    return fields or {}, "\n".join(lines[stop + 1 :])


def _fields(mark: str, content: str) -> Mapping[str, object] | None:
    """None where it does not parse, or holds no fields."""
    try:
        if mark == "+++":
            return tomllib.loads(content)
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content)):
            return None  # a few lines of aliases can stand for more than fits into memory
        found = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return found if isinstance(found, Mapping) else None


def _without_comments(text: str) -> str:
    while text.lstrip().startswith("<!--") and (found := _COMMENT.match(text)):
        text = text[found.end() :]
    return text


def _heading(text: str) -> tuple[str | None, str, bool]:
    """(heading, what follows it, whether it is of the first level) of a text that opens with one."""
    first, _, rest = text.lstrip().partition("\n")
    if found := _ATX.fullmatch(first):
        return found[2], rest, found[1] == "#"
    under, _, after = rest.partition("\n")
    if first.strip() and len(first) <= MAX_CHARS and _SETEXT.fullmatch(under):
        return first.strip(), after, under.strip().startswith("=")
    return None, text, False


def _same(one: str, other: str) -> bool:
    return "".join(re.findall(r"\w+", one.casefold())) == "".join(re.findall(r"\w+", other.casefold()))


def as_title(value: object) -> str | None:
    """A value of a title column or field as a title; a list of texts joined, and none where it is no text."""
    parts = list(_texts(value))
    title = " ".join("; ".join(parts).split())
    if title.casefold() in _NOT_A_TITLE:
        return None
    return title if len(title) <= MAX_CHARS else f"{title[:MAX_CHARS].rsplit(' ', 1)[0]} …"


def _texts(value: object) -> Iterator[str]:
    """Texts, numbers and dates, and those in a list; a mapping, a truth value or bytes say nothing of a text."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        return
    elif isinstance(value, int | float | datetime.date | datetime.time):
        yield str(value)
    elif isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        yield from (part.strip() for one in value if isinstance(one, str) for part in [one] if part.strip())
