"""Evaluate: a candidate against the model it came from, suite by suite; what could not run is a row that says so."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from schemas.config import Config
from schemas.errors import PopError
from schemas.ids import content_id
from schemas.preferences import ReuseConfig
from schemas.roles import ModelConfig, RolesConfig
from schemas.section import FROZEN
from schemas.version import package_version
from tasks.engine.protocol import Engine
from tasks.evaluation import SUITES
from tasks.evaluation.bench import NESTED, Bench, Measure, Subject
from tasks.evaluation.exams.formats import read_paper
from tasks.evaluation.heldout import NotRun
from tasks.judging.case import COMPARING
from tasks.models.resolve import Resolved, with_frozen
from tasks.staging.chosen import settled
from tasks.staging.plan import make_plan
from tasks.staging.reconcile import remove_temporaries
from tasks.storage.manifests import manifest, write_manifest
from tasks.storage.store import Row, Store

MAIN = {"ifeval": "prompt_strict_difference"}  # the metric of a suite that could not run; else `difference`

# Raised when a suite makes other figures of the same answers: it is measured again, from what it asked before.
# 2: every answer counts, also one that is missing; 3 (2 where there was none): intervals as wide as few problems want
FIGURES = {"heldout": 3, "winrate": 3, "perplexity": 2, "ifeval": 2}

LATE = "evaluation.timeout_sec"  # in the reason of a suite that took too long


@dataclass(frozen=True)
class Contest:
    """Who is measured, in which round of a run; `parent` is None where there is none."""

    candidate: ModelConfig
    candidate_id: str
    parent: ModelConfig | None
    parent_id: str | None


def evaluation_config(config: Config, contest: Contest, store: Store, number: int) -> Config:
    """The settings of an evaluation: the same roles, sampling and seed for every model of a run."""
    wanted = config.evaluation
    models = {**config.models, "candidate": contest.candidate}
    models |= {"parent": contest.parent} if contest.parent else {}
    config = settled(config, store)
    mode = wanted.rating_mode or config.rating.mode
    if mode in COMPARING:  # a score among a model's own answers says nothing beside another model's
        mode = "likelihood" if config.dialect_of("judge") == "stepwise" else "pointwise"
    changed = config.model_copy(update={
        "models": models, "reuse": ReuseConfig(),
        "roles": RolesConfig(
            propose=wanted.examiner, rubric=wanted.examiner, judge=wanted.judge, answer=wanted.examiner
        ),
        "rating": config.rating.model_copy(update={"mode": mode}),
        "sampling": config.sampling.model_copy(update={"answers": wanted.answers, "seed": wanted.seed}),
    })  # fmt: skip
    return with_frozen(changed, store, number)


def make_bench(
    config: Config, contest: Contest, store: Store, number: int, models: Mapping[str, Resolved],
    engine: Callable[[str], Awaitable[Engine]], call: Callable[[], None], python: Callable[[], Path],
) -> Bench:  # fmt: skip
    """Put together what the suites share; `config` is `evaluation_config`'s."""
    identities = {name: model.identity for name, model in models.items()}

    def plan(**roles: str) -> Any:
        changed = config.model_copy(update={"roles": config.roles.model_copy(update=roles)})
        return make_plan(changed, NESTED, 0, identities)

    def subject(name: str, model_id: str) -> Subject:
        return Subject(name, model_id, plan(answer=name), models[name].path)

    nested = Store(f"{store.root.rstrip('/')}/{store.run}", NESTED, store.compression_level)
    parent = subject("parent", contest.parent_id) if contest.parent and contest.parent_id else None
    bench = Bench(
        config, nested, plan(), subject("candidate", contest.candidate_id), parent, heldout_documents(store), engine,
        call, python,
    )  # fmt: skip
    remove_temporaries(nested)
    # by which the evaluation's tables are a run that `pop sql` knows, with what its models cost
    there, now = manifest(nested, 0), bench.examiner.manifest(finished=True)
    if there != (known := with_models(there or now, now)):
        write_manifest(nested, 0, known)
    return bench


def with_models(old: Row, new: Row) -> Row:
    """An evaluation's manifest with the models of a later one beside its own; a name may stand for another one now."""
    models, described = dict(old["models"]), dict(old["config"]["models"])
    for name, identity in new["models"].items():
        known = next((key for key, one in models.items() if one == identity), None)
        key = known or (f"{name} {identity}" if name in models else name)
        models[key] = identity
        described |= {key: new["config"]["models"][name]} if name in new["config"]["models"] else {}
    return old | {"models": models, "config": old["config"] | {"models": described}}


def heldout_documents(store: Store) -> list[Row]:
    """The held-out documents of the first round that has some: the same for every later one."""
    folders = {path.split("/")[-2] for path in store.files("documents")}
    for folder in sorted(folders):
        number = int(folder.removeprefix("round="))
        for name in store.files("documents", number):
            rows = store.read("documents", number, name) if name.startswith("heldout") else []
            if rows:
                return rows
    return []


def suite_file(bench: Bench, suite: str) -> str:
    """The file of a suite's rows: one a couple of models."""
    couple = content_id("couple", bench.candidate.file, bench.parent.file if bench.parent else None)
    return f"{bench.candidate.file}-{couple[:8]}.{suite}"


def suite_fingerprint(bench: Bench, suite: str) -> str:
    """What a suite's figures depend on."""
    settings = bench.config.evaluation.model_dump(exclude={"suites", "timeout_sec", "exams"})
    keys = [bench.examiner.keys[stage] for stage in ("propose", "answer", "rubric", "rate")]
    models = [[subject.plan.keys["answer"], subject.model_id] for subject in bench.subjects]
    documents = [row["document_id"] for row in bench.documents]
    version = [FIGURES[suite]] if suite in FIGURES else []
    own = bench.sitting(suite).exam
    paper = [read_paper(own).identity] if own else []
    return content_id("suite", suite, settings, keys, models, documents, *version, *paper)


async def measured(bench: Bench, suite: str) -> list[Measure]:
    """A suite's figures; where it could not run, one without a value, and why."""
    try:
        async with asyncio.timeout(bench.config.evaluation.timeout_sec):
            return await SUITES[suite.partition(".")[0]](bench.sitting(suite))
    except NotRun as why:
        status, reason = "not_run", str(why)
    except TimeoutError:
        took = f"took longer than {bench.config.evaluation.timeout_sec:.0f} s"
        status, reason = "not_run", f"{suite} {took} ({LATE})"
    except PopError as error:
        status, reason = "failed", str(error)
    metric = MAIN.get(suite, "difference") if bench.parent else "value"
    return [Measure(bench.candidate.model_id, metric, None, n=0, status=status, reason=reason)]


@task(name="evaluate", task_run_name="evaluate {suite}", cache_policy=NO_CACHE, persist_result=False)
async def evaluate_task(bench: Bench, store: Store, number: int, suite: str) -> Any:
    """One suite → evaluations. One that failed or took too long before goes on: its calls are journaled."""
    name, fingerprint = suite_file(bench, suite), suite_fingerprint(bench, suite)
    footer = store.footer("evaluations", number, name)
    if footer and footer["fingerprint"] == fingerprint and footer["complete"]:
        return Completed(name="Reused", message=f"{suite} is measured already")
    measures = await measured(bench, suite)
    bad = [one for one in measures if one.status == "failed" or LATE in (one.reason or "")]
    rows = [_row(bench, suite, fingerprint, measure) for measure in measures]
    content = {"stage": "evaluate", "fingerprint": fingerprint, "complete": not bad, "version": package_version()}
    bench.store.write("evaluations", 0, name, rows, content)  # beside the rows that they rest on
    store.write("evaluations", number, name, rows, content)
    if bad:
        return Completed(name="NotRun", message=bad[0].reason)
    return {"suite": suite, "figures": len(rows)}


def _row(bench: Bench, suite: str, fingerprint: str, measure: Measure) -> Row:
    ours = measure.model_id == bench.candidate.model_id
    return asdict(measure) | {
        "evaluation_id": content_id("evaluation", fingerprint, measure.model_id, measure.metric), "suite": suite,
        "parent_model_id": bench.parent.model_id if bench.parent and ours else None,
    }  # fmt: skip


def evaluations(bench: Bench, store: Store, number: int) -> list[Row]:
    """The rows of this couple's suites that are there now."""
    names = [suite_file(bench, suite) for suite in bench.config.evaluation.measured]
    there = [name for name in names if store.footer("evaluations", number, name)]
    return [row for name in there for row in store.read("evaluations", number, name)]


def needed_models(config: Config) -> list[str]:
    """Names of the models that an evaluation may ask."""
    return [name for name in ("candidate", "parent", config.evaluation.examiner, config.evaluation.judge, FROZEN)
            if name in config.models]  # fmt: skip
