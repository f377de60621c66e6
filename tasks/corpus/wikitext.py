"""WikiText, as the language-modelling corpora have it: ` = Title = `, `red @-@ tipped`, spaces around every mark.

It is turned back into what a person would have written: a model that reads ` 0 @.@ 7 ` writes problems that look so.
`<unk>` stays: what stood there is lost, and a sentence without it would say something else.
"""

import re

_HEADING = re.compile(r"\s*(?:= )+(?!=)(.*?[^\s=])(?: =)+\s*")
_SPACED = re.compile(r" @([-,.])@ ")
_JOIN = re.compile(r" ?@([-,.])@ ?")
_TO_THE_LEFT = re.compile(r" (?<!  ) *+([,.](?!\d)|[;:!?)\]]|(?<=\d )%|'(?:s|t|re|ve|ll|d|m)\b)")
_TO_THE_RIGHT = re.compile(r"([(\[]|[$£€](?= \d)) +")
_QUOTED = re.compile(r'(?<!\S)" ([^"\n]*?) ?"(?!\w)')


def is_title(line: str) -> bool:
    """Whether a line opens an article: ` = Title = `."""
    return heading_of(line) is not None and "= =" not in line


def heading_of(line: str) -> str | None:
    """The words of ` = Title = ` or ` = = Section = = `; None for any other line."""
    found = _HEADING.fullmatch(line) if line.lstrip().startswith("= ") else None
    return found[1] if found else None


def is_marked(text: str) -> bool:
    """Whether a text is WikiText: it opens with a title, or has its marks for `-`, `,` and `.` inside words."""
    return bool(_SPACED.search(text)) or is_title(text.lstrip().partition("\n")[0])


def plain(line: str) -> str:
    """One line without marks and with spaces where people put them."""
    line = _JOIN.sub(r"\1", line.strip())
    line = _TO_THE_RIGHT.sub(r"\1", _TO_THE_LEFT.sub(r"\1", line))
    return _QUOTED.sub(r'"\1"', line)


def clean(text: str) -> tuple[str | None, str]:
    """Title (None without one) and plain text: a paragraph for every line, each section's heading on top of its first.

    A heading is kept in its paragraph, so that no passage ends in the heading of the next.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    title = heading_of(lines[0]) if lines and is_title(lines[0]) else None
    parts: list[str] = []
    for line in lines[1:] if title else lines:
        heading = heading_of(line)
        parts += [plain(heading), "\n"] if heading else [plain(line), "\n\n"]
    known = title and title.replace("<unk>", "").strip()
    return (plain(title) if title and known else None), "".join(parts).strip()
