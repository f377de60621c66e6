"""Self-play: round after round from the model that stands, with a gate between them. The same call again goes on.

Every round draws documents that no round before it has seen. What is decided is in `decisions`; what is begun, the
round itself knows: so this flow keeps nothing, and a kill between any two steps costs the step.
"""

from dataclasses import asdict, replace
from typing import Annotated, Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from flows.evaluate import evaluate_flow, refuse_bad_files
from flows.round import round_flow
from flows.views.artifacts import decision_artifact, lineage_artifact
from flows.views.display import Display
from flows.worker import end_with_worker
from schemas.config import Config
from schemas.errors import CheckFailed, CorpusUsedUp, UnfitModel, UserError
from schemas.names import Root, RunName
from tasks.models.gate import Decision, decide, refuse_unmeasured, too_few, unfit
from tasks.models.registry import (
    Standing,
    asked_of_standing,
    decisions,
    find,
    gate_decision,
    prune,
    record,
    require_standing,
    settle,
    standing,
)
from tasks.staging.plan import why_not_trained
from tasks.storage.lock import run_lock
from tasks.storage.store import Row, Store

Rounds = Annotated[int | None, Field(ge=1, le=10_000)]


@flow(name="selfplay", flow_run_name="{run}-selfplay", persist_result=False)
async def selfplay_flow(
    config: Config, run: RunName, rounds: Rounds = None, new_rounds: Rounds = None, root: Root = "data/runs"
) -> dict[str, Any]:
    """Rounds of self-play, each from the model that the gate has left standing.

    Args:
        config: everything the rounds need to know; `gate` says what is promoted and when to stop.
        run: name of the run; its tables are in `<root>/<run>`.
        rounds: rounds of the run in all; empty: `gate.max_rounds`.
        new_rounds: rounds to finish now, at most, for a schedule; empty: all of them.
        root: local folder or object store URL.
    """
    if (why_not := why_not_trained(config)) is not None:  # before a call is paid for
        raise UserError(f"self-play needs rounds that train, and these do not: {why_not}")
    refuse_unmeasured(config)
    refuse_bad_files(config)
    store = Store(root, run, config.storage.compression_level)
    with Display() as display:
        display.logger = get_run_logger()
        end_with_worker(display.logger.info)
        with run_lock(store):
            settle(store)  # a kill may have come between a decision and what follows from it
        if (few := too_few(config)) is not None:
            display.say(few)
        finished = 0
        while (why := stop_reason(config, store, rounds, new_rounds, finished)) is None:
            number = next_round(store)
            display.say(
                f"{run}: round {number} begins from {standing(store).model_id or 'the model of the configuration'}"
            )
            try:
                row = await one_round(config, store, number)
            except CorpusUsedUp as used_up:
                why = str(used_up)
                break
            display.say(f"round {number}: {row['decision'].replace('_', ' ')}; {row['reason']}")
            finished += 1
        now = standing(store)
        display.say(f"stopped: {why}")
        await lineage_artifact(store, why)
    return {"run": run, "root": root, "stopped": why, "rounds": finished, "standing": asdict(now)}


def next_round(store: Store) -> int:
    """The first round on which the gate has not decided."""
    decided = {row["round"] for row in decisions(store) if row["by"] == "gate"}
    return next(number for number in range(len(decided) + 1) if number not in decided)


def stop_reason(
    config: Config, store: Store, rounds: int | None, new_rounds: int | None, finished: int
) -> str | None:  # fmt: skip
    """Why no other round is begun, in words; None where one is."""
    most = min(rounds or config.gate.max_rounds, config.gate.max_rounds)
    if next_round(store) >= most:
        return f"{most} rounds are done ({'--rounds' if rounds == most else 'gate.max_rounds'})"
    without = 0
    for row in decisions(store):
        without = 0 if row["decision"] == "promote" else without + (row["by"] == "gate")
    if without >= config.gate.patience:
        return f"{without} rounds in a row brought no better model (gate.patience = {config.gate.patience})"
    if new_rounds is not None and finished >= new_rounds:
        return f"{new_rounds} new rounds are done (new_rounds)"
    return None


async def one_round(config: Config, store: Store, number: int) -> Row:
    """Round, evaluation, gate; the row of `decisions`.

    Raises:
        CorpusUsedUp: there are no documents left.
    """
    settings = from_standing(config, parent := require_standing(store))
    try:
        outcome = await round_flow(settings, run=store.run, round=number, root=store.root)
    except UnfitModel as broken:
        return await gate_task(settings, store, number, None, unfit(config.gate, str(broken), broken=True), parent)
    except CheckFailed as failed:
        return await gate_task(settings, store, number, None, unfit(config.gate, str(failed), broken=False), parent)
    assert outcome["model"] is not None, "a round that trains ends with a model, or with an error"
    model_id = outcome["model"]["model_id"]
    measured = await evaluate_flow(settings, run=store.run, model=str(number), root=store.root)
    decision = decide(config.gate, model_id, measured, asked_of_standing(store) + 1)
    return await gate_task(settings, store, number, model_id, decision, parent)


def from_standing(config: Config, now: Standing) -> Config:
    """The configuration with the model that stands as its policy."""
    if now.path is None:
        return config
    policy = config.models["policy"].model_copy(update={"path": now.path, "revision": None})
    return config.model_copy(update={"models": {**config.models, "policy": policy}})


def of_who_stands(decision: Decision, parent: Standing, now: Standing) -> Decision:
    """The decision, held where a person has let another model stand since the round began: against that one nothing
    was measured, and who was rolled back must not come again as the parent of a better one."""
    before, after = (one.model_id if one.path else "the model that the run began with" for one in (parent, now))
    if decision.decision != "promote" or before == after:
        return decision
    reason = f"{decision.reason}, against {before}; but since the round began {after} stands"
    return replace(decision, decision="hold", reason=reason)


@task(name="gate", task_run_name="gate of round {number}", cache_policy=NO_CACHE, persist_result=False)
async def gate_task(
    config: Config, store: Store, number: int, model_id: str | None, decision: Decision, parent: Standing
) -> Row:
    """evaluations → decisions, models; then the weights that nobody needs any more are removed."""
    with run_lock(store):
        settle(store)
        row = gate_decision(store, number, model_id)
        if row is None:
            model = find(store, model_id) if model_id else None
            after = standing(store)
            decision = of_who_stands(decision, parent, after)
            if model and decision.decision == "promote":
                after = Standing(model["model_id"], model["path"])
            row = record(store, number, model, decision, "gate", after)
        for folder in prune(store, config.gate.keep_unpromoted):
            get_run_logger().info("removed the weights in %s (gate.keep_unpromoted)", folder)
    await decision_artifact(store, number, row)
    return row
