"""Rows taken over from another round of the same root: which stages, whether their settings agree, and the copying."""

from typing import Any

from schemas.config import Config
from schemas.errors import UserError
from tasks.staging.plan import READS, STAGES, TABLE_OF, Plan, Source, changed_settings, unread
from tasks.storage.manifests import documents_manifest, manifest
from tasks.storage.store import Store

Row = dict[str, Any]
STAGE_OF = {"problems": "propose", "answers": "answer", "rubrics": "rubric", "ratings": "rate"}
_BESIDE = ("prompts.own_likelihood", "rating.own_likelihood")  # they change no score
_MAKER = ("model", "output_format", "max_model_len", "engine", "earlier_rounds")  # who made the rows may differ


def reused_stages(config: Config) -> dict[str, str]:
    """Stage to `run/round`: those named in `[reuse]` and all that they read.

    Raises:
        UserError: two sources for one stage.
    """
    found: dict[str, tuple[str, str]] = {}
    for table, stage in STAGE_OF.items():
        if source := getattr(config.reuse, table):
            for needed in (stage, *_upstream(config, stage)):
                other, why = found.setdefault(needed, (source, table))
                if other != source:
                    raise UserError(
                        f"reuse.{table}={source} needs the {TABLE_OF[needed]} of {source} too, and reuse.{why}={other} "
                        "takes others: name one round for both"
                    )
    return {stage: found[stage][0] for stage in STAGES if stage in found}


def _upstream(config: Config, stage: str) -> list[str]:
    direct = [name for name in READS[stage] if not unread(config, stage, name)]
    return [name for near in direct for name in (near, *_upstream(config, near))]


def sources(config: Config, root: str, run: str, round_: int) -> dict[str, Source]:
    """Stage to the round that its rows come from.

    Raises:
        UserError: no such round, or the round itself.
    """
    found: dict[str, Source] = {}
    for stage, name in reused_stages(config).items():
        source = Source(name, "")
        if (source.run, source.round) == (run, round_):
            raise UserError(f"reuse: {name} is this round itself; give the experiment another name with --run")
        if (there := manifest(Store(root, source.run), source.round)) is None:
            raise UserError(f"reuse: there is no round {source.name} under {root}")
        found[stage] = Source(name, there["fingerprints"][stage])
    return found


def refuse_differences(plan: Plan, root: str) -> None:
    """A row that was made with other settings than the configuration says would be taken for what it is not.

    Raises:
        UserError: names the first setting that differs, and both values.
    """
    for stage, source in plan.reused.items():
        store = Store(root, source.run)
        files = [name for name in store.files(TABLE_OF[stage], source.round) if name.startswith("shard-")]
        if not files or (footer := store.footer(TABLE_OF[stage], source.round, files[0])) is None:
            raise UserError(
                f"reuse: {source.name} has no {TABLE_OF[stage]} yet; finish it first: pop round --run {source.run}"
            )
        differ = changed_settings(footer["settings"], plan.settings[stage])
        # a prompt's hash says least, so it is named last
        for name in sorted(differ, key=lambda name: (name.startswith("prompts."), name)):
            if name.split(".")[0] not in _MAKER and name not in _BESIDE:
                theirs, ours = differ[name]
                raise UserError(
                    f"reuse: the {TABLE_OF[stage]} of {source.name} were made with {name}={theirs!r}, and "
                    f"this configuration says {ours!r}; make them agree, or do not reuse {TABLE_OF[stage]}"
                )


def documents_of(plan: Plan, store: Store) -> tuple[dict[str, list[Row]], Row]:
    """The rows of each documents file of the other round, and what its manifest says of the shards.

    Raises:
        UserError: that round is not as its manifest says.
    """
    source = plan.reused["shard"]
    other = Store(store.root, source.run)
    content = documents_manifest(other, source.round)
    if content is None or content["fingerprint"] != source.fingerprint:
        raise UserError(f"reuse: {source.name} has no documents yet; finish it first: pop round --run {source.run}")
    files = {name: other.read("documents", source.round, name) for name in content["files"]}
    return files, {key: content[key] for key in ("shards", "documents", "counts")}


def copy_shard(plan: Plan, store: Store, stage: str, shard: str) -> Source:
    """Take over a shard's rows with their ids and the calls that made them; each says where it came from.

    Raises:
        UserError: the other round has not finished the shard.
    """
    source = plan.reused[stage]
    other = Store(store.root, source.run)
    footer = other.footer(TABLE_OF[stage], source.round, shard)
    if footer is None or footer["fingerprint"] != source.fingerprint:
        raise UserError(
            f"reuse: {shard} of {TABLE_OF[stage]} is not finished in {source.name}; finish it first: "
            f"pop round --run {source.run}"
        )
    own = plan.footer(stage) | {"model": footer.get("model"), "shard": shard}
    names = [("generations", f"{shard}.{stage}")] + [("comparisons", shard)] * (stage == "rate")
    for table, name in (*names, (TABLE_OF[stage], shard)):  # the stage's own last, as in `run_stage`
        if table == TABLE_OF[stage] or name in other.files(table, source.round):
            rows = other.read(table, source.round, name)
            store.write(table, plan.round, name, [_from(row, source.name) for row in rows], own)
    return source


def _from(row: Row, source: str) -> Row:
    return row | {"reused_from": row.get("reused_from") or source}
