"""What earlier starts left behind, put in order before a round goes on: no reader ever sees a stale or a torn file.

Files are set aside (`superseded/`), never deleted: the calls to a model that they hold are used again where the very
same call is asked for. Only a round that holds the run's lock may do this; mere readers change nothing.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

from schemas.errors import UserError
from schemas.load import did_you_mean
from schemas.tables import TABLES
from tasks.engine.protocol import Generation
from tasks.staging.plan import READS, ROLE_OF, STAGES, TABLE_OF, Plan, changed_settings, followers
from tasks.storage.store import Damaged, Row, Store

Say = Callable[[str], None]
FORCED = "superseded/forced"  # here nobody looks for calls to use again
_ALSO = {"preferences": "pair", "training_steps": "train", "unfit_pairs": "train"}
_STAGE_OF = {table: stage for stage, table in TABLE_OF.items()} | _ALSO


@dataclass(frozen=True)
class Found:
    """A file of the round: whose it is, and its footer or what is wrong with it."""

    table: str
    name: str
    path: str
    stage: str | None
    footer: Row | None
    damage: str | None = None

    @property
    def shard(self) -> str:
        """Its shard; `generations` has a file a shard and stage."""
        return self.name.split(".")[0]


def reconcile(store: Store, plan: Plan, force: str | None, say: Say) -> set[tuple[str, str]]:
    """Set aside what does not belong to this plan (or is forced), and say so; returns (stage, shard) of what is done.

    Raises:
        UserError: `force` names no stage.
    """
    if force is not None and force not in STAGES:
        known = list(STAGES)
        raise UserError(f"--force {force}: no such stage{did_you_mean(force, known)}; stages: {', '.join(known)}")
    remove_temporaries(store)
    forced = followers(plan.config, [force]) if force else set[str]()
    if forced:
        _set_aside_calls(store, plan, forced)
    found = survey(store, plan.round)
    whole = [file for file in found if not file.damage]
    stale = [file for file in whole if _is_stale(plan, file)]
    fresh = [file for file in whole if not _is_stale(plan, file)]
    unwanted = [file for file in fresh if file.stage in forced]
    left = [file for file in fresh if file.stage not in forced]
    orphaned = _orphaned(plan, left)
    for file in found:
        if file.damage:
            store.set_aside(file.path)
            say(f"{store.within(file.path)} is {file.damage}: set aside, to be made again")
    for files, under, why in (
        (stale, "superseded", because(plan, stale)), (unwanted, FORCED, f"--force {force}"),
        (orphaned, "superseded", "what they were made from is gone"),
    ):  # fmt: skip
        for file in files:
            store.set_aside(file.path, under)
        if files:
            say(f"set aside {_counted(files)}: {why}")
    gone = {file.path for file in orphaned}
    done = {(file.stage, file.shard) for file in left if file.stage and file.table == TABLE_OF.get(file.stage)
            and file.path not in gone}  # fmt: skip
    _remove_finished_journals(store, plan, done)
    return done


def survey(store: Store, round_: int) -> list[Found]:
    """Every file of a round's tables, its footer read."""
    paths = store.glob(f"*/round={round_:03d}/*.parquet")
    known = [path for path in paths if path.split("/")[-3] in TABLES]
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda path: _look(store, path), known))


def _look(store: Store, path: str) -> Found:
    table, name = path.split("/")[-3], path.rsplit("/", 1)[1].removesuffix(".parquet")
    stage = name.split(".")[-1] if table == "generations" else _STAGE_OF.get(table)
    try:
        footer = store.inspect(path, table)
    except Damaged as damage:
        return Found(table, name, path, stage, None, damage.why)
    if not isinstance(footer.get("fingerprint"), str):
        return Found(table, name, path, stage, None, "without provenance")
    return Found(table, name, path, footer.get("stage", stage), footer)


def _is_stale(plan: Plan, file: Found) -> bool:
    """Whether other settings made it. What belongs to no stage of this plan is not its business."""
    wanted = plan.fingerprints.get(file.stage or "")
    return bool(file.footer and wanted and file.footer["fingerprint"] != wanted)


def _orphaned(plan: Plan, files: list[Found]) -> list[Found]:
    """Files whose inputs are lost together with the calls that would give the very same rows again."""
    there = {(file.table, file.name) for file in files}
    gone: set[tuple[str, str]] = set()
    for shard in {file.shard for file in files if file.stage in ROLE_OF or file.stage == "pair"}:
        lost = [
            stage for stage in ROLE_OF
            if (TABLE_OF[stage], shard) not in there and ("generations", f"{shard}.{stage}") not in there
        ]  # fmt: skip
        gone |= {(stage, shard) for stage in followers(plan.config, lost) if lost}
    trained = any(stage == "train" for stage, _ in gone)
    return [file for file in files if (file.stage, file.shard) in gone or (trained and file.stage == "train")]


def because(plan: Plan, files: Iterable[Found]) -> str:
    """The settings by which these files differ from the plan."""
    names: Counter[str] = Counter()
    for file in files:
        if file.footer and file.stage:
            names.update(set(differences(plan, file.stage, file.footer)))
    own = [name for name, _ in names.most_common() if not name.endswith(" changed")]
    return ", ".join(own[:4] or list(names)[:1]) + (" …" if len(own) > 4 else "") + " changed" * bool(own)


def differences(plan: Plan, stage: str, footer: Row) -> list[str]:
    """The names of the settings that differ; where none does, which stages before it changed."""
    changed = list(changed_settings(footer.get("settings") or {}, plan.settings[stage]))
    inputs = footer.get("inputs") or {}
    before = [f"{name} changed" for name in READS[stage] if inputs.get(name) != plan.fingerprints[name]]
    return changed or before or [f"{stage} changed"]


def _counted(files: list[Found]) -> str:
    tables = [file.table for file in files]
    return f"{len(files)} files ({', '.join(dict.fromkeys(t for t in TABLES if t in tables))})"


def _set_aside_calls(store: Store, plan: Plan, stages: Collection[str]) -> None:
    """Put away everything that would save a call, or a training, of these stages."""
    for stage in stages:
        for path in _earlier_calls(store, plan.round, "*", stage):
            store.set_aside(path, FORCED)
        for journal in _journals(store, plan.round).glob(f"{stage}-*.jsonl"):
            journal.unlink()
    folder = store.workdir / "training" / f"round={plan.round:03d}"
    if "train" in stages and folder.exists():
        number = len(list(folder.parent.glob(f"{folder.name}.*")))
        folder.rename(folder.with_name(f"{folder.name}.{number}"))


def known_calls(store: Store, round_: int, shard: str, stage: str) -> dict[str, Generation]:
    """The answers of models that this shard's files have, those set aside included: the same call needs no other."""
    known: dict[str, Generation] = {}
    names = [field.name for field in fields(Generation)]
    here = store.path("generations", round_, f"{shard}.{stage}")
    for path in [*_earlier_calls(store, round_, shard, stage), *store.glob(store.within(here))]:
        try:
            rows = store.read_file(path, names)
        except Damaged:
            continue
        calls = (Generation(**row) for row in rows)
        known |= {call.generation_id: call for call in calls if call.answered}
    return known


def _earlier_calls(store: Store, round_: int, shard: str, stage: str) -> list[str]:
    return store.glob(f"superseded/generations/round={round_:03d}/{shard}.{stage}.*.parquet")


def _journals(store: Store, round_: int) -> Any:
    return store.workdir / "journal" / f"round={round_:03d}"


def journal_path(store: Store, round_: int, stage: str, shard: str) -> Any:
    """Where the finished calls of a shard's stage are kept while it is worked on."""
    return _journals(store, round_) / f"{stage}-{shard}.jsonl"


def _remove_finished_journals(store: Store, plan: Plan, done: set[tuple[str, str]]) -> None:
    """A kill between publication and the journal's removal leaves one that nobody needs."""
    for path in _journals(store, plan.round).glob("*.jsonl"):
        stage, _, shard = path.stem.partition("-")
        if (stage, shard) in done:
            path.unlink()


def remove_temporaries(store: Store) -> None:
    """What a kill left of a file that was being written: nobody reads it, and its rows are owed again."""
    if store.local:
        for path in store.workdir.glob("*/round=*/.*.tmp"):
            path.unlink(missing_ok=True)
