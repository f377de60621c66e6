"""What lies below a source, file by file: to be read, or the reason why not. Nothing is opened here.

Kinds are known by the suffix. What is not read is gathered by kind, so that ten thousand pictures are one row.
"""

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tasks.corpus.records import BadRecord
from tasks.corpus.remote import File, Place, Remote
from tasks.corpus.streams import PACKED

TEXTS = (".txt", ".text", ".md", ".markdown")
PAGES = (".html", ".htm", ".xhtml")
LINES = (".jsonl", ".jsonlines", ".ndjson")
TABLES = (*LINES, ".json", ".csv", ".tsv", ".parquet", ".arrow", ".feather")
WHOLE = (".parquet", ".arrow", ".feather")  # they pack their own columns; packed once more they are not read
KINDS = (*TEXTS, *PAGES, *TABLES)
SAID_KINDS = f"{', '.join(KINDS)} (all but {', '.join(WHOLE)} also packed: {', '.join(PACKED)})"
UNREAD = "unread"  # the status of files that are not read and are no fault
_EXAMPLES = 3
_HIDDEN = re.compile(
    r"\.|_SUCCESS$|_(?:common_)?metadata\b|_(?:started|committed)_|__MACOSX$|Thumbs\.db$|desktop\.ini$"
)
_LICENCES = re.compile(r"(?:licen[cs]e|copying|unlicense)(?:[-_.].*)?", re.IGNORECASE)
_CARDS = re.compile(
    r"(?:readme|notice|changelog|citation|datasheet|dataset_?card)(?:[-_.].*)?"
    r"|(?:dataset_?infos?|dataset_dict|state)\.json",
    re.IGNORECASE,
)


@dataclass
class Unread:
    """The files that are not read, by reason: how many, and a few names."""

    found: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def add(self, why: str, name: str) -> None:
        """Counts a file under a reason, which goes on after "N files"."""
        count, names = self.found.get(why, (0, []))
        self.found[why] = (count + 1, names if len(names) >= _EXAMPLES else [*names, name])

    def records(self) -> Iterator[BadRecord]:
        """One record a reason, with how many files it is about."""
        for why, (count, names) in sorted(self.found.items()):
            listed = ", ".join(names) + ", ..." * (count > len(names))
            what = f"{count} files {why}" if count > 1 else f"a file {why}"
            yield BadRecord(names[0], UNREAD, f"{what}: {listed}", count=count, whole=True)


def kind_of(path: File) -> str | None:
    """The suffix that says how to read a file, without that of its packing; None for a kind that is not read."""
    stem, suffix = os.path.splitext(path.name.lower())  # noqa: PTH122 - several times as fast, and asked of every file
    packed = suffix in PACKED
    kind = os.path.splitext(stem)[1] if packed else suffix  # noqa: PTH122
    return kind if kind in KINDS and not (packed and kind in WHOLE) else None


def name_of(file: File, corpus: Path | Place) -> str:
    """A file within its corpus, in characters that every table can hold; no two files have the same."""
    if isinstance(file, Remote):
        name = file.within
    else:
        path, folder = os.fspath(file), os.fspath(corpus if isinstance(corpus, Path) else corpus.path)
        name = file.name if path == folder else path.removeprefix(folder.rstrip("/") + "/")
    return name if name.isascii() else name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def files_of(path: Path | Place) -> Iterator[File | BadRecord]:
    """The files to read, sorted by folder and name, then a record for every reason why others are not.

    Linked folders come last, each once, wherever they are linked from; only regular files are files to read.
    """
    if isinstance(path, Place):
        yield from _files_there(path)
        return
    if not path.is_dir():
        special = _not_regular(path)
        yield (
            BadRecord(name_of(path, path), UNREAD, f"{path.name} is not read: {special}", whole=True)
            if special
            else path
        )
        return
    unread, cards = Unread(), _Cards(lambda: _below(path, path, Unread()))
    for file in _below(path, path, unread):
        why = _why_not(file, cards)
        if why:
            unread.add(why, name_of(file, path))
        else:
            yield file
    yield from unread.records()


def _files_there(place: Place) -> Iterator[File | BadRecord]:
    """The files of an object store, with the same reasons; there are neither links nor devices."""
    unread, every = Unread(), partial(place.below, lambda name: bool(_HIDDEN.match(name.rpartition("/")[2])))
    cards = _Cards(every)

    def hidden(name: str) -> bool:
        if found := bool(_HIDDEN.match(name.rpartition("/")[2])):
            unread.add("not read because hidden names are no documents", f"{name}/")
        return found

    for file in place.below(hidden):
        if why := _why_not(file, cards):
            unread.add(why, name_of(file, place))
        else:
            yield file
    yield from unread.records()


def _why_not(file: File, cards: "_Cards") -> str | None:
    """Why a file is not read, as it goes on after "a file"; None for one that is."""
    name = file.name
    if _HIDDEN.match(name):
        return "not read because hidden names are no documents"
    special = _not_regular(file) if isinstance(file, Path) else None
    if special:
        return f"not read: {special}"
    if _LICENCES.fullmatch(name) or (_CARDS.fullmatch(name) and cards.beside_data()):
        return "not read because cards and licences are no documents"
    if kind_of(file) is None:
        suffixes = "".join(file.suffixes[-2:] if file.suffix.lower() in PACKED else file.suffixes[-1:]).lower()
        kind = f"of the kind {suffixes}" if suffixes else "without a suffix"
        return f"{kind} not read ({', '.join(KINDS[:3])}, ... are)"
    return None


def _not_regular(file: Path) -> str | None:
    """What is wrong with a path that is no regular file; opening a FIFO would wait for ever."""
    try:
        mode = file.stat().st_mode
    except OSError as error:
        what = "a link to nowhere" if file.is_symlink() else "cannot be looked at"
        return f"{what} ({error.strerror})"
    if stat.S_ISREG(mode):
        return None
    kind = "a FIFO" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
    return f"{kind}, and only regular files are opened"


def _below(folder: Path, corpus: Path, unread: Unread) -> Iterator[Path]:
    """Every file below, and then those behind links to folders that are not below anyway."""
    seen: set[tuple[int, int]] = set()
    linked = [folder]
    for start in linked:  # grows while it is gone through
        for at, folders, files in os.walk(start, onerror=lambda error: _unlisted(error, corpus, unread)):
            here = Path(at)
            if not _first_time(here, seen):
                folders.clear()
                if here in linked and here != folder:
                    unread.add("not read: a link to a folder that is read already", name_of(here, corpus))
                continue
            for name in folders:
                if _HIDDEN.match(name):
                    unread.add("not read because hidden names are no documents", f"{name_of(here / name, corpus)}/")
            shown = sorted(name for name in folders if not _HIDDEN.match(name))
            linked += [here / name for name in shown if (here / name).is_symlink()]
            folders[:] = [name for name in shown if not (here / name).is_symlink()]
            yield from (here / name for name in sorted(files))


def _first_time(folder: Path, seen: set[tuple[int, int]]) -> bool:
    try:
        status = folder.stat()
    except OSError:
        return False
    known = (status.st_dev, status.st_ino) in seen
    seen.add((status.st_dev, status.st_ino))
    return not known


def _unlisted(error: OSError, corpus: Path, unread: Unread) -> None:
    """A folder that cannot be listed: its files would be missing without a word."""
    unread.add(f"not read: the folder cannot be listed ({error.strerror})", name_of(Path(str(error.filename)), corpus))


class _Cards:
    """Whether a README is a card: it is where the source has tables. Looked up when the first one is met."""

    def __init__(self, below: Callable[[], Iterable[File]]) -> None:
        self._below = below
        self._beside: bool | None = None

    def beside_data(self) -> bool:
        """Whether there are tables below the source."""
        if self._beside is None:
            self._beside = any(
                kind_of(file) in TABLES and not (_HIDDEN.match(file.name) or _CARDS.fullmatch(file.name))
                for file in self._below()
            )
        return self._beside
