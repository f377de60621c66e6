"""One round: shard → propose → answer → rubric → rate → pair → train. The same call again goes on where it stopped."""

from collections.abc import Mapping
from typing import Any

from prefect import flow, get_run_logger

from flows.audit import audit_task
from flows.engines import Engines
from flows.examination import examine_models
from flows.shards import TASKS, run_shards, skip_finished
from flows.slots import gpu
from flows.trials import with_chosen_mode
from flows.views.artifacts import StageProgress, report_artifacts, round_artifacts
from flows.views.display import Display
from flows.views.outcome import print_funnel
from flows.worker import end_with_worker
from schemas.config import Config
from schemas.errors import CheckFailed
from schemas.ids import content_id
from schemas.names import Root, RoundNumber, RunName
from tasks.models.own_sampling import filled_in_before, with_own_sampling
from tasks.models.parts import Known, told_apart
from tasks.models.resolve import Resolved, resolve, with_frozen
from tasks.pair import round_cutoff
from tasks.runtime import runtime_device, runtime_python
from tasks.shard import Shards, known_stamp, shard_task, shards_of
from tasks.staging.plan import ROLE_OF, Plan, make_plan, why_not_trained
from tasks.staging.reuse import refuse_differences, sources
from tasks.staging.stage import Round
from tasks.storage.db import kept_copies
from tasks.storage.lock import run_lock
from tasks.storage.manifests import known_parts, manifest, manifests, write_known_parts, write_manifest
from tasks.storage.store import Row, Store
from tasks.train import FILE as TRAINED
from tasks.train import train_task
from tasks.training.launcher import processes


@flow(name="round", flow_run_name="{run}-r{round:03d}", persist_result=False)
async def round_flow(
    config: Config, run: RunName, round: RoundNumber = 0, root: Root = "data/runs", force: str | None = None  # noqa: A002
) -> dict[str, Any]:  # fmt: skip
    """Run one round of self-play and train the next model.

    Args:
        config: everything the round needs to know.
        run: name of the run; its tables are in `<root>/<run>`.
        round: number of the round in the run.
        root: local folder or object store URL.
        force: a stage to do again, with all that follows from it, though nothing has changed.
    """
    store = Store(root, run, config.storage.compression_level)
    with Display() as display:
        display.logger = get_run_logger()
        end_with_worker(display.logger.info)
        async with gpu(display.say):
            with run_lock(store, display.say), kept_copies(store):
                return await run_round(config, store, round, display, force)


async def run_round(config: Config, store: Store, number: int, display: Display, force: str | None) -> dict[str, Any]:
    """The round itself, with the run's lock held; see `round_flow`."""
    config = await with_chosen_mode(config, store, display, run_round)
    known = known_parts(store)
    before_parts = not known and not (manifest(store, number) or {"finished": True})["finished"]
    plan, models = prepared(config, store, number, display, known)
    write_known_parts(store, known)
    for line in filled_in_before(plan.config, models) if before_parts else ():
        display.say(line)
    for name, changed in sorted((name, model.changed) for name, model in models.items() if model.changed):
        display.say(f"models.{name}: its {' and '.join(changed)} changed since this run first met its weights")
    engines = Engines(plan.config, models, store, display, number)
    round_ = Round(plan, store, engines, display)
    bars = StageProgress()
    await bars.create(store.run)
    shards = await cut_corpus(round_, bars, force)
    trains = why_not_trained(plan.config) is None and not round_.done("train", TRAINED)
    if trains:
        there = (plan.config.training.processes or 1) if plan.config.cluster.kind == "ray" else None
        processes(plan.config.training, runtime_device(), there)  # refuses what cannot be shared among them
    examined = await examine_models(plan.config, models, needed_models(round_, shards.names), trains, display)
    engines.trained = examined.get("policy") if trains else None
    asked = await make_pairs(round_, engines, shards.names, bars)
    await round_artifacts(store, number)
    try:
        model = await train(round_, shards.names, models["policy"], bars)
    except CheckFailed:
        print_funnel(store, number, display.console)  # where the answers and pairs went
        raise
    if asked or model:
        await report_artifacts(store, number)
    write_manifest(store, number, plan.manifest(finished=True))
    why_not = why_not_trained(plan.config)
    return {"run": store.run, "round": number, "root": store.root, "model": model, "not_trained": why_not}


def prepared(
    config: Config, store: Store, number: int, display: Display, known: Known
) -> tuple[Plan, dict[str, Resolved]]:  # fmt: skip
    """The round's plan, and the models by name; nothing is written yet. `known` grows by models that are new.

    Raises:
        UserError: a model is not there, or what is to be reused does not fit.
    """
    config = with_frozen(config, store, number)
    names = {*config.roles.model_dump().values(), "policy"}
    models = told_apart({name: resolve(name, config, display.say) for name in sorted(names)}, known)
    config = with_own_sampling(config, models.__getitem__)
    identities = {name: model.identity for name, model in models.items()}
    reused = sources(config, store.root, store.run, number)
    begun = manifest(store, number) or {}
    corpus, earlier = known_stamp(config.corpus, begun.get("corpus")), earlier_problems(store, number)
    plan = make_plan(config, store.run, number, identities, corpus, earlier, reused)
    refuse_differences(plan, store.root)
    return plan, models


def earlier_problems(store: Store, number: int) -> str | None:
    """A stamp of what the rounds before this one asked, which it must not ask again; None in the first."""
    made = [m["fingerprints"]["propose"] for m in manifests(store) if m["round"] < number]
    return content_id("earlier", made) if made else None


async def cut_corpus(round_: Round, bars: StageProgress, force: str | None) -> Shards:
    """The shards of the round's documents, once what earlier starts left behind is in order."""
    config, display = round_.plan.config, round_.progress
    display.expect("shard", 1)
    round_.reconcile(force) if force else None
    shard_task(round_)
    round_.reconcile()
    shards = shards_of(round_)
    assert shards is not None, "the shard stage has ended without its manifest"
    round_.set_shards(shards.names)
    write_manifest(round_.store, round_.plan.round, round_.plan.manifest())
    await bars.move("shard", 1, 1)
    for line in corpus_summary(config, shards.documents, shards.counts):
        display.say(line)
    return shards


def corpus_summary(config: Config, documents: int, counts: Mapping[str, int]) -> list[str]:
    """What was drawn from the corpus, and what was left out of it."""
    left_out = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()) if status != "ok" and n)
    lines = [f"{documents} documents to train from in {config.corpus.source} ({left_out or 'none left out'})"]
    if documents < config.corpus.documents:
        lines.append(f"corpus.documents asks for {config.corpus.documents}; the corpus has no more")
    return lines


async def make_pairs(round_: Round, engines: Engines, shards: tuple[str, ...], bars: StageProgress) -> bool:
    """Every shard through every stage, up to its pairs; returns whether a model had to be asked."""
    for stage in TASKS:
        round_.progress.expect(stage, len(shards))
    owed = await skip_finished(round_, shards, bars)
    needed = needed_models(round_, owed)
    # the widest pairs of a round are known only when all of it is rated
    together = round_.plan.config.pairing.strategy == "top_fraction"
    stages = [stage for stage in TASKS if not (together and stage == "pair")]
    async with engines.started(needed):
        await run_shards(round_, owed, bars, stages, engines.gate)
    if together:
        round_.cutoff = round_cutoff(round_, shards)
        await run_shards(round_, owed, bars, ["pair"], engines.gate)
    return bool(needed)


def needed_models(round_: Round, shards: tuple[str, ...]) -> set[str]:
    """Names of the models that an unfinished stage asks."""
    plan = round_.plan
    owed = (stage for stage in ROLE_OF if plan.asks(stage) and not all(round_.done(stage, shard) for shard in shards))
    return {plan.model_of(stage) for stage in owed}


async def train(round_: Round, shards: tuple[str, ...], policy: Resolved, bars: StageProgress) -> Row | None:
    """The audits' gate, then the next model: its row of `models`, or None where the settings want none.

    Raises:
        CheckFailed: a blocking audit fails, or there are fewer pairs than a batch.
    """
    if not round_.done("train", TRAINED):  # what is trained has passed the gate
        await audit_task(round_)
    if why_not_trained(round_.plan.config) is not None:
        return None
    round_.progress.expect("train", 1)
    await train_task(round_, shards, policy, runtime_python(), runtime_device())
    await bars.move("train", 1, 1)
    return round_.read("models", TRAINED)[0]
