"""The models of a run: who came from whom, what was decided, which one stands, and whose weights are kept.

`decisions` is the truth, a file each, in order of their number; the statuses in `models` follow from it and are brought
up to date by `settle` at every start, so that a kill between the two writes costs nothing.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from schemas.errors import UserError
from schemas.ids import content_id
from schemas.load import did_you_mean
from schemas.version import package_version
from tasks.models.contents import MANIFEST
from tasks.models.fetching import forget
from tasks.models.gate import Decision
from tasks.models.weights import weight_files, weights_hash
from tasks.storage.places import TRAINING, at, below_root, located
from tasks.storage.remote import is_url
from tasks.storage.store import Row, Store

STATUS = {"promote": "promoted", "hold": "held", "roll_back": "rolled_back"}
BASE = "base"  # the name of the model that a run began with
MODELS_FILE = "shard-00000"
LISTED = 12
_OR_ANOTHER = "put back what was there, or go on from another one with `pop promote` or `pop rollback`"
FEWEST = 6  # letters of an id: fewer may be a number that somebody meant as a round


@dataclass(frozen=True)
class Standing:
    """The model that the next round starts from; `path` is None for the one that the run began with."""

    model_id: str | None = None
    path: str | None = None


def known_models(store: Store) -> list[Row]:
    """The rows of `models` over all rounds, oldest first, each with its `round` and where it is now."""
    found = []
    for path in store.files("models"):
        number = int(path.split("/")[-2].removeprefix("round="))
        found += [row | {"round": number, "path": located(store, row["path"])} for row in store.read_file(path)]
    return found


def decisions(store: Store) -> list[Row]:
    """Every decision, oldest first, each with its `round`."""
    paths = sorted(store.files("decisions"), key=lambda path: path.rsplit("/", 1)[1])
    return [
        row | {"round": int(path.split("/")[-2].removeprefix("round="))}
        for path in paths for row in store.read_file(path)
    ]  # fmt: skip


def standing(store: Store) -> Standing:
    """What the last decision left standing."""
    if not (made := decisions(store)):
        return Standing()
    path = made[-1]["standing_path"]
    return Standing(made[-1]["standing_model_id"], path and located(store, path))


def require_standing(store: Store) -> Standing:
    """The model that stands, if it is still what it was when that was decided.

    Raises:
        UserError: its round was made again with other settings, or its weights are gone.
    """
    now = standing(store)
    if now.path is not None:
        if now.model_id not in {row["model_id"] for row in known_models(store)}:
            raise UserError(
                f"{now.model_id}, which stands in {store.run}, was made anew by its round: say from which one to go on "
                f"with `pop promote` (pop models --run {store.run})"
            )
        _require_weights(store, now.model_id or "", now.path)
    return now


def gate_decision(store: Store, number: int, model_id: str | None) -> Row | None:
    """The gate's decision on a round's model, if it is made."""
    mine = [row for row in decisions(store) if row["round"] == number and row["by"] == "gate"]
    return next((row for row in reversed(mine) if row["model_id"] == model_id), None)


def asked_of_standing(store: Store) -> int:
    """How many candidates the gate has judged against the model that stands; a promotion begins anew."""
    asked = 0
    for row in decisions(store):
        asked = 0 if row["decision"] == "promote" else asked + (row["by"] == "gate" and row["value"] is not None)
    return asked


def record(store: Store, number: int, model: Row | None, decision: Decision, by: str, after: Standing) -> Row:
    """Write a decision down, then bring `models` up to date; returns its row."""
    # by the last one's name: where a file is lost, none that is there is written over
    names = [path.rsplit("/", 1)[1] for path in store.files("decisions")]
    order = max((int(name.split("-")[0]) + 1 for name in names), default=0)
    row: Row = asdict(decision) | {
        "decision_id": content_id("decision", order, number, model and model["model_id"], decision.decision),
        "model_id": model["model_id"] if model else None, "by": by, "standing_model_id": after.model_id,
        "standing_path": after.path and below_root(store, after.path),
        "parent_model_id": model["parent_model_id"] if model else None,
        "guards": [asdict(guard) for guard in decision.guards],
        "decided": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }  # fmt: skip
    footer = {"stage": "decide", "fingerprint": row["decision_id"], "version": package_version()}
    store.write("decisions", number, f"{order:05d}-{by}", [row], footer)
    settle(store)
    return row


def settle(store: Store) -> None:
    """Give every model the status of the last decision on it."""
    last = {row["model_id"]: row for row in decisions(store)}
    for row in known_models(store):
        found = last.get(row["model_id"])
        if found and (row["status"], row["reason"]) != (STATUS[found["decision"]], found["reason"]):
            number = row.pop("round")
            footer = store.footer("models", number, MODELS_FILE)
            assert footer is not None
            changed = row | {"status": STATUS[found["decision"]], "reason": found["reason"]}
            changed["path"] = below_root(store, row["path"])
            store.write("models", number, MODELS_FILE, [changed], footer)


def find(store: Store, wanted: str) -> Row:
    """A model by its round, or by its id or at least six letters of its beginning.

    Raises:
        UserError: there is none, or several; the text lists what there is.
    """
    models, wanted = known_models(store), wanted.strip()
    if wanted.isdecimal() and len(wanted) < FEWEST:
        hits, what = [row for row in models if row["round"] == int(wanted)], f"the round {int(wanted)} has no model"
    elif len(wanted) < FEWEST:
        hits, what = [], f"{wanted!r} is no round, and too short for an id ({FEWEST} letters at least)"
    else:
        hits = [row for row in models if row["model_id"].startswith(wanted)]
        what = f"no id begins with {wanted!r}{did_you_mean(wanted, [row['model_id'] for row in models])}"
    if len(hits) == 1:
        return hits[0]
    if hits:
        what = f"{len(hits)} models are meant by {wanted!r}"
    known = ", ".join(f"round {row['round']}: {row['model_id'][:8]}" for row in models[-LISTED:]) or "none"
    more = f"the newest {LISTED} of {len(models)}: " if len(models) > LISTED else ""
    raise UserError(f"{store.run}: {what}; models: {more}{known} (pop models --run {store.run})")


def parent_of(store: Store, row: Row) -> Standing:
    """The model that a model was trained from: another one of this run, or the one that the run began with."""
    for other in known_models(store):
        if other["weights_sha256"] and _source(row) == f"weights:{other['weights_sha256'][:24]}":
            return Standing(other["model_id"], other["path"])
    return Standing(row["parent_model_id"], None)


def _source(row: Row) -> str:
    """The parent of a model by its weights, without what it was asked with."""
    return str(row["parent_model_id"]).split(";")[0]


def promote(store: Store, wanted: str) -> Row:
    """The user's promotion: the next round starts from that model, whatever the gate said.

    Raises:
        UserError: there is no such model, or its weights were removed.
    """
    row = find(store, wanted)
    _require_weights(store, row["model_id"], row["path"])
    decision = Decision("promote", "promoted by hand", "by hand")
    return record(store, row["round"], row, decision, "user", Standing(row["model_id"], row["path"]))


def rollback(store: Store) -> Row:
    """The user's step back: from the model that stands to the one that it was trained from.

    Raises:
        UserError: the run stands at the model that it began with, or the parent or its weights are gone.
    """
    now = standing(store)
    if now.path is None or now.model_id is None:
        raise UserError(f"{store.run} stands at the model that it began with: there is nothing to roll back")
    row = find(store, now.model_id)
    before = parent_of(store, row)
    if before.path:
        _require_weights(store, before.model_id or "", before.path)
    elif _source(row) != _source(known_models(store)[0]):  # and not that of the run's first model either
        raise UserError(
            f"{now.model_id} was trained from {_source(row)}, which was made anew since: say which one is to stand "
            f"with `pop promote` (pop models --run {store.run})"
        )
    decision = Decision("roll_back", "rolled back by hand", "by hand")
    return record(store, row["round"], row, decision, "user", before)


def _require_weights(store: Store, model_id: str, path: str) -> None:
    """See to it that a model is what was measured: all of it there, and its weights those that it is known by.

    In an object store its manifest tells, and who fetches it compares.
    """
    if has_weights(store, path):
        if not is_url(path):
            _require_same(store, model_id, Path(path))
        return
    if not store.local and not is_url(path):
        raise UserError(
            f"the weights of {model_id} are in {path} on the machine that trained it, and not in {store.root}: the "
            "same round again, there, sends them"
        )
    raise UserError(f"the weights of {model_id} are not in {path} any more (gate.keep_unpromoted): {_OR_ANOTHER}")


def _require_same(store: Store, model_id: str, folder: Path) -> None:
    known = next((row["weights_sha256"] for row in known_models(store) if row["model_id"] == model_id), None)
    if not (folder / "config.json").exists():
        raise UserError(f"{folder} of {model_id} has no config.json any more: {_OR_ANOTHER}")
    if known is not None and weights_hash(folder) != known:
        raise UserError(f"the weights in {folder} are not those of {model_id} any more: {_OR_ANOTHER}")


def has_weights(store: Store, path: str) -> bool:
    """Whether a model's weights are where a run says that they are; nothing of them is read."""
    return bool(_weights_at(store, path))


def _weights_at(store: Store, path: str) -> list[str]:
    """The paths of a model's weight files, after that of its manifest in an object store."""
    if not is_url(path):
        return [str(file) for file in weight_files(Path(path))]
    try:
        names = store.fs.ls(folder := at(store, path), detail=False)
    except FileNotFoundError:
        return []
    found = sorted(name for name in names if name.endswith(".safetensors"))
    return [name for name in names if found and name == f"{folder}/{MANIFEST}"] + found


def prune(store: Store, keep: int) -> list[str]:
    """Remove the weights of all but the newest `keep` models that were not promoted; returns their folders.

    Promoted models stay, also those that were rolled back by hand, and so does what stands; configuration, tokenizer
    and the row in `models` stay of every one.
    """
    made, models = decisions(store), known_models(store)
    kept = {row["model_id"] for row in made if row["decision"] == "promote"} | {standing(store).model_id}
    candidates = [row for row in models if row["status"] in ("held", "rolled_back") and row["model_id"] not in kept]
    removed = []
    for row in sorted(candidates, key=lambda row: -row["round"])[keep:]:
        if files := _weights_at(store, row["path"]) if _own(store, row["path"]) else []:
            _remove(store, row, files)
            removed.append(row["path"])
    return removed


def _own(store: Store, path: str) -> bool:
    """Whether a model lies in the run itself, and not in that of a root which this one is a copy of."""
    return path.startswith((f"{store.workdir}/", f"{store.root.rstrip('/')}/{store.run}/"))


def _remove(store: Store, row: Row, files: Sequence[str]) -> None:
    """Remove a model's weights; in an object store its manifest goes first, and this machine's copies last."""
    if is_url(row["path"]):
        for file in files:
            store.fs.rm_file(file)
        forget(row["path"])
        files = [str(file) for file in weight_files(store.workdir / TRAINING / f"round={row['round']:03d}" / "model")]
    for file in files:
        Path(file).unlink()


def lineage(store: Store) -> list[Row]:
    """What `pop models` shows: every model with its parent's name, what was measured last, and what stands."""
    now = standing(store)
    last = {row["model_id"]: row for row in decisions(store)}
    rows: Sequence[Row] = known_models(store)
    found: list[Row] = []
    for row in rows:
        parent, decided = parent_of(store, row), last.get(row["model_id"], {})
        found.append({
            "round": row["round"], "model_id": row["model_id"], "parent": parent.model_id if parent.path else BASE,
            "status": row["status"], "stands": row["model_id"] == now.model_id, "value": decided.get("value"),
            "low": decided.get("low"), "high": decided.get("high"), "metric": decided.get("metric"),
            "weights": has_weights(store, row["path"]), "path": row["path"], "reason": row["reason"],
        })  # fmt: skip
    return found


def stands_at_base(store: Store) -> bool:
    """Whether the run stands at the model that it began with."""
    return standing(store).path is None
