"""Every finished generation is on disk as it arrives: a kill costs at most the requests in flight."""

import json
import os
from dataclasses import MISSING, fields
from pathlib import Path
from typing import IO

import orjson

from schemas.errors import unwritable
from tasks.engine.protocol import Generation

_FIELDS = {field.name for field in fields(Generation)}
_NEEDED = {field.name for field in fields(Generation) if field.default is MISSING}  # what older journals have, too


class Journal:
    """JSON lines, one a generation, of one stage and shard; read at the start, appended to, removed when published."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._done = _load(path)
        self._handle: IO[bytes] | None = None

    def __contains__(self, generation_id: str) -> bool:
        return generation_id in self._done

    def get(self, generation_id: str) -> Generation | None:
        """What an earlier, interrupted attempt already has."""
        return self._done.get(generation_id)

    def add(self, generation: Generation) -> None:
        """Append, handing the line to the operating system before it returns.

        Raises:
            UserError: the disk is full.
            DependencyError: it cannot be written.
        """
        line = _line(generation)
        try:
            if self._handle is None:
                self._handle = self._opened()
            self._handle.write(line)
            self._handle.flush()
        except OSError as error:
            raise unwritable(self.path, error) from None
        self._done[generation.generation_id] = generation

    def _opened(self) -> IO[bytes]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = self.path.open("a+b")
        if handle.tell():
            handle.seek(-1, os.SEEK_END)
            if handle.read(1) != b"\n":
                handle.write(b"\n")  # a torn last line must not swallow the next one
        return handle

    def close(self) -> None:
        """Let go of the file; what is in it stays for a resume.

        Raises:
            UserError: the disk is full.
            DependencyError: the last lines cannot be written.
        """
        handle, self._handle = self._handle, None
        try:
            handle.close() if handle else None
        except OSError as error:
            raise unwritable(self.path, error) from None

    def remove(self) -> None:
        """The shard is published: the journal has done its work."""
        self.close()
        self.path.unlink(missing_ok=True)


def _line(generation: Generation) -> bytes:
    row = vars(generation)
    try:
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # half a surrogate pair in a prompt
        return json.dumps(row).encode() + b"\n"


def _load(path: Path) -> dict[str, Generation]:
    found: dict[str, Generation] = {}
    if not path.exists():
        return found
    with path.open("rb") as handle:
        for line in handle:
            try:
                data = json.loads(line)
            except ValueError:
                continue  # torn by a kill: owed again
            if isinstance(data, dict) and data.keys() >= _NEEDED:
                known = {name: value for name, value in data.items() if name in _FIELDS}
                found[data["generation_id"]] = Generation(**known)
    return found
