"""Finding what a corpus is made of, and streaming it: nothing is held but the record at hand."""

import difflib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from schemas.errors import UserError
from schemas.names import expanded
from tasks.corpus.csvs import read_csv
from tasks.corpus.disguises import disguise_of
from tasks.corpus.files import LINES, PAGES, SAID_KINDS, TEXTS, files_of, kind_of, name_of
from tasks.corpus.hub import read_hub
from tasks.corpus.jsons import read_json, read_jsonl
from tasks.corpus.plaintext import read_text
from tasks.corpus.records import BadRecord, Columns, Record, damaged
from tasks.corpus.remote import File, Place, place
from tasks.corpus.streams import DamagedFile
from tasks.corpus.tables import read_arrow, read_parquet
from tasks.corpus.webpages import read_html
from tasks.storage.remote import is_url

HUB = "hf:"
SAMPLES = Path(__file__).resolve().parents[2] / "data" / "corpora"
Reader = Callable[[File, str, Columns], Iterator[Record]]
_READERS: dict[str, Reader] = {
    **dict.fromkeys(TEXTS, read_text),
    **dict.fromkeys(PAGES, read_html),
    **dict.fromkeys(LINES, read_jsonl),
    **dict.fromkeys((".csv", ".tsv"), read_csv),
    **dict.fromkeys((".arrow", ".feather"), read_arrow),
    ".json": read_json,
    ".parquet": read_parquet,
}


def read(
    source: str,
    *,
    text_column: str = "text",
    title_column: str | None = "title",
    hub_config: str | None = None,
    hub_split: str = "train",
) -> Iterator[Record]:
    """The documents of a file, of a folder and all below it (here or at a URL), or of `hf:owner/name`, one at a time.

    A source that is not there is told at once. What is wrong inside a file, or with a whole one, is a `BadRecord` among
    the others. Files are read in the order of their names.

    Raises:
        UserError: nothing there to read, or a dataset on the hub has no such column; one line that names the mend.
    """
    if not source.removeprefix(HUB).strip():
        raise UserError("no corpus is named: it takes a file, a folder, its URL or hf:owner/name")
    columns = Columns(text_column, title_column)
    if source.startswith(HUB):
        return read_hub(source.removeprefix(HUB), columns, hub_config, hub_split)
    path = corpus_at(source)
    return itertools.chain.from_iterable(read_file(file, path, columns) for file in files_below(path))


def corpus_at(source: str) -> Path | Place:
    """Where a corpus lies: here, or in an object store."""
    return place(source) if is_url(source) else expanded(source)


def files_below(path: Path | Place) -> Iterator[File | BadRecord]:
    """What is to be read of a source, or not; the first that is to be is looked for right away.

    Raises:
        UserError: nothing is there, or nothing of a kind that can be read.
    """
    if isinstance(path, Path):
        if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises where a name is too long, or holds a NUL
            raise _missing(path)
        if path.is_file() and not kind_of(path):
            raise UserError(f"{path} is of no kind that can be read: {SAID_KINDS}")
    found = files_of(path)
    first = next(found, None)
    if first is None:
        raise UserError(f"{path if isinstance(path, Path) else path.url} has no file that can be read: {SAID_KINDS}")
    return itertools.chain([first], found)


def read_file(found: File | BadRecord, corpus: Path | Place, columns: Columns) -> Iterator[Record]:
    """The records of a file, at least one; what ends its reading is the last of them."""
    if isinstance(found, BadRecord):
        yield found
        return
    name, record, kind, first = name_of(found, corpus), None, kind_of(found) or "", True
    try:
        for record in _READERS[kind](found, name, columns):
            if first and isinstance(record, BadRecord) and (other := disguise_of(found, kind)):
                yield damaged(name, f"is {other}")
                return
            first = False
            yield record
        if record is None:
            yield BadRecord(name, "empty", f"{name} has no rows")
    except DamagedFile as error:
        yield damaged(name, f"is damaged, the rest of it is not read: {error}")
    except OSError as error:
        yield damaged(name, f"cannot be read: {error.strerror or error}; check the file and its rights")


def _missing(path: Path) -> UserError:
    """No such corpus: names what is closest to it beside it, or among the samples."""
    if os.path.islink(path):  # noqa: PTH114 - as above
        return UserError(f"no such corpus: {path} is a link to {os.readlink(path)}, where nothing is")  # noqa: PTH115
    samples = sorted(SAMPLES.iterdir()) if SAMPLES.is_dir() else []
    beside = sorted(path.parent.iterdir()) if os.path.isdir(path.parent) else []  # noqa: PTH112 - as above
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
