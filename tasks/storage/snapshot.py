"""An object store as it was when one began to look: listed once, and each file of it fetched once.

To list a folder there and to read a footer are requests of tens of milliseconds each, and DuckDB makes several a file
and query. Everything that only looks (`pop status`, `sql`, `show`, `models`) reads through this.
"""

import io
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any

from fsspec import AbstractFileSystem

WHOLE = 32 << 20  # bytes of a file, up to which it is fetched whole
KEPT = 512 << 20  # bytes of all files that are kept


class Snapshot(AbstractFileSystem):  # type: ignore[misc]
    """What lies below a folder of another file system. Nothing can be written through it."""

    protocol = "pop-seen"
    cachable = False

    def __init__(self, fs: Any, base: str) -> None:
        super().__init__()
        self.of, self._kept, self._size = fs, dict[str, bytes](), 0
        try:
            self._files: dict[str, dict[str, Any]] = fs.find(base, detail=True)
        except FileNotFoundError:
            self._files = {}
        self._names = sorted(self._files)

    def fetch(self, paths: Iterable[str]) -> None:
        """Get files together that will be read; those that are large are read in parts, when they are."""
        wanted, size = list[str](), self._size
        for path in paths:
            if path in self._files and path not in self._kept and (own := self._length(path)) <= WHOLE:
                size += own
                wanted += [path] if size <= KEPT else []
        if wanted:
            for path, content in self.of.cat(wanted, on_error="omit").items():
                self._keep(path, content)

    def _keep(self, path: str, content: bytes) -> None:
        if self._size + len(content) <= KEPT:
            self._kept[path] = content
            self._size += len(content)

    def _length(self, path: str) -> int:
        return int(self._files[path]["size"] or 0)

    def _below(self, folder: str) -> Iterator[str]:
        """Names of the files below a folder, sorted."""
        for place in range(bisect_left(self._names, f"{folder}/"), len(self._names)):
            if not self._names[place].startswith(f"{folder}/"):
                return
            yield self._names[place]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """A file's entry in the listing, or a folder's."""
        path = self._strip_protocol(path)
        if path in self._files:
            return {**self._files[path], "name": path}
        if next(self._below(path), None):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **_: Any
    ) -> dict[str, dict[str, Any]] | list[str]:
        """Every file below a folder, out of the listing."""
        path = self._strip_protocol(path)
        names = [path] if path in self._files else list(self._below(path))
        found = [name for name in names if maxdepth is None or name[len(path) :].count("/") <= maxdepth]
        return {name: self.info(name) for name in found} if detail else found

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """What lies right in a folder."""
        path = self._strip_protocol(path)
        below = {name[len(path) + 1 :].split("/")[0] for name in self._below(path)}
        if not below and path not in self._files:
            raise FileNotFoundError(path)
        found = [self.info(f"{path}/{name}") for name in sorted(below)] or [self.info(path)]
        return found if detail else [one["name"] for one in found]

    def modified(self, path: str) -> Any:
        """When a file was last written."""
        known = self.info(path)
        return known.get("LastModified") or self.of.modified(known["name"])

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """A file's content, fetched at most once."""
        path = self._strip_protocol(path)
        if path not in self._files:
            raise FileNotFoundError(path)
        if path not in self._kept:
            content: bytes = self.of.cat_file(path)
            self._keep(path, content)
            return content[start:end]
        return self._kept[path][start:end]

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        if mode != "rb":
            raise OSError("a snapshot is read only")
        path = self._strip_protocol(path)
        if path in self._files and self._length(path) > WHOLE:
            return self.of.open(path, "rb")
        return io.BytesIO(self.cat_file(path))
