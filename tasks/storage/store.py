"""Where a run's tables live: Parquet files that appear whole or not at all, each with its writer's provenance.

The root is a local folder or any URL that fsspec knows. What cannot live in an object store (journals, locks,
training folders) goes to `workdir`, which for a local root is the run's own folder.
"""

import hashlib
import io
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from glob import escape, glob
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import RETRY, DependencyError, UserError, unwritable
from schemas.names import checked_root, checked_run
from schemas.tables import TABLES
from tasks.processes.guarded import state_dir
from tasks.storage.snapshot import Snapshot

Row = dict[str, Any]


class Damaged(DependencyError):
    """A file that is there but is none of this project's tables; `why` says so in a few words."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path} is {why}: {RETRY} (`pop round`), and it is set aside and made again")
        self.why = why


class Store:
    """The files of one run.

    Raises:
        UserError: the root or the run has a name that could lead to another place.
    """

    def __init__(self, root: str, run: str, compression_level: int = 3, seen: Snapshot | None = None) -> None:
        checked_root(root)
        checked_run(run)
        try:
            # listings are not remembered: other processes write, too
            self.fs, base = fsspec.core.url_to_fs(root, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise UserError(f"--root {root}: {error}") from None
        self.fs = seen or self.fs  # as it was, for who only looks
        self.root, self.run, self.compression_level = root, run, compression_level
        self.local = "file" in (self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,))
        self.base = f"{base.rstrip('/')}/{run}"
        self.lost: str | None = None  # why this process may not write any more
        self.still_there: Callable[[], str | None] = lambda: None  # the same, asked before every file: see `run_lock`

    @property
    def workdir(self) -> Path:
        """A local folder of this run for what needs a real file system."""
        if self.local:
            return Path(self.base)
        return state_dir() / "work" / hashlib.sha256(self.base.encode()).hexdigest()[:16]

    def path(self, table: str, round_: int, name: str) -> str:
        """The file of a shard, e.g. `answers/round=000/shard-00003.parquet`."""
        return f"{self.base}/{table}/round={round_:03d}/{name}.parquet"

    def write(self, table: str, round_: int, name: str, rows: Iterable[Mapping[str, Any]], footer: Row) -> None:
        """Publish rows as one file. `footer` is JSON kept under the key `pop` in the file's metadata."""
        schema = TABLES[table].schema.with_metadata({"pop": json.dumps(footer, sort_keys=True)})
        data = pa.Table.from_pylist([{**row, "run": self.run} for row in rows], schema=schema)
        buffer = io.BytesIO()
        level = self.compression_level
        pq.write_table(data, buffer, compression="zstd", compression_level=level, write_page_checksum=True)
        self.publish(self.path(table, round_, name), buffer.getvalue())

    def require(self) -> None:
        """See to it that this process may still write.

        Raises:
            DependencyError: the run was taken over, or its folder was removed.
        """
        if (lost := self.lost or self.still_there()) is not None:
            raise DependencyError(lost)

    def publish(self, path: str, content: bytes) -> None:
        """Make `path` exist with `content`, at once and durably (object store: one put)."""
        self.require()
        try:
            if not self.local:
                self.fs.pipe_file(path, content)
                return
            publish_local(Path(path), content)
        except OSError as error:
            raise unwritable(path, error) from None

    def read(self, table: str, round_: int, name: str, columns: Sequence[str] | None = None) -> list[Row]:
        """The rows of one shard.

        Raises:
            Damaged: the file does not hold what was written.
        """
        return self.read_file(self.path(table, round_, name), columns)

    def read_file(self, path: str, columns: Sequence[str] | None = None) -> list[Row]:
        """The rows of a file, wherever it lies; see `read`. Columns that it does not have yet are null."""
        table = TABLES.get(path.split("/")[-3])
        later = table.later if table else frozenset()
        try:
            # an object is fetched at once: between two parts of it, another whole one may have taken its place
            with self.fs.open(path, "rb") if self.local else io.BytesIO(self.fs.cat_file(path)) as handle:
                # read_table's threads, now and then, abort a process that ends right after it
                file = pq.ParquetFile(handle, page_checksum_verification=True, pre_buffer=False)
                there = set(file.schema_arrow.names)
                wanted = list(columns or file.schema_arrow.names)
                if unknown := set(wanted) - there - later:
                    raise KeyError(*unknown)
                read = file.read(columns=[name for name in wanted if name in there], use_threads=False)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise self._damaged(path, error) from error.__cause__  # which tells whose error it is
        grown = {name for name in later if "." not in name}  # fields of structs are null by themselves
        lacking = dict.fromkeys((grown if columns is None else grown & set(columns)) - there)
        rows: list[Row] = [row | lacking for row in read.to_pylist()]
        return rows

    def footer(self, table: str, round_: int, name: str) -> Row | None:
        """The provenance in a shard's footer, or None where the file is missing or is no such file."""
        try:
            return self.inspect(self.path(table, round_, name), table)
        except (Damaged, FileNotFoundError):
            return None

    def inspect(self, path: str, table: str) -> Row:
        """The provenance in a file's footer.

        Raises:
            Damaged: it is torn, has other columns than the table, or was not written by this project.
            FileNotFoundError: there is none.
        """
        try:
            with self.fs.open(path, "rb") as handle:
                metadata = pq.read_metadata(handle)
            columns = metadata.schema.to_arrow_schema().remove_metadata()
            footer = json.loads((metadata.metadata or {}).get(b"pop", b"null"))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._damaged(path, error) from error.__cause__  # which tells whose error it is
        if not isinstance(footer, dict):
            raise Damaged(self.within(path), "not written by pop")
        if not TABLES[table].holds(columns):
            raise Damaged(self.within(path), "not the columns of this version")
        return footer

    def _damaged(self, path: str, error: Exception) -> Exception:
        """What reading a file ended with: the disk's or the store's own errors are no word on the file. They have a
        number, or a class of their own: stores do not number what is not there, or what they refuse to show."""
        told = getattr(error, "errno", None) or (isinstance(error, OSError) and type(error) is not OSError)
        return error if told else Damaged(self.within(path), "torn")

    def within(self, path: str) -> str:
        """A path as it is under the run's folder."""
        return path.removeprefix(f"{self.base}/")

    def files(self, table: str, round_: int | None = None) -> list[str]:
        """Names (without suffix) of a table's files in a round, or full paths over all rounds, sorted."""
        if round_ is None:
            return self.glob(f"{table}/round=*/*.parquet")
        found = self.glob(f"{table}/round={round_:03d}/*.parquet")
        return sorted(path.rsplit("/", 1)[1].removesuffix(".parquet") for path in found)

    def glob(self, pattern: str) -> list[str]:
        """Full paths of what matches under the run, sorted; the run's own path may hold brackets."""
        return matching(self.fs, self.base, pattern)

    def set_aside(self, path: str, under: str = "superseded") -> None:
        """Take a file out of the readers' sight without losing it: into `superseded/`, under a name of its own."""
        stem, dot, suffix = self.within(path).rpartition(".")
        target = f"{self.base}/{under}/{stem}.{uuid.uuid4().hex[:8]}{dot}{suffix}"
        try:
            self.fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
            self.fs.mv(path, target)
        except OSError as error:
            raise unwritable(path, error) from None

    def manifest(self, path: str) -> Row | None:
        """A manifest; None where there is none, or what is there is no JSON object."""
        try:
            found = json.loads(self.fs.cat_file(path))
        except (FileNotFoundError, ValueError):  # UnicodeDecodeError is a ValueError
            return None
        return found if isinstance(found, dict) else None


def matching(fs: Any, base: str, pattern: str) -> list[str]:
    """Full paths of what matches below a folder, sorted.

    On a disk by Python's own glob: that of fsspec walks through everything down to the pattern's depth.
    """
    if "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)):
        return sorted(glob(f"{escape(base)}/{pattern}", include_hidden=True))  # noqa: PTH207  (Path's leaves hidden names out)
    return sorted(fs.glob(f"{escape(base)}/{pattern}"))


def publish_local(path: Path, content: bytes) -> None:
    """Make a file exist with `content`, whole and durable or not at all."""
    with publishing(path) as handle:
        handle.write(content)


@contextmanager
def publishing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which becomes `path` if all goes well: flushed to the disk and renamed from a temporary name
    beside it, which does not end in `.parquet`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the name, too
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)
