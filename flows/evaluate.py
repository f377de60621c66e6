"""Evaluate: a round's model against the one that it came from, on what no round trains on."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from prefect import flow, get_run_logger

from flows.engines import Engines
from flows.slots import gpu
from flows.views.artifacts import evaluation_artifact
from flows.views.display import Display
from flows.worker import end_with_worker
from schemas.config import Config
from schemas.errors import UserError
from schemas.names import Root, RunName, expanded
from schemas.roles import ModelConfig
from tasks.engine.protocol import Engine
from tasks.evaluate import (
    Contest,
    evaluate_task,
    evaluation_config,
    evaluations,
    make_bench,
    needed_models,
)
from tasks.evaluation.exams.formats import read_paper
from tasks.evaluation.ifeval import read_prompts
from tasks.models.own_sampling import with_own_sampling
from tasks.models.parts import told_apart
from tasks.models.registry import BASE, find, parent_of
from tasks.models.resolve import BUILT_IN, Resolved, resolve, with_frozen
from tasks.runtime import runtime_python
from tasks.storage.lock import run_lock
from tasks.storage.manifests import first_policy, known_parts, write_known_parts
from tasks.storage.store import Row, Store


@flow(name="evaluate", flow_run_name="{run}-evaluate-{model}", persist_result=False)
async def evaluate_flow(
    config: Config, run: RunName, model: str = BASE, root: Root = "data/runs", against: str | None = None
) -> list[dict[str, Any]]:  # fmt: skip
    """Measure a model of a run against its parent, or any two models, by the suites of `evaluation.suites`.

    Args:
        config: settings; `evaluation` says what is measured and how.
        run: name of the run.
        model: id of the model, or the number of its round, or the path of any model's folder; `base` is the policy. The
            last two are measured for themselves, without a parent.
        root: local folder or object store URL.
        against: the same, of the model to compare it with; empty: the one that it was trained from.
    """
    refuse_bad_files(config)
    store = Store(root, run, config.storage.compression_level)
    with Display() as display:
        display.logger = get_run_logger()
        end_with_worker(display.logger.info)
        async with gpu(display.say):
            with run_lock(store):
                return await run_evaluation(config, store, model, display, against)


async def run_evaluation(
    config: Config, store: Store, model: str, display: Display, against: str | None = None
) -> list[Row]:  # fmt: skip
    """The evaluation itself, with the run's lock held; the rows of `evaluations` of this couple."""
    number, contest = contest_of(config, store, model, against)
    own = with_frozen(config, store, number)  # sampling is what it is in the rounds, for every model that is measured
    config = with_own_sampling(config, lambda name: resolve(name, own, display.say))
    settings = evaluation_config(config, contest, store, number)
    names = {*needed_models(settings), "policy"}
    known = known_parts(store)
    models = told_apart({name: resolve(name, settings, display.say) for name in sorted(names)}, known)
    write_known_parts(store, known)
    contest = by_weights(contest, models, display)
    display.expect("evaluate", len(settings.evaluation.measured))
    async with AsyncExitStack() as stack:
        served = OnDemand(settings, models, store, display, stack)
        bench = make_bench(
            settings, contest, store, number, models, served, lambda: display.call("evaluate"), runtime_python
        )
        for suite in settings.evaluation.measured:
            await evaluate_task(bench, store, number, suite)
            display.shard("evaluate", reused=False)
    rows = evaluations(bench, store, number)
    await evaluation_artifact(store, number, bench.candidate.model_id, rows)
    return rows


def contest_of(config: Config, store: Store, model: str, against: str | None = None) -> tuple[int, Contest]:
    """The round of a model, and whom it is compared with.

    Args:
        model: a round, an id, `base`, or a model's folder.
        against: the same; empty: the model's parent, where the run knows it.

    Raises:
        UserError: the run has no such model, or both are the same.
    """
    number, one, parent = _named(config, store, model)
    if against:
        _, parent, _ = _named(config, store, against)
        if parent == one:
            raise UserError(f"--against {against} is the model that is measured: name another one")
    return number, Contest(*one, *(parent or (None, None)))


def by_weights(contest: Contest, models: dict[str, Resolved], display: Display) -> Contest:
    """The contest with a model that was given by its folder named by its weights: the folder may hold others later."""
    ids = {"candidate": contest.candidate_id, "parent": contest.parent_id}
    for name, given in ids.items():
        if given and _is_path(given):
            ids[name] = models[name].identity
            display.say(f"{name}: {given} is {ids[name]}")
    return replace(contest, candidate_id=str(ids["candidate"]), parent_id=ids["parent"])


def _is_path(wanted: str) -> bool:
    return "/" in wanted or wanted == BUILT_IN or expanded(wanted).is_dir()


Named = tuple[ModelConfig, str]  # a model and its id


def _named(config: Config, store: Store, wanted: str) -> tuple[int, Named, Named | None]:
    """The round, model and parent of what a person calls a model."""
    policy = config.models["policy"]
    if wanted == BASE:
        return 0, (policy, BASE), None
    one = policy.model_copy(update={"base_urls": (), "served_name": None})
    if _is_path(wanted):
        return 0, (one.model_copy(update={"path": wanted, "revision": None}), wanted), None
    row = find(store, wanted)
    parent = parent_of(store, row)
    base = first_policy(store) or policy
    other = one.model_copy(update={"path": parent.path}) if parent.path else base
    return (
        row["round"],
        (one.model_copy(update={"path": row["path"]}), row["model_id"]),
        (other, parent.model_id or BASE),
    )


def refuse_bad_files(config: Config) -> None:
    """Say at the start what would only be found out hours later.

    Raises:
        UserError: IFEval's file or an exam's is missing, or is none.
    """
    if "ifeval" in config.evaluation.suites:
        read_prompts(config.evaluation.ifeval_file or "", config.evaluation.ifeval_limit)
    for one in config.evaluation.exams:
        read_paper(one)


class OnDemand:
    """Serves a model when it is first asked for, the same weights once; all share the GPU's memory evenly."""

    def __init__(
        self, config: Config, models: dict[str, Resolved], store: Store, display: Display, stack: AsyncExitStack
    ) -> None:
        self._config, self._models, self._stack, self._gate = config, models, stack, asyncio.Lock()
        local = [name for name in models if not config.models[name].base_urls and name != "policy"]
        self._first = {models[name].identity: name for name in sorted(local, reverse=True)}
        share = config.engine.gpu_memory_utilization / max(1, len(self._first))
        engine = config.engine.model_copy(update={"gpu_memory_utilization": share})
        self._engines = Engines(config.model_copy(update={"engine": engine}), models, store, display)

    async def __call__(self, name: str) -> Engine:
        """The engine of that name.

        Raises:
            DependencyError: it cannot be started or reached.
        """
        if name not in self._models:
            raise UserError(f"the evaluation asks the model {name!r}, which is not described")
        own = not self._config.models[name].base_urls
        name = self._first[self._models[name].identity] if own else name
        async with self._gate:
            if name not in self._engines:
                await self._stack.enter_async_context(self._engines.started({name}))
        return self._engines[name]
