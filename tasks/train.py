"""Train: one DPO round with OpenRLHF on the round's preference pairs, checked before anybody may use the model."""

import json
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task
from prefect.client.schemas.objects import State
from prefect.states import Completed

from schemas.errors import CheckFailed
from schemas.ids import content_id
from schemas.tables import TABLES
from tasks.models.resolve import Resolved
from tasks.models.sending import send
from tasks.processes.guarded import in_thread
from tasks.runtime.steps import Device
from tasks.staging.plan import Plan
from tasks.staging.stage import TASK_OPTIONS, Round
from tasks.storage.places import at, below_root, located
from tasks.storage.remote import is_url
from tasks.storage.store import Store, publishing
from tasks.training.health import PROMPTS, TEXTS
from tasks.training.openrlhf import Prepared, TrainedModel, TrainerDied, TrainingJob, Trial, train

Row = dict[str, Any]
Prompts = dict[str, Any]  # the messages of each pair, by pair_id, in that order
FILE = "shard-00000"
METRICS_EVERY_SEC = 3.0


def model_id(plan: Plan) -> str:
    """Identity of the model that this round trains: settings, parent and data."""
    return content_id("model", plan.fingerprints["train"])


def _worth_a_retry(_task: object, _run: object, state: State[Any]) -> bool:
    """A trainer that was killed goes on from its last checkpoint; one that failed would only fail again."""
    return isinstance(getattr(state.data, "result", state.data), TrainerDied)


RETRIES = {"retry_condition_fn": _worth_a_retry, "retry_delay_seconds": [2, 5]}


@task(name="train", task_run_name="train with OpenRLHF", **TASK_OPTIONS | RETRIES)
async def train_task(round_: Round, shards: tuple[str, ...], parent: Resolved, python: Path, device: Device) -> Any:
    """preferences → training_steps, models. The model is registered only when it has passed its checks."""
    plan, store = round_.plan, round_.store
    if round_.done("train", FILE):
        row = store.read("models", plan.round, FILE)[0]
        if _there(store, row):
            round_.progress.shard("train", reused=True)
            return Completed(name="Reused", message=f"trained already: {row['path']}")
    folder = store.workdir / "training" / f"round={plan.round:03d}"
    prompts = write_preferences(round_, shards, folder / "preferences.parquet")
    refuse_too_few(plan, len(prompts))
    job = training_job(plan, prompts, parent, folder, python, device)
    steps = _Steps(round_)
    unfit = unfit_pairs(round_, plan.config.training.max_tokens)
    trained = await in_thread(lambda: train(job, steps.add, trial(round_, prompts), unfit))
    steps.flush()
    for warning in trained.warnings:
        round_.progress.say(f"the trained model: {warning}")
    path = below_root(store, str(trained.path))
    if not store.local:
        say, sha256 = round_.progress.say, trained.weights_sha256
        path = await in_thread(lambda: send(trained.path, store, plan.round, sha256, say))
    row = _model_row(plan, path, trained)
    store.write("models", plan.round, FILE, [row], plan.footer("train") | {"model": plan.models["policy"]})
    round_.progress.shard("train", reused=False)
    return {"model_id": row["model_id"], "path": row["path"]}


def refuse_too_few(plan: Plan, pairs: int) -> None:
    """Fewer pairs than a batch cannot train.

    Raises:
        CheckFailed: with the numbers; the funnel is printed by the flow.
    """
    config = plan.config.training
    usable = pairs - int(pairs * config.eval_share)
    if usable < config.batch_size:
        raise CheckFailed(
            f"{pairs} preference pairs ({usable} to train on) are fewer than a batch of {config.batch_size}: more "
            "documents (corpus.documents), more answers (sampling.answers), or a smaller training.batch_size; what "
            f'fell out and why: pop sql --run {plan.run} "select * from rejections"'
        )


def write_preferences(round_: Round, shards: tuple[str, ...], path: Path) -> Prompts:
    """Write the preferences of all shards as one file, a shard at a time; the prompt of each, by pair_id."""
    schema, prompts = TABLES["preferences"].schema, Prompts()
    with publishing(path) as handle, pq.ParquetWriter(handle, schema) as writer:
        for name in shards:
            rows = sorted(round_.read("preferences", name), key=lambda row: str(row["pair_id"]))
            prompts |= {row["pair_id"]: row["prompt"] for row in rows}
            writer.write_table(pa.Table.from_pylist([{**row, "run": round_.plan.run} for row in rows], schema))
    return dict(sorted(prompts.items()))


def training_job(
    plan: Plan, prompts: Prompts, parent: Resolved, folder: Path, python: Path, device: Device
) -> TrainingJob:
    """Put the job together, for the preferences that are written."""
    assert parent.path is not None
    settings = plan.config.training.model_dump(exclude={"enabled", "target"})
    settings["save_steps"] = settings["save_steps"] or -1
    if device == "cpu":  # there is nothing to move to the host's memory: it is there
        settings |= {"adam_offload": False, "ref_offload": False}
    return TrainingJob(
        python=python, model=Path(parent.path), preferences=folder / "preferences.parquet", workdir=folder,
        device=device, check_prompt=next(iter(prompts.values()))[-1]["content"], cluster=plan.config.cluster,
        trust_remote_code=plan.config.models["policy"].trust_remote_code, **settings,
    )  # fmt: skip


def trial(round_: Round, prompts: Prompts) -> Trial:
    """What the trained model is asked: problems of the round's pairs, and what the round has held out."""
    config, number = round_.plan.config, round_.plan.round
    names = [name for name in round_.store.files("documents", number) if name.startswith("heldout")]
    texts = [row["text"] for name in names for row in round_.read("documents", name) if row["status"] == "ok"]
    different = {json.dumps(prompt): prompt for prompt in prompts.values()}
    return Trial(
        tuple(islice(different.values(), PROMPTS)), tuple(texts[:TEXTS]), config.sampling.answer.model_dump(),
        config.sampling.seed, config.gate.health,
    )  # fmt: skip


class _Steps:
    """`training_steps` while it grows: written again, whole, at most every few seconds."""

    def __init__(self, round_: Round) -> None:
        self._round, self._rows, self._written = round_, dict[int, Row](), 0.0

    def add(self, row: Row) -> None:
        """One optimizer step."""
        self._rows[row["step"]] = row | {"model_id": model_id(self._round.plan)}
        self._round.progress.call("train")
        if time.monotonic() - self._written > METRICS_EVERY_SEC:
            self.flush()

    def flush(self) -> None:
        """Write what there is."""
        plan, rows = self._round.plan, [self._rows[step] for step in sorted(self._rows)]
        self._round.store.write("training_steps", plan.round, FILE, rows, plan.footer("train"))
        self._written = time.monotonic()


def unfit_pairs(round_: Round, max_tokens: int) -> Callable[[Prepared], None]:
    """A writer of `unfit_pairs`: a row for each pair that is left out because of its tokens."""
    plan = round_.plan

    def write(prepared: Prepared) -> None:
        rows = [
            {**row, "status": "too_long", "reason": f"{row['tokens']} tokens; training.max_tokens is {max_tokens}"}
            for row in prepared.too_long
        ] + [
            {"pair_id": row["pair_id"], "tokens": None, "status": "control_tokens",
             "reason": f"an answer types {row['token']}, which the tokenizer makes a control token of"}
            for row in prepared.control_tokens
        ]  # fmt: skip
        # a pair that is both is told of once, by the graver
        rows = list({row["pair_id"]: row | {"model_id": model_id(plan)} for row in rows}.values())
        if rows:
            round_.store.write("unfit_pairs", plan.round, FILE, rows, plan.footer("train"))

    return write


def _there(store: Store, row: Row) -> bool:
    """Whether a model is where its row says; weights may have been removed since (`gate.keep_unpromoted`)."""
    path = located(store, row["path"])
    return store.fs.exists(f"{at(store, path)}/config.json") if is_url(path) else (Path(path) / "config.json").exists()


def _model_row(plan: Plan, path: str, trained: TrainedModel) -> Row:
    """The row of `models`, of a model that lies there. Only whole batches are trained on, and `pairs` counts these."""
    kept = trained.prepared.kept
    left_over, typed = kept % plan.config.training.batch_size, len(trained.prepared.control_tokens)
    notes = [f"{left_over} of the pairs made no whole batch and took no part"] * bool(left_over)
    notes += [f"{typed} of the pairs took no part, for their answers' words become control tokens"] * bool(typed)
    if (control := plan.config.pairing.control) != "none":
        notes.append(f"a control: pairing.control = {control}")
    return {
        "model_id": model_id(plan), "parent_model_id": plan.models["policy"],
        "path": path,
        "weights_sha256": trained.weights_sha256, "parameters": trained.parameters, "pairs": kept - left_over,
        "pairs_too_long": len(trained.prepared.too_long), "example": trained.example.read_text(encoding="utf-8"),
        "sample_answer": trained.answer, "status": "candidate", "warnings": "; ".join(trained.warnings) or None,
        "reason": "; ".join(notes) or None,
    } | trained.figures  # fmt: skip
