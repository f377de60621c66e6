"""A corpus in an object store: listed folder by folder, and read by ranges, of which none is larger than it must be.

What goes wrong on the way is no fault of a document: it ends the reading with an error, and is never a reject.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from schemas.errors import DependencyError, UserError
from tasks.storage.remote import reach, remote_error

FIRST, LARGEST = 1 << 16, 1 << 23  # bytes of the first range after a jump; each that follows on it has twice as many
_MARKS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "updated", "mtime", "created")


@dataclass(frozen=True)
class Remote:
    """A file of a corpus, as it was listed: what readers ask of a path, and nothing more.

    Attributes:
        within: its name below the corpus.
        stamp: its size, and the first mark that its store has of its content.
    """

    within: str
    path: str
    size: int
    stamp: str
    fs: Any = field(compare=False, repr=False)

    @property
    def name(self) -> str:
        """The last part of its name."""
        return PurePosixPath(self.within).name

    @property
    def suffix(self) -> str:
        """As a path's."""
        return PurePosixPath(self.within).suffix

    @property
    def suffixes(self) -> list[str]:
        """As a path's."""
        return PurePosixPath(self.within).suffixes

    def open(self) -> io.RawIOBase:
        """Its bytes, fetched as they are read."""
        return _Ranges(self)


File = Path | Remote


@dataclass(frozen=True)
class Place:
    """Where a corpus lies in a store: a folder, or one file."""

    url: str
    path: str
    fs: Any = field(compare=False, repr=False)

    def below(self, passed_over: Callable[[str], bool]) -> Iterator[Remote]:
        """Its files in the order of a folder on a disk; folders of which `passed_over` says so are left out.

        Raises:
            UserError: there is nothing, or the store refuses it.
            DependencyError: it does not answer.
        """
        try:
            about = self.fs.info(self.path)
        except Exception as error:  # whatever a store's client raises
            if isinstance(error, FileNotFoundError):
                raise UserError(f"no such corpus: there is nothing at {self.url}") from None
            raise remote_error(error, f"the corpus {self.url} cannot be looked at") from error
        if about["type"] == "file":
            yield _listed(self.fs, about, PurePosixPath(self.path).name)
        else:
            yield from self._walk(self.path, passed_over)

    def _walk(self, folder: str, passed_over: Callable[[str], bool]) -> Iterator[Remote]:
        try:
            entries = {str(one["name"]).rstrip("/"): one for one in self.fs.ls(folder, detail=True)}
        except Exception as error:  # as above
            raise remote_error(error, f"the corpus {self.url} cannot be listed") from error
        names = sorted(name for name in entries if name != folder)
        for name in names:
            if entries[name]["type"] == "file" and not str(entries[name]["name"]).endswith("/"):
                yield _listed(self.fs, entries[name], name.removeprefix(f"{self.path}/"))
        for name in names:
            if entries[name]["type"] == "directory" and not passed_over(name.removeprefix(f"{self.path}/")):
                yield from self._walk(name, passed_over)


def place(url: str) -> Place:
    """Where a URL leads.

    Raises:
        UserError: nothing is known of such URLs here.
    """
    fs, path = reach(url, "corpus.source")
    return Place(url, path, fs)


def _listed(fs: Any, about: dict[str, Any], within: str) -> Remote:
    return Remote(within, about["name"], int(about["size"] or 0), _stamp(about), fs)


def _stamp(about: dict[str, Any]) -> str:
    mark = next((str(about[name]) for name in _MARKS if about.get(name) is not None), "")
    return f"{about['size']} bytes, {mark}"


class _Ranges(io.RawIOBase):
    """A file that is fetched by ranges: small ones where one jumps, larger and larger ones where one reads on."""

    def __init__(self, file: Remote) -> None:
        self._file, self._at = file, 0
        self._block, self._from, self._next = b"", 0, FIRST

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        if self._at >= self._file.size:
            return 0
        if not self._from <= self._at < self._from + len(self._block):
            self._fetch()
        start = self._at - self._from
        data = self._block[start : start + len(view)]
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _fetch(self) -> None:
        file, reads_on = self._file, self._at == self._from + len(self._block) and self._block
        self._next = min(2 * self._next, LARGEST) if reads_on else FIRST
        end = min(file.size, self._at + self._next)
        try:
            self._block = file.fs.cat_file(file.path, start=self._at, end=end)
            about = file.fs.info(file.path) if end == file.size else None
        except Exception as error:  # as above
            raise remote_error(error, f"{file.within} of the corpus cannot be read") from error
        self._from = self._at
        if len(self._block) != end - self._at or (about and _stamp(about) != file.stamp):
            raise DependencyError(f"{file.within} of the corpus was changed while it was read: start again")
