"""Files that are something else than their name says: a pointer in place of a download, a page of an error, a PDF.

They are looked for where a file's first record is a fault, whose words would not lead to the cause, and in plain texts,
which anything can be taken for.
"""

import contextlib
import re

from tasks.corpus.files import PAGES
from tasks.corpus.remote import File
from tasks.corpus.streams import DamagedFile, open_bytes

HEAD = 512
_POINTER = "a Git LFS pointer, and not the file itself: fetch it with git lfs pull"
_KINDS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"version https://git-lfs\.github\.com/spec/"), _POINTER),
    (re.compile(rb"%PDF-\d"), "a PDF: take the text out of it (pdftotext)"),
    (re.compile(rb"\{\\rtf\d"), "rich text (RTF): save it as plain text"),
    (re.compile(rb"WARC/\d"), "a WARC archive: take the texts of its records out (warcio, datatrove)"),
    (re.compile(rb"%!PS"), "PostScript: take the text out of it (ps2ascii)"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive (or .docx, .xlsx): unpack it, or save it as text or CSV"),
    (re.compile(rb"\x1f\x8b\x08|\x28\xb5\x2f\xfd|\xfd7zXZ\0|BZh[1-9]1AY&SY"), "packed twice: unpack it once"),
    (re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "an old Office file: save it as text or CSV"),
    (re.compile(rb"SQLite format 3\0"), "an SQLite database: write the table out as Parquet or CSV"),
    (re.compile(rb"PAR1"), "Parquet: name it .parquet"),
    (re.compile(rb"ARROW1\0\0"), "Arrow: name it .arrow"),
    (re.compile(rb".{257}ustar", re.DOTALL), "a tar archive: unpack it"),
)
_OWN = ((".parquet", b"PAR1"), (".arrow", b"ARROW1"), (".feather", b"ARROW1"))
_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|\?xml)[\s>]", re.IGNORECASE)
_PAGE_SAID = "a web page or XML, perhaps of an error while it was fetched: fetch it again"


def disguise_of(path: File, own: str) -> str | None:
    """What a file is whose content is not of its kind, with the mend; None where it may well be what it says.

    Args:
        path: a file that can be opened.
        own: its suffix, without that of a packing.
    """
    head = b""
    with contextlib.suppress(DamagedFile), open_bytes(path) as stream:
        head = stream.peek(HEAD)[:HEAD]
    if own in PAGES or any(own == suffix and head.startswith(magic) for suffix, magic in _OWN):
        return None  # then it is damaged, and its reader knows more of it
    return in_disguise(head) or (_PAGE_SAID if _PAGE.match(head) else None)


def in_disguise(head: bytes) -> str | None:
    """What a content that begins so is, where it is neither a text nor a table of texts."""
    return next((said for magic, said in _KINDS if magic.match(head)), None)
