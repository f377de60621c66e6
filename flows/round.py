"""One round: shard → propose → answer → rubric → rate → pair → train. The same call again goes on where it stopped."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger

from flows.artifacts import StageProgress, report_artifacts, round_artifacts
from flows.audit import audit_task
from flows.display import Display
from flows.outcome import print_funnel
from schemas.config import Config
from schemas.errors import CheckFailed, UserError
from tasks.answer import answer_task
from tasks.engine.client import Client
from tasks.engine.server import fake_command, free_port, serve, this_machine, vllm_command, vllm_environment
from tasks.lock import run_lock
from tasks.models import Resolved, resolve
from tasks.pair import pair_task
from tasks.plan import ROLE_OF, STAGES, Plan, make_plan, package_version
from tasks.probe import probe_task
from tasks.propose import propose_task
from tasks.rate import rate_task
from tasks.rubric import rubric_task
from tasks.runtime import runtime_device, runtime_python
from tasks.shard import corpus_stamp, shard_task, shards_of
from tasks.stage import Round
from tasks.store import Store
from tasks.train import FILE as TRAINED
from tasks.train import train_task, why_not_trained

SHARD_STAGES = ("propose", "answer", "rubric", "rate", "probe", "pair")


@flow(name="round", flow_run_name="{run}-r{round:03d}", persist_result=False)
async def round_flow(config: Config, run: str, round: int = 0, root: str = "data/runs") -> dict[str, Any]:  # noqa: A002
    """Run one round of self-play and train the next model.

    Args:
        config: everything the round needs to know.
        run: name of the run; its tables are in `<root>/<run>`.
        round: number of the round in the run.
        root: local folder or object store URL.
    """
    with Display() as display:
        return await run_round(config, run, round, root, display)


async def run_round(config: Config, run: str, number: int, root: str, display: Display) -> dict[str, Any]:
    """The round itself; see `round_flow`."""
    display.logger = get_run_logger()
    store = Store(root, run, config.storage.compression_level)
    with run_lock(store):
        models = {name: resolve(name, config, display.say) for name in sorted(_used_models(config))}
        identities = {name: model.identity for name, model in models.items()}
        plan = make_plan(config, run, number, identities, corpus_stamp(config.corpus))
        engines = Engines(config, models, store, display)
        round_ = Round(plan, store, engines, display)
        bars = StageProgress()
        await bars.create(run)

        display.expect("shard", 1)
        shard_task(round_)
        shards = shards_of(round_)
        assert shards is not None, "the shard stage has ended without its manifest"
        _write_round(store, plan)
        await bars.move("shard", 1, 1)
        _tell_corpus(display, config, shards.documents, shards.counts)
        for stage in SHARD_STAGES:
            display.expect(stage, len(shards.names))
        fresh = _needs_models(round_, shards.names)
        async with engines.started(fresh):
            await asyncio.gather(*(_through(round_, shard, bars, shards.names) for shard in shards.names))

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
        if fresh or model:
            await report_artifacts(store, number)
        _write_round(store, plan, finished=True)
    return {"run": run, "round": number, "root": root, "model": model, "not_trained": why_not}


def _needs_models(round_: Round, shards: tuple[str, ...]) -> bool:
    return not all(round_.done(stage, shard) for stage in ROLE_OF for shard in shards)


async def _through(round_: Round, shard: str, bars: StageProgress, shards: tuple[str, ...]) -> None:
    """One shard through all its stages, without waiting for the others."""
    tasks = (propose_task, answer_task, rubric_task, rate_task, partial(probe_task, shards=shards), pair_task)
    stage_task: Any
    for stage, stage_task in zip(SHARD_STAGES, tasks, strict=True):
        await stage_task(round_, shard)
        await bars.move(stage, round_.progress.done.get(stage, 0), len(shards))


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
        "models": dict(plan.models), "corpus": plan.corpus,
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
    async def started(self, needed: bool) -> AsyncIterator[None]:
        """Start (or reach) every model that a role is played by; stop what was started."""
        config = self._config
        names = sorted({getattr(config.roles, role) for role in ROLE_OF.values()}) if needed else []
        async with AsyncExitStack() as stack:
            gate = asyncio.Semaphore(config.engine.max_in_flight)
            for name in names:
                urls = config.models[name].base_urls or (await stack.enter_async_context(self._serve(name)),)
                client = Client(self._models[name].identity, config.models[name], config.engine, urls, gate)
                stack.push_async_callback(client.close)
                self._clients[name] = client
                await _check_room(client, config, name)
            yield

    def _serve(self, name: str) -> Any:
        config, model = self._config.engine, self._models[name]
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
    written = ("propose", "answer", "rubric") + (("judge",) if config.rating.mode == "pointwise" else ())
    for role in written:
        if getattr(config.roles, role) == name and (wanted := getattr(config.sampling, role).max_tokens) >= limit - 64:
            raise UserError(
                f"sampling.{role}.max_tokens={wanted} leaves no room for a prompt in the context of {limit} tokens; "
                "lower it or raise engine.max_model_len"
            )
