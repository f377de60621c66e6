"""What a person reads at the end of a round and in `pop status`."""

import contextlib
import os
import shlex
from typing import Any

from duckdb import DuckDBPyConnection
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from flows.views.corpus import print_unsuited
from flows.views.pace import print_pace
from flows.views.servers import print_remembered
from schemas.config import Config
from schemas.names import expanded
from tasks.models.gate import too_few
from tasks.models.registry import lineage, standing
from tasks.models.resolve import with_frozen
from tasks.staging.chosen import settled
from tasks.staging.plan import STAGES, TABLE_OF, Plan, Source, make_plan, why_not_trained
from tasks.staging.reconcile import differences
from tasks.staging.reuse import sources
from tasks.storage.db import connect, rows_of
from tasks.storage.manifests import documents_manifest, manifests
from tasks.storage.places import located
from tasks.storage.store import Damaged, Row, Store

SHARDS_SHOWN = 4
ID_SHOWN = 8  # as much as `pop show` and `pop promote` need


def print_outcome(outcome: dict[str, Any], out: Console) -> None:
    """The funnel, the gap, the model's path and what to try next."""
    store = Store(outcome["root"], outcome["run"])
    print_funnel(store, outcome["round"], out)
    if "fake" in str(outcome["not_trained"]):
        out.print("\nThese texts and scores come from the fake engine and mean nothing.", markup=False)
    print_gap(store, outcome["round"], out)
    print_signal(store, outcome["round"], out)
    model = outcome["model"]
    if model:
        print_training(store, outcome["round"], model, out)
    else:
        out.print(f"No model was trained: {outcome['not_trained']}.", markup=False)
    out.print("\nTry next:")
    run = outcome["run"] + _root_option(outcome["root"])
    for command in (
        f'pop sql --run {run} "select title, name, gold from criteria join documents using (run, round, document_id)"',
        f'pop sql --run {run} "select * from rejections"',
        f"pop status --run {run}",
    ):
        out.print(f"  {command}", markup=False, soft_wrap=True)


def _root_option(root: str) -> str:
    """` --root …`, where the commands would not look there by themselves."""
    usual = str(expanded(os.environ.get("POP_ROOT") or "data/runs").resolve())
    return "" if root in (usual, os.environ.get("POP_ROOT")) else f" --root {shlex.quote(root)}"


def print_funnel(store: Store, round_: int, out: Console, con: DuckDBPyConnection | None = None) -> None:
    """From documents to pairs, and why something fell out."""
    con = con or connect(store)
    rows = con.execute(
        "SELECT stage, total, ok, share_ok FROM funnel WHERE round = ? ORDER BY step", [round_]
    ).fetchall()
    why = con.execute(
        """SELECT stage, string_agg(
               count || ' ' || status || if(rows < count, ' (of which ' || rows || ' have rows)', ''),
               ', ' ORDER BY count DESC)
           FROM rejections WHERE round = ? GROUP BY stage""",
        [round_],
    ).fetchall()
    reasons = dict(why)
    reasons["rated answers"] = reasons.pop("ratings", None)
    table = Table(title=f"{store.run}, round {round_}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name, justify in (("step", "left"), ("rows", "right"), ("ok", "right"), ("left out", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for stage, total, ok, _share in rows:
        table.add_row(stage, str(total), str(ok), reasons.get(stage) or "")
    out.print(table)
    query = "SELECT control FROM rounds WHERE round = ? AND control IS NOT NULL"
    for (control,) in con.execute(query, [round_]).fetchall():
        out.print(f"The pairs are a control (pairing.control = {control}), not the judge's.", markup=False)


def gap_of(con: DuckDBPyConnection, round_: int) -> Row:
    """Mean scores of references and answers, over the `n` problems that have both; the reference `wins` in so many."""
    query = """
        SELECT avg(reference_score) AS reference, avg(mean_score) AS mean, avg(best_score) AS best, count(*) AS n,
               count(*) FILTER (reference_score > mean_score) AS wins, avg(hinted_score) AS hinted
        FROM gap WHERE round = ? AND reference_score IS NOT NULL AND mean_score IS NOT NULL
    """
    return rows_of(con, query, [round_])[0]


def print_gap(store: Store, round_: int, out: Console) -> None:
    """The reference answer's score beside the model's own: it should win, or the rubrics do not see the document."""
    gap = gap_of(connect(store), round_)
    if gap["n"]:
        out.print(
            f"\nGap: references score {gap['reference']:.3f} on average, answers without the document "
            f"{gap['mean']:.3f} (best of each problem {gap['best']:.3f}).\nThe reference is above the mean answer in "
            f"{gap['wins']} of {gap['n']} problems.",
            markup=False,
        )
    if gap["hinted"] is not None:
        out.print(f"Answers with a hint score {gap['hinted']:.3f}, and stand apart from those.", markup=False)
    if told := helped(connect(store), round_):
        out.print(f"Chosen answers beyond the paper: {told}.", markup=False)


def helped(con: DuckDBPyConnection, round_: int) -> str:
    """How many chosen answers the model did not write blind, beyond the paper; empty where all are."""
    query = """SELECT count(*) AS n, count(*) FILTER (chosen_from = 'hinted') AS hinted,
                      count(*) FILTER (chosen_from = 'reference') AS reference
               FROM pair_lineage WHERE round = ? AND status = 'ok'"""
    found = rows_of(con, query, [round_])[0]
    if not found["hinted"] and not found["reference"]:
        return ""
    return f"{found['hinted']} hinted, {found['reference']} references of {found['n']}"


FAR, KNOWN = 0.1, 0.9  # places of a round's answers from where on it is worth a word


def print_signal(store: Store, round_: int, out: Console) -> None:
    """How many problems have something to learn from, and what that says of corpus and model."""
    query = """SELECT count(*) AS n, count(*) FILTER (verdict = 'signal') AS signal, median(place) AS place,
                      count(*) FILTER (verdict = 'no answer tells anything') AS nothing FROM signal WHERE round = ?"""
    found = rows_of(connect(store), query, [round_])[0]
    if not found["n"]:
        return
    said = f"A signal in {found['signal']} of {found['n']} problems"
    if found["place"] is not None:
        said += f"; the answers lie at {found['place']:.2f} between telling nothing (0) and the reference (1)"
    out.print(f"{said}.", markup=False)
    if 2 * found["nothing"] > found["n"] or (found["place"] is not None and found["place"] < FAR):
        advice = "this corpus is too far from what the model knows: it cannot find the better answer among its own"
        out.print(f"In most problems no answer tells any of the facts: {advice}.", markup=False)
    elif found["place"] is not None and found["place"] > KNOWN:
        out.print("The model knows what it is asked already: another corpus has more to teach it.", markup=False)


def print_training(store: Store, round_: int, model: dict[str, Any], out: Console) -> None:
    """What the steps were for, what was checked of the model, what is not known yet, and where it is."""
    rows = connect(store).execute("SELECT loss, accuracy FROM training_steps WHERE round = ? ORDER BY step", [round_])
    losses = [loss for loss, _ in rows.fetchall() if loss is not None]
    curve = " → ".join(f"{loss:.3f}" for loss in ([losses[0], losses[-1]] if len(losses) > 1 else losses))
    left_over = f" ({model['reason']})" if model["reason"] else ""
    said = (
        f"\nTrained on {model['pairs']} pairs{left_over}: {len(losses)} DPO steps, which make better answers likelier "
        f"and worse ones less likely.\nLoss {curve} (0.693: the model prefers neither). The new model loads, has its "
        "parent's size, has changed, and answers.\nWhether it is better is not known yet: pop selfplay measures that."
    )
    out.print(said, markup=False)
    if model["warnings"]:
        out.print(f"Look at it before you use it: {model['warnings']}.", markup=False)
    out.print(f"Model: {located(store, model['path'])}", markup=False, soft_wrap=True)


def print_status(store: Store, out: Console, wanted: Config | None = None) -> None:
    """Each round's stages: shards done, owed and stale, and which setting made them stale.

    With `wanted`, as a round with these settings would find them; nothing is changed.
    """
    con = connect(store)
    for manifest in manifests(store):
        number = manifest["round"]
        state = "finished" if manifest["finished"] else "not finished: the same `pop round` command goes on"
        out.print(f"{store.run}, round {number}: {'with these settings' if wanted else state}", markup=False)
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("stage", "done", "owed", "stale", "because", "shards"):
            table.add_column(name, justify="right" if name in ("done", "owed", "stale") else "left")
        try:
            plan = _plan(store, manifest, wanted)
        except ValidationError as error:
            out.print(_unknown(manifest, error), markup=False, soft_wrap=True)
            print_funnel(store, number, out, con)
            continue
        for stage in STAGES:
            table.add_row(stage, *stage_status(store, plan, stage))
        out.print(table)
        print_remembered(store, number, out)
        print_funnel(store, number, out, con)
        print_pace(con, number, out)
        print_unsuited(con, number, plan.config, out)
    print_gate(store, out, wanted)


def print_gate(store: Store, out: Console, wanted: Config | None) -> None:
    """Whether the problems of a run that a gate decides on are too few to tell."""
    with contextlib.suppress(ValidationError):  # which `print_status` has named
        wanted = wanted or next((Config.model_validate(m["config"]) for m in reversed(list(manifests(store)))), None)
    config = wanted
    if config and (store.files("decisions") or store.files("evaluations")) and (why := too_few(config)):
        out.print(f"\nThe gate: {why}", markup=False)


def _unknown(manifest: Row, error: ValidationError) -> str:
    """The line for a round whose settings this version does not know: what is done and owed cannot be told."""
    names = ", ".join(".".join(map(str, one["loc"])) for one in error.errors()[:3])
    return (
        f"made by version {manifest.get('version')} of pop with settings that this one does not know ({names}): "
        "look at its stages with that version; its tables can be read as they are"
    )


def _plan(store: Store, manifest: dict[str, Any], wanted: Config | None) -> Plan:
    """The plan of a round that was begun, or what it would be with other settings (weights are not looked at)."""
    config, number = Config.model_validate(manifest["config"]), manifest["round"]
    models, corpus = dict(manifest["models"]), manifest.get("corpus")
    reused = {stage: Source(**source) for stage, source in manifest.get("reused", {}).items()}
    if wanted is not None:
        from tasks.shard import known_stamp  # brings Prefect along, which takes longer than all the rest of a look

        wanted = with_frozen(settled(wanted, store), store, number)
        reused = sources(wanted, store.root, store.run, number)
        for name in {*wanted.roles.model_dump().values(), "policy"}:
            if config.models.get(name) != wanted.models[name] or config.engine.kind != wanted.engine.kind:
                models[name] = f"changed:{name}"
        config, corpus = wanted, known_stamp(wanted.corpus, corpus)
    return make_plan(config, store.run, number, models, corpus, manifest.get("earlier"), reused)


def stage_status(store: Store, plan: Plan, stage: str) -> tuple[str, str, str, str, str]:
    """Shards done, owed and stale of a stage, the settings that differ, and the shards that are not done.

    Stale is what other settings made, whether it still stands there or was set aside and is not made again yet.
    """
    if stage == "train" and (why := why_not_trained(plan.config)):
        return "-", "-", "-", why, ""
    names = _shards(store, plan) if stage not in ("shard", "train") else ("shard-00000",)
    owed, stale, because = list[str](), list[str](), set[str]()
    aside = _set_aside(store, plan, stage)
    for name in names:
        footer = store.footer(TABLE_OF[stage], plan.round, name) or aside.get(name)
        if footer is None:
            owed.append(name)
        elif footer["fingerprint"] != plan.fingerprints[stage] or name in aside:
            stale.append(name)
            because |= set(differences(plan, stage, footer))
    done = len(names) - len(owed) - len(stale)
    left = [*stale, *owed] if done else []  # all of them need no list
    shown = ", ".join(left[:SHARDS_SHOWN]) + (f" and {len(left) - SHARDS_SHOWN} more" if left[SHARDS_SHOWN:] else "")
    return str(done), str(len(owed)), str(len(stale)), ", ".join(sorted(because)), shown


def _set_aside(store: Store, plan: Plan, stage: str) -> dict[str, dict[str, Any]]:
    """Footers of what was set aside last of a stage's shards that are not there now, by shard."""
    found: dict[str, dict[str, Any]] = {}
    table = TABLE_OF[stage]
    for path in sorted(store.glob(f"superseded/{table}/round={plan.round:03d}/*.parquet"), key=store.fs.modified):
        name = path.rsplit("/", 1)[1].split(".")[0]
        with contextlib.suppress(Damaged):
            if not store.fs.exists(store.path(table, plan.round, name)):
                found[name] = store.inspect(path, table)
    return found


def _shards(store: Store, plan: Plan) -> tuple[str, ...]:
    return tuple((documents_manifest(store, plan.round) or {}).get("shards", ()))


def print_models(store: Store, out: Console) -> None:
    """The models of a run, oldest first; the one that stands is marked."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("", "round", "model", "parent", "status", "measured"):
        table.add_column(name, no_wrap=True)
    table.add_column("because", overflow="fold")
    for row in lineage(store):
        measured = "" if row["value"] is None else f"{row['value']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})"
        table.add_row(
            "*" if row["stands"] else "", str(row["round"]), row["model_id"][:ID_SHOWN], row["parent"][:ID_SHOWN],
            row["status"], measured, row["reason"] or "",
        )  # fmt: skip
    out.print(table)
    if standing(store).path is None:
        out.print("The run stands at the model that it began with.", markup=False)
