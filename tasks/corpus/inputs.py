"""What a source is read from, one thing after the other, each with a mark that changes when its content does."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from schemas.config import CorpusConfig
from schemas.names import expanded
from tasks.corpus.files import name_of
from tasks.corpus.hub import read_hub, revision_of
from tasks.corpus.readers import HUB, files_below, read_file
from tasks.corpus.records import BadRecord, Columns, Record


@dataclass(frozen=True)
class Input:
    """A file, or a dataset of the hub.

    Attributes:
        name: within the corpus; no two have the same.
        stamp: size and time of the last change of a file, the revision of a dataset.
        path: None for a dataset.
    """

    name: str
    stamp: str
    path: Path | None
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
    path = expanded(source)
    for found in files_below(path):
        if isinstance(found, BadRecord):
            yield found
        else:
            yield Input(name_of(found, path), _stamp(found), found, partial(read_file, found, path, columns))


def _stamp(file: Path) -> str:
    try:
        status = file.stat()
    except OSError as error:  # it becomes a reject when its turn comes
        return f"cannot be looked at: {error.strerror}"
    return f"{status.st_size} bytes, {status.st_mtime_ns}"
