"""Shard: take documents from a corpus and cut them into shards, the units of work of every later stage."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.client.schemas.objects import State
from prefect.states import Completed

from schemas.config import CorpusConfig
from schemas.errors import CorpusUsedUp, UserError
from schemas.ids import content_id
from schemas.load import PROJECT
from schemas.names import expanded
from tasks.corpus import Selection, read, select
from tasks.corpus.drawing import draw
from tasks.corpus.files import files_of
from tasks.corpus.inputs import Input, inputs_of
from tasks.corpus.records import Record
from tasks.corpus.twins import Earlier
from tasks.staging.reuse import documents_of
from tasks.staging.stage import TASK_OPTIONS, Round
from tasks.storage.manifests import documents_manifest, documents_path, write_documents_manifest, write_manifest
from tasks.storage.remote import is_url
from tasks.storage.store import Row, Store

SAMPLES = PROJECT / "data" / "corpora"
REJECTED = "rejected-00000"
STAMP_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Shards:
    """What the shard stage made: names of the shards to work on, and counts for the funnel."""

    names: tuple[str, ...]
    documents: int
    counts: dict[str, int]


def corpus_source(source: str) -> str:
    """The path of a sample corpus, or the source as the user gave it."""
    sample = SAMPLES / f"{source}.jsonl"
    return str(sample) if there(sample) and not there(Path(source)) else source


def there(path: Path) -> bool:
    """Whether something is at a path; a name that is too long, or with a NUL in it, is at none, and no error."""
    return os.path.exists(path)  # noqa: PTH110


def corpus_stamp(config: CorpusConfig) -> str | None:
    """A hash that changes when a corpus does: of its content up to 256 MB, of sizes and times above that; in an object
    store of its listing. None for a dataset of the hub."""
    if is_url(config.source):
        files = [one for one in inputs_of(config.source, config) if isinstance(one, Input)]
        return content_id("listing", [(one.name, one.stamp) for one in files])
    path = expanded(corpus_source(config.source))
    if config.source.startswith("hf:") or not there(path):
        return None
    local = sorted(found for found in files_of(path) if isinstance(found, Path))
    return _stamp(local) if local else None


def known_stamp(config: CorpusConfig, known: str | None) -> str | None:
    """The stamp of a corpus, and the one that a round `known` before keeps if nothing has changed since.

    Stamps were once of every file below the folder. A round with such a stamp stands as long as those files, or all but
    the hidden ones of them, are what they were.
    """
    stamp = corpus_stamp(config)
    path = expanded(corpus_source(config.source))
    if known is None or stamp in (None, known) or not path.is_dir():
        return stamp
    try:
        every = sorted(file for file in path.rglob("*") if file.is_file())
        shown = [file for file in every if not any(part[:1] == "." for part in file.relative_to(path).parts)]
        return known if known in (_stamp(every), _stamp(shown)) else stamp
    except OSError:
        return stamp


def _stamp(files: Sequence[Path]) -> str:
    small = sum(_size(file) or 0 for file in files) <= STAMP_BYTES
    return content_id("corpus", [(file.name, _size(file), _mark(file, small)) for file in files])


def _size(file: Path) -> int | None:
    """None for a file that has gone since it was listed: a corpus may be in use by others."""
    try:
        return file.stat().st_size
    except OSError:
        return None


def _mark(file: Path, small: bool) -> str | int | None:
    try:
        if not small:
            return file.stat().st_mtime_ns
        with file.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError:  # without the rights to read it, it is a reject when its turn comes
        return None


def sample_documents(config: CorpusConfig, exclude: Sequence[str] = ()) -> Selection:
    """Draw documents and held-out documents as the configuration says.

    Raises:
        UserError: no such corpus, nothing readable in it, no document long enough.
    """
    selection = _selection(config, exclude)
    if error := unusable(config, selection):
        raise error
    return selection


def _selection(config: CorpusConfig, exclude: Sequence[str], earlier: Iterable[Earlier] = ()) -> Selection:
    if config.index is not None:
        return draw(expanded(config.index), corpus_source(config.source), config, exclude, earlier)
    return select(
        records_of(config), documents=config.documents, heldout_documents=config.heldout_documents,
        min_words=config.min_words, max_words=config.max_words, long_texts=config.long_texts,
        heldout_share=config.heldout_share, seed=config.seed, exclude=set(exclude), earlier=earlier,
    )  # fmt: skip


def records_of(config: CorpusConfig) -> Iterator[Record]:
    """What the corpus of a configuration holds, read as a round reads it.

    Raises:
        UserError: no such corpus, or nothing in it of a kind that can be read.
    """
    return read(
        corpus_source(config.source), text_column=config.text_column, title_column=config.title_column,
        hub_config=config.hub_config, hub_split=config.hub_split,
    )  # fmt: skip


def unusable(config: CorpusConfig, selection: Selection) -> UserError | None:
    """What to say where there is no document to train from: the commonest reasons, each with a file and line."""
    if any(row["status"] == "ok" and row["split"] == "train" for row in selection.rows):
        return None
    counts = ", ".join(f"{count} {status}" for status, count in sorted(selection.counts.items()))
    if selection.counts.get("excluded"):
        return CorpusUsedUp(
            f"the corpus is used up: every document of corpus.source={config.source} was drawn in an earlier round "
            f"({counts}); name a larger one, or begin another --run"
        )
    if config.heldout_share == 1:
        return UserError("corpus.heldout_share=1 keeps every document out of training: leave some to train on")
    reasons = "; ".join(
        f"{why.reason}" + f" (and {why.number - 1} like it)" * (why.number > 1) for why in selection.why
    )
    return UserError(
        f"corpus.source={config.source} gives no document to train from ({counts or 'it is empty'}): "
        + (f"{reasons}. " if reasons else "")
        + f"Look at corpus.min_words ({config.min_words}) and corpus.text_column ({config.text_column!r})"
    )


def shards_of(round_: Round) -> Shards | None:
    """What the shard stage has made, if its manifest and every file named in it are there and of these settings."""
    content = documents_manifest(round_.store, round_.plan.round)
    if content is None or content.get("fingerprint") != round_.plan.fingerprints["shard"]:
        return None
    if not all(round_.done("shard", name) for name in content["files"]):
        return None
    return Shards(tuple(content["shards"]), content["documents"], content["counts"])


def _set_aside_manifest(round_: Round) -> None:
    """Say what is wrong with the manifest of an earlier start, if anything is, and put it away."""
    store, path = round_.store, documents_path(round_.store, round_.plan.round)
    if not store.fs.exists(path):
        return
    content = store.manifest(path)
    if content is not None and content.get("fingerprint") == round_.plan.fingerprints["shard"]:
        missing = [name for name in content["files"] if not round_.done("shard", name)]
        round_.progress.say(f"{store.within(path)} names {missing[0]}, which is missing: set aside, to be made again")
    elif content is None:
        round_.progress.say(f"{store.within(path)} is no JSON: set aside, to be made again")
    store.set_aside(path)


@task(name="shard", task_run_name="shard the corpus", **TASK_OPTIONS)
def shard_task(round_: Round) -> dict[str, int] | State[dict[str, int]]:
    """corpus → documents: train shards, one file of held-out documents, one of what was left out. Manifest last."""
    plan, store = round_.plan, round_.store
    if shards_of(round_) is not None:
        round_.progress.shard("shard", reused=True)
        return Completed(name="Reused", message="the corpus is cut already")
    if "shard" in plan.reused:
        files, shards = documents_of(plan, store)
    else:
        files, shards = _drawn(round_)
    _set_aside_manifest(round_)
    round_.reconcile()  # not before the corpus was read: a mistyped one must not cost what is there
    for name, rows in files.items():
        store.write("documents", plan.round, name, rows, plan.footer("shard") | {"shard": name})
    content = {"fingerprint": plan.fingerprints["shard"], "files": sorted(files)} | shards
    write_documents_manifest(store, plan.round, content)
    round_.progress.shard("shard", reused=False)
    return {"shards": len(shards["shards"]), "documents": shards["documents"]}


def _show_rejects(round_: Round, selection: Selection) -> None:
    """Write the table of what was left out, so that it can be asked why; never in the place of a round's documents."""
    plan, store = round_.plan, round_.store
    rejects = [row for row in selection.rows if row["status"] != "ok"]
    if rejects and set(store.files("documents", plan.round)) <= {REJECTED}:
        store.write("documents", plan.round, REJECTED, rejects, plan.footer("shard") | {"shard": REJECTED})
        write_manifest(store, plan.round, plan.manifest())  # a run without one is none that can be asked
        query = "select status, source, reason from documents"
        round_.progress.say(f'every reason is in the table: pop sql --run {plan.run} "{query}"')


def _drawn(round_: Round) -> tuple[dict[str, list[Any]], Row]:
    """The rows of each file, and what the manifest says of the shards; no document of an earlier round again."""
    plan, store = round_.plan, round_.store
    used = [row["document_id"] for r in range(plan.round) for name in store.files("documents", r)
            for row in store.read("documents", r, name, ["document_id"])]  # fmt: skip
    selection = _selection(plan.config.corpus, used, _earlier(store, plan.round))
    if error := unusable(plan.config.corpus, selection):
        if not isinstance(error, CorpusUsedUp):  # that one ends a run as it should, and begins no round
            _show_rejects(round_, selection)
        raise error
    size = plan.config.corpus.documents_per_shard
    train = [row for row in selection.rows if row["status"] == "ok" and row["split"] == "train"]
    files: dict[str, list[Any]] = {f"shard-{i // size:05d}": train[i : i + size] for i in range(0, len(train), size)}
    shards: Row = {"shards": list(files), "documents": len(train), "counts": dict(selection.counts)}
    files["heldout-00000"] = [row for row in selection.rows if row["status"] == "ok" and row["split"] == "heldout"]
    files[REJECTED] = [row for row in selection.rows if row["status"] != "ok"]
    return files, shards


def _earlier(store: Store, round_: int) -> Iterator[Earlier]:
    """The documents that earlier rounds have trained on or held out."""
    for number in range(round_):
        for name in store.files("documents", number):
            for row in store.read("documents", number, name, ["source", "text", "split", "status"]):
                if row["status"] == "ok":
                    yield Earlier(row["source"], row["text"], row["split"])
