"""Finding what a corpus is made of, and streaming it: nothing is held but the record at hand."""

import difflib
import itertools
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from schemas.errors import UserError
from tasks.corpus.hub import read_hub
from tasks.corpus.jsons import read_json, read_jsonl
from tasks.corpus.plaintext import read_text
from tasks.corpus.records import BadRecord, Columns, Record
from tasks.corpus.tables import read_csv, read_parquet

HUB = "hf:"
SAMPLES = Path(__file__).resolve().parents[2] / "data" / "corpora"
Reader = Callable[[Path, str, Columns], Iterator[Record]]
_READERS: dict[str, Reader] = {
    ".txt": read_text,
    ".md": read_text,
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".parquet": read_parquet,
}
_KINDS = ", ".join(_READERS) + " (all but Parquet also as .gz)"


def read(
    source: str,
    *,
    text_column: str = "text",
    title_column: str | None = "title",
    hub_config: str | None = None,
    hub_split: str = "train",
) -> Iterator[Record]:
    """The documents of a file, of a folder and all below it, or of `hf:owner/name`, one at a time.

    A source that is not there is told at once; what is wrong inside a file, when the file's turn comes. Files are read
    in the order of their names.

    Raises:
        UserError: nothing there to read, or no such column; one line that names the mend.
    """
    if not source.removeprefix(HUB).strip():
        raise UserError("no corpus is named: it takes a file, a folder or hf:owner/name")
    columns = Columns(text_column, title_column)
    if source.startswith(HUB):
        return read_hub(source.removeprefix(HUB), columns, hub_config, hub_split)
    path = Path(source).expanduser()
    return itertools.chain.from_iterable(_read_file(file, _name(file, path), columns) for file in _files(path))


def _files(path: Path) -> Iterator[Path]:
    """The readable files; the first is looked for right away."""
    if not path.exists():
        raise _missing(path)
    if path.is_dir():
        below = (file for file in _walk(path) if _reader(file))
        first = next(below, None)
        if first is None:
            raise UserError(f"{path} has no file that can be read: {_KINDS}")
        return itertools.chain([first], below)
    if not _reader(path):
        raise UserError(f"{path} is of no kind that can be read: {_KINDS}")
    return iter([path])


def _walk(folder: Path) -> Iterator[Path]:
    """All files below, sorted; hidden ones are not the user's text (.git, .ipynb_checkpoints, .DS_Store)."""
    for at, folders, files in os.walk(folder, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (path for name in sorted(files) if not name.startswith(".") and (path := Path(at, name)).is_file())


def _unreadable(error: OSError) -> None:
    """A folder that cannot be listed is told: its files would be missing without a word."""
    raise UserError(f"{error.filename} cannot be read: {error.strerror}; check its rights") from error


def _reader(path: Path) -> Reader | None:
    suffix = path.suffix.lower()
    unpacked = Path(path.stem).suffix.lower() if suffix == ".gz" else suffix
    return None if suffix == ".gz" and unpacked == ".parquet" else _READERS.get(unpacked)


def _name(file: Path, corpus: Path) -> str:
    """A file within its corpus, in characters that every table can hold."""
    name = file.name if file == corpus else file.relative_to(corpus).as_posix()
    return name.encode(errors="surrogateescape").decode(errors="replace")


def _read_file(path: Path, name: str, columns: Columns) -> Iterator[Record]:
    reader = _reader(path)
    assert reader is not None
    try:
        yield from reader(path, name, columns)
    except (EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise UserError(f"{name} cannot be read: {error.strerror}; check the file and its rights") from error
        yield BadRecord(name, "malformed", f"{name} is damaged, the rest of it is not read: {error}")  # gzip, Arrow


def _missing(path: Path) -> UserError:
    """No such corpus: names what is closest to it beside it, or among the samples."""
    samples = sorted(SAMPLES.iterdir()) if SAMPLES.is_dir() else []
    beside = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    known = {name: there for there in [*samples, *beside] for name in (there.name, there.stem)}
    close = difflib.get_close_matches(path.name, known, n=1)
    if close:
        return UserError(f"no such corpus: {path}; did you mean {_shown(known[close[0]])}?")
    listed = ", ".join(_shown(sample) for sample in samples)
    return UserError(
        f"no such corpus: {path}; name a file, a folder or hf:owner/name" + f" (samples: {listed})" * bool(listed)
    )


def _shown(path: Path) -> str:
    """A path as one would type it here."""
    return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else str(path)
