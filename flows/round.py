"""One round: shard → propose → answer → rubric → rate → pair → train. The same call again goes on where it stopped."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger

from flows.artifacts import StageProgress, report_artifacts, round_artifacts
from flows.audit import audit_task
from flows.display import Display
from flows.outcome import print_funnel
from flows.slots import gpu
from schemas.config import Config
from schemas.errors import CheckFailed, PopError, UserError
from schemas.ids import content_id
from tasks.answer import answer_task
from tasks.engine.client import Client
from tasks.engine.server import Served, fake_command, free_port, serve, this_machine, vllm_command, vllm_environment
from tasks.judging.case import COMPARING
from tasks.lock import run_lock
from tasks.models import Resolved, resolve, with_frozen
from tasks.pair import pair_task, round_cutoff
from tasks.plan import ROLE_OF, STAGES, Plan, make_plan, package_version
from tasks.probe import probe_task
from tasks.propose import propose_task
from tasks.rate import rate_task
from tasks.reuse import refuse_differences, sources
from tasks.rubric import rubric_task
from tasks.runs import manifests
from tasks.runtime import runtime_device, runtime_python
from tasks.shard import corpus_stamp, shard_task, shards_of
from tasks.stage import Round, reused_task
from tasks.store import Store
from tasks.train import FILE as TRAINED
from tasks.train import train_task, why_not_trained

SHARD_STAGES = ("propose", "answer", "rubric", "rate", "probe", "pair")
SHOWN_ONE_BY_ONE = 40
_TASKS = (propose_task, answer_task, rubric_task, rate_task, probe_task, pair_task)
TASKS = dict(zip(SHARD_STAGES, _TASKS, strict=True))


@flow(name="round", flow_run_name="{run}-r{round:03d}", persist_result=False)
async def round_flow(
    config: Config, run: str, round: int = 0, root: str = "data/runs", force: str | None = None  # noqa: A002
) -> dict[str, Any]:  # fmt: skip
    """Run one round of self-play and train the next model.

    Args:
        config: everything the round needs to know.
        run: name of the run; its tables are in `<root>/<run>`.
        round: number of the round in the run.
        root: local folder or object store URL.
        force: a stage to do again, with all that follows from it, though nothing has changed.
    """
    with Display() as display:
        async with gpu():
            return await run_round(config, run, round, root, display, force)


async def run_round(
    config: Config, run: str, number: int, root: str, display: Display, force: str | None = None
) -> dict[str, Any]:  # fmt: skip
    """The round itself; see `round_flow`."""
    display.logger = get_run_logger()
    store = Store(root, run, config.storage.compression_level)
    with run_lock(store, display.say):
        config = with_frozen(config, store, number)
        models = {name: resolve(name, config, display.say) for name in sorted(_used_models(config))}
        identities = {name: model.identity for name, model in models.items()}
        plan = make_plan(
            config, run, number, identities, corpus_stamp(config.corpus), earlier_problems(store, number),
            sources(config, root, run, number),
        )  # fmt: skip
        refuse_differences(plan, root)
        engines = Engines(config, models, store, display)
        round_ = Round(plan, store, engines, display)
        bars = StageProgress()
        await bars.create(run)

        display.expect("shard", 1)
        round_.put_in_order(force) if force else None
        shard_task(round_)
        round_.put_in_order()
        shards = shards_of(round_)
        assert shards is not None, "the shard stage has ended without its manifest"
        round_.line_up(shards.names)
        _write_round(store, plan)
        await bars.move("shard", 1, 1)
        _tell_corpus(display, config, shards.documents, shards.counts)
        for stage in SHARD_STAGES:
            display.expect(stage, len(shards.names))
        owed = await _reused(round_, shards.names, bars)
        total, needed = len(shards.names), _needed_models(round_, owed)
        # the widest pairs of a round are known only when all of it is rated
        together = config.pairing.strategy == "top_fraction"
        first = SHARD_STAGES[:-1] if together else SHARD_STAGES
        async with engines.started(needed):
            await _at_once(_through(round_, shard, bars, total, first) for shard in owed)
        if together:
            round_.cutoff = round_cutoff(round_, shards.names)
            await _at_once(_through(round_, shard, bars, total, ["pair"]) for shard in owed)

        await round_artifacts(store, number)
        if not round_.done("train", TRAINED):  # what is trained has passed the gate
            audit_task(round_)
        model, why_not = None, why_not_trained(config)
        if why_not is None:
            display.expect("train", 1)
            try:
                await train_task(round_, shards.names, models["policy"], runtime_python(), runtime_device())
            except CheckFailed:
                print_funnel(store, number, display.console)  # the why of too few pairs
                raise
            model = round_.read("models", TRAINED)[0]
            await bars.move("train", 1, 1)
        if needed or model:
            await report_artifacts(store, number)
        _write_round(store, plan, finished=True)
    return {"run": run, "round": number, "root": root, "model": model, "not_trained": why_not}


def _needed_models(round_: Round, shards: tuple[str, ...]) -> set[str]:
    """Names of the models that an unfinished stage asks."""
    plan = round_.plan
    owed = (stage for stage in ROLE_OF if plan.asks(stage) and not all(round_.done(stage, shard) for shard in shards))
    return {plan.model_of(stage) for stage in owed}


async def _at_once(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all at once; when one fails, the others are ended, and its error alone is what a person reads."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except BaseExceptionGroup as failed:
        errors = list(_flat(failed))
        raise next((error for error in errors if isinstance(error, PopError)), errors[0]) from None


def _flat(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flat(error)
        else:
            yield error


async def _reused(round_: Round, shards: tuple[str, ...], bars: StageProgress) -> tuple[str, ...]:
    """Pass over the shards of which nothing is owed, if they are many; returns the others.

    A task run costs Prefect some 10 ms, so many shards share one a stage.
    """
    whole = {shard for shard in shards if all(round_.done(stage, shard) for stage in SHARD_STAGES)}
    if len(whole) <= SHOWN_ONE_BY_ONE:
        return shards
    for stage in SHARD_STAGES:
        await reused_task(round_, stage, len(whole))
        await bars.move(stage, len(whole), len(shards))
    return tuple(shard for shard in shards if shard not in whole)


async def _through(round_: Round, shard: str, bars: StageProgress, total: int, stages: Sequence[str]) -> None:
    """One shard through some stages, without waiting for the others."""
    for stage in stages:
        await TASKS[stage](round_, shard)
        await bars.move(stage, round_.progress.done.get(stage, 0), total)


def earlier_problems(store: Store, number: int) -> str | None:
    """A stamp of what the rounds before this one asked, which it must not ask again; None in the first."""
    made = [m["fingerprints"]["propose"] for m in manifests(store) if m["round"] < number]
    return content_id("earlier", made) if made else None


def _used_models(config: Config) -> set[str]:
    return set(config.roles.model_dump().values()) | {"policy"}


def _tell_corpus(display: Display, config: Config, documents: int, counts: Mapping[str, int]) -> None:
    left_out = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()) if status != "ok" and n)
    display.say(f"{documents} documents to train from in {config.corpus.source} ({left_out or 'none left out'})")
    if documents < config.corpus.documents:
        display.say(f"corpus.documents asks for {config.corpus.documents}; the corpus has no more")


def _write_round(store: Store, plan: Plan, finished: bool = False) -> None:
    """The round's manifest: its settings at the start, and `finished` at the very end."""
    content = {
        "run": plan.run, "round": plan.round, "version": package_version(), "finished": finished,
        "written": datetime.now(UTC).isoformat(timespec="seconds"), "config": plan.config.model_dump(mode="json"),
        "models": dict(plan.models), "corpus": plan.corpus, "earlier": plan.settings["propose"]["earlier_rounds"],
        "reused": {stage: asdict(source) for stage, source in plan.reused.items()},
        "fingerprints": {stage: plan.fingerprints[stage] for stage in STAGES},
    }  # fmt: skip
    store.publish(f"{store.base}/manifests/round={plan.round:03d}/round.json", json.dumps(content, indent=1).encode())


class Engines(Mapping[str, Client]):
    """The models by name, served while `started` is entered."""

    def __init__(self, config: Config, models: Mapping[str, Resolved], store: Store, display: Display) -> None:
        self._config, self._models, self._store, self._display = config, models, store, display
        self._clients: dict[str, Client] = {}

    def __getitem__(self, name: str) -> Client:
        return self._clients[name]

    def __iter__(self) -> Any:
        return iter(self._clients)

    def __len__(self) -> int:
        return len(self._clients)

    @asynccontextmanager
    async def started(self, names: set[str]) -> AsyncIterator[None]:
        """Start (or reach) the models of these names; stop what was started. The same weights are served once."""
        config = self._config
        own = {self._models[name].identity: name for name in sorted(names) if not config.models[name].base_urls}
        async with AsyncExitStack() as stack:
            gate = asyncio.Semaphore(config.engine.max_in_flight)
            servers = {
                identity: await stack.enter_async_context(self._serve(name, share=1 / len(own)))
                for identity, name in own.items()
            }
            for name in sorted(names):
                model, identity = config.models[name], self._models[name].identity
                server = None if model.base_urls else servers[identity]
                urls = (server.url,) if server else model.base_urls
                client = Client(identity, model, config.engine, urls, gate, server)
                stack.push_async_callback(client.close)
                self._clients[name] = client
                await _check_room(client, config, name)
            yield

    def _serve(self, name: str, share: float) -> AbstractAsyncContextManager[Served]:
        """Serve a model with a share of what the GPU's memory has to give."""
        config, model = self._config.engine, self._models[name]
        config = config.model_copy(update={"gpu_memory_utilization": config.gpu_memory_utilization * share})
        port = free_port(config.port)
        log = self._store.workdir / "logs" / f"engine-{name}.log"
        if config.kind == "fake":
            title, command, env = "the fake engine", fake_command(port, config.max_model_len), dict[str, str]()
        else:
            assert model.path is not None
            machine = this_machine(runtime_device())
            command, env = vllm_command(runtime_python(), model.path, port, config, machine), vllm_environment(machine)
            title = f"vLLM with {Path(model.path).name} on {machine.device}"
        return serve(title, command, env, port, log, config, self._display.say, self._display.waiting)


async def _check_room(client: Client, config: Config, name: str) -> None:
    """A role whose answer alone fills the context can never be played.

    Raises:
        UserError: names the setting.
    """
    limit = await client.max_model_len()
    writes = config.rating.mode == "pointwise" or (
        config.rating.mode in COMPARING and config.task.dialect == "structured"
    )
    for role in ("propose", "answer", "rubric", *(["judge"] if writes else [])):
        if getattr(config.roles, role) == name and (wanted := getattr(config.sampling, role).max_tokens) >= limit - 64:
            raise UserError(
                f"sampling.{role}.max_tokens={wanted} leaves no room for a prompt in the context of {limit} tokens; "
                "lower it or raise engine.max_model_len"
            )
