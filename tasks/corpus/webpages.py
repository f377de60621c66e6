"""HTML: the main text of a page, without its menus and footers, by resiliparse (which DCLM's corpus is made with)."""

from collections.abc import Iterator

from tasks.corpus.records import NOT_UTF8, BadRecord, Columns, RawDocument, Record, damaged
from tasks.corpus.remote import File
from tasks.corpus.streams import UNDECODED, open_text

MAX_PAGE = 32 * 2**20  # characters; what is larger is a dump, and no page


def read_html(path: File, name: str, columns: Columns) -> Iterator[Record]:
    """The one document of a page; `columns` plays no part here."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    del columns
    with open_text(path) as stream:
        page = stream.read(MAX_PAGE)
    if len(page) == MAX_PAGE:
        yield damaged(name, f"is longer than {MAX_PAGE >> 20} Mi characters: no web page, split it")
    elif UNDECODED.search(page):
        yield damaged(name, NOT_UTF8)
    else:
        tree = HTMLTree.parse(page)
        # a page without a frame of menus may have no part that is taken for the main one
        text = extract_plain_text(tree, main_content=True, alt_texts=False) or extract_plain_text(tree, alt_texts=False)
        title = " ".join((tree.title or "").split()) or None
        yield RawDocument(name, title, text) if text.strip() else BadRecord(name, "empty", f"{name} has no text")
