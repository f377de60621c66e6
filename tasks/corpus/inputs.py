"""What a source is read from, one thing after the other, each with a mark that changes when its content does."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from schemas.config import CorpusConfig
from tasks.corpus.files import name_of
from tasks.corpus.hub import read_hub, revision_of
from tasks.corpus.readers import HUB, corpus_at, files_below, read_file
from tasks.corpus.records import BadRecord, Columns, Record
from tasks.corpus.remote import File, Remote


@dataclass(frozen=True)
class Input:
    """A file, or a dataset of the hub.

    Attributes:
        name: within the corpus; no two have the same.
        stamp: size and time of the last change of a file (in an object store its own mark), the revision of a dataset.
        path: None for a dataset.
    """

    name: str
    stamp: str
    path: File | None
    records: Callable[[], Iterator[Record]]


def columns_of(config: CorpusConfig) -> Columns:
    """Where the settings say that tables keep their texts."""
    return Columns(config.text_column, config.title_column)


def inputs_of(source: str, config: CorpusConfig) -> Iterator[Input | BadRecord]:
    """The inputs of a source in the order in which a round reads them, then why other files are not read.

    Raises:
        UserError: nothing there to read.
    """
    columns = columns_of(config)
    if source.startswith(HUB):
        name = source.removeprefix(HUB)
        records = partial(read_hub, name, columns, config.hub_config, config.hub_split)
        yield Input(f"{HUB}{name}", revision_of(name), None, records)
        return
    path = corpus_at(source)
    for found in files_below(path):
        if isinstance(found, BadRecord):
            yield found
        else:
            yield Input(name_of(found, path), _stamp(found), found, partial(read_file, found, path, columns))


def _stamp(file: File) -> str:
    if isinstance(file, Remote):
        return file.stamp
    try:
        status = file.stat()
    except OSError as error:  # it becomes a reject when its turn comes
        return f"cannot be looked at: {error.strerror}"
    return f"{status.st_size} bytes, {status.st_mtime_ns}"
