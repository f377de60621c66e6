"""Titles come from front matter, a heading or a column; what is none gives none, and the text stays whole."""

from datetime import datetime
from pathlib import Path

import pytest

from tasks.corpus import RawDocument, read
from tasks.corpus.titles import as_title, titled

BODY = "The body has words."


@pytest.mark.parametrize(
    ("text", "title", "rest"),
    [
        (f"# A heading #\n\n{BODY}", "A heading", BODY),
        (f"My Title\n========\n\n{BODY}", "My Title", BODY),
        (f"## A section\n{BODY}", "A section", f"## A section\n{BODY}"),
        (f"One line\n---\n{BODY}", "One line", f"One line\n---\n{BODY}"),
        (f"---\ntitle: 'A: B'\ntags: [x, y]\n---\n# Other\n{BODY}", "A: B", f"# Other\n{BODY}"),
        (f"---\ntitle: Same\n---\n\n# Same\n\n{BODY}", "Same", BODY),
        (f"---\ndate: 2024-01-01\n---\n# From the heading\n{BODY}", "From the heading", BODY),
        (f'+++\ntitle = "T"\n[extra]\nx = 1\n+++\n{BODY}', "T", BODY),
        (f"---\nTitle: 肝臓の働き\n...\n{BODY}", "肝臓の働き", BODY),
        (f"<!-- a comment\n-->\n# Real title\n{BODY}", "Real title", BODY),
        (f"---\ntitle: What's [not: yaml\ndate: x\n---\n{BODY}", None, BODY),
        (f"---\na: &a [x]\nb: [*a, *a]\ntitle: T\n---\n{BODY}", None, BODY),  # aliases are not followed
        # a rule at the top, in whatever surroundings, is no front matter, and nothing of the text is lost
        (f"---\n\n{BODY}\n\n---\n\nMore: of it.", None, f"---\n\n{BODY}\n\n---\n\nMore: of it."),
        ("---\nNote: rain.\nAll day long\n---\nMore.", None, "---\nNote: rain.\nAll day long\n---\nMore."),
        (f"---\ntitle: never closed\n{BODY}", None, f"---\ntitle: never closed\n{BODY}"),
        ("# Only a heading", None, "# Only a heading"),
        (BODY, None, BODY),
    ],
)  # fmt: skip
def test_a_text_gives_its_title_and_keeps_the_rest(text: str, title: str | None, rest: str) -> None:
    found, left = titled(text)
    assert (found, left.strip()) == (title, rest)


@pytest.mark.parametrize(
    ("value", "title"),
    [
        ("A title\n on two lines", "A title on two lines"), (["a", "b "], "a; b"), (["a", 3, None], "a"),
        ({"en": "A"}, None), (float("nan"), None), ("nan", None), (" None ", None), (True, None), (b"x", None),
        ([], None), (None, None), (1984, "1984"), (datetime(2024, 5, 1), "2024-05-01 00:00:00"),
        ("word " * 200, " ".join(["word"] * 59) + " …"),
    ],
)  # fmt: skip
def test_a_value_of_a_column_is_a_title_or_none(value: object, title: str | None) -> None:
    found = as_title(value)
    assert found == title or (found or "").startswith((title or "?")[:290])


def test_files_give_titles_and_texts_without_front_matter(tmp_path: Path) -> None:
    (tmp_path / "post.md").write_text(f"---\ntitle: A Good Title\napi_key: none\n---\n\n{BODY}\n")
    (tmp_path / "page.txt").write_text(
        f"<!DOCTYPE html>\n<html><head><title>Page</title></head><p>{BODY} &amp; more</p>"
    )
    found = {doc.source: doc for doc in read(str(tmp_path)) if isinstance(doc, RawDocument)}
    assert (found["post.md"].title, found["post.md"].text.strip()) == ("A Good Title", BODY)
    assert (found["page.txt"].title, found["page.txt"].text.strip()) == ("Page", f"{BODY} & more")
