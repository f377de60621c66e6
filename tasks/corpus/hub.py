"""Datasets on the Hugging Face hub, or a local folder in a form that `datasets` loads, streamed."""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from schemas.errors import DependencyError, PopError, UserError
from schemas.ids import content_id
from schemas.names import expanded
from tasks.corpus.csvs import no_column
from tasks.corpus.records import Columns, Place, Record, from_row
from tasks.storage.hub import hub_error, line


def read_hub(name: str, columns: Columns, config: str | None, split: str) -> Iterator[Record]:
    """One document a row of a split.

    Raises:
        UserError: no such dataset, configuration, split or column.
        DependencyError: `datasets` is not installed, or the hub cannot be reached.
    """
    local = _local(name)
    rows = _rows(_load(str(local) if local else name, name, config, split), name)
    shown = f"hf:{local.resolve().name if local else name}/{split}"
    first = next(rows, None)
    if first is not None and columns.text not in first:
        raise UserError(f"the dataset {name} {no_column(columns, list(first))}")
    every = itertools.chain([] if first is None else [first], rows)
    return (from_row(Place(shown, "row", number), row, columns) for number, row in enumerate(every, 1))


def _local(name: str) -> Path | None:
    """The folder that a name means; None for a name on the hub."""
    path = expanded(name)
    if path.exists():
        return path
    if name.startswith((".", "/", "~")):
        raise UserError(f"no such folder: {name}; hf: takes a dataset's owner/name on the hub, or a folder")
    return None


def _rows(dataset: Iterable[Mapping[str, object]], name: str) -> Iterator[Mapping[str, object]]:
    rows = iter(dataset)
    for number in itertools.count(1):
        try:
            row = next(rows, None)
        except Exception as error:  # `datasets` passes on whatever its many readers and the network raise
            if isinstance(refusal := hub_error(error, f"the dataset {name}"), UserError):
                raise refusal from error
            raise DependencyError(f"{name} broke off at row {number}: {line(error)}; start again to retry") from error
        if row is None:
            return
        yield row


def _load(path: str, name: str, config: str | None, split: str) -> Iterable[Mapping[str, object]]:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when datasets is imported
    try:
        import datasets
    except ImportError as error:
        raise DependencyError("reading from the hub needs the package datasets: pip install datasets") from error
    datasets.disable_progress_bars()
    try:
        loaded: Iterable[Mapping[str, object]] = datasets.load_dataset(path, name=config, split=split, streaming=True)
    except Exception as error:
        raise _explained(error, name, config, split) from error
    return loaded


def _explained(error: Exception, name: str, config: str | None, split: str) -> PopError:
    """What went wrong, and the mend, by the kinds of errors that `datasets` has."""
    said = line(error)
    kind = type(error).__name__
    if kind == "DatasetNotFoundError":
        return hub_error(error, f"the dataset {name}")
    if kind in ("EmptyDatasetError", "DataFilesNotFoundError"):
        return UserError(f"{name} has no data files that datasets can load: {said}")
    if isinstance(error, ValueError) and "split" in said.lower():
        return UserError(f"{name} has no split {split!r}, set corpus.hub_split: {said}")
    if isinstance(error, ValueError) and "config" in said.lower():
        return UserError(f"{name} has no configuration {config!r}, set corpus.hub_config: {said}")
    if isinstance(error, OSError):
        return hub_error(error, f"the dataset {name}")
    return UserError(f"{name} cannot be loaded by datasets: {said}")


def revision_of(name: str) -> str:
    """A mark that changes when a dataset does: its commit on the hub, or names, sizes and times of a folder's files.

    Raises:
        DependencyError: the hub does not tell.
    """
    local = _local(name)
    if local:
        files = sorted(file for file in local.rglob("*") if file.is_file()) if local.is_dir() else [local]
        told = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return content_id("folder", told)
    try:
        from huggingface_hub import HfApi

        return str(HfApi().dataset_info(name).sha)
    except Exception as error:  # whatever its client and the network raise
        raise DependencyError(f"the hub does not tell which revision {name} has: {line(error)}") from error
