"""What a person reads at the end of a round and in `pop status`."""

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from schemas.config import Config
from tasks.db import connect
from tasks.plan import READS, STAGES, TABLE_OF, Plan, Source, make_plan
from tasks.runs import manifests
from tasks.store import Store
from tasks.train import why_not_trained


def print_outcome(outcome: dict[str, Any], out: Console) -> None:
    """The funnel, the gap, the model's path and what to try next."""
    store = Store(outcome["root"], outcome["run"])
    print_funnel(store, outcome["round"], out)
    if "fake" in str(outcome["not_trained"]):
        out.print("\nThese texts and scores come from the fake engine and mean nothing.", markup=False)
    print_gap(store, outcome["round"], out)
    model = outcome["model"]
    if model:
        print_training(store, outcome["round"], model, out)
    else:
        out.print(f"No model was trained: {outcome['not_trained']}.", markup=False)
    out.print("\nTry next:")
    run = outcome["run"]
    for command in (
        f'pop sql --run {run} "select title, name, gold from criteria join documents using (run, round, document_id)"',
        f'pop sql --run {run} "select * from rejections"',
        f"pop status --run {run}",
    ):
        out.print(f"  {command}", markup=False, soft_wrap=True)


def print_funnel(store: Store, round_: int, out: Console) -> None:
    """From documents to pairs, and why something fell out."""
    con = connect(store)
    rows = con.execute(
        "SELECT stage, total, ok, share_ok FROM funnel WHERE round = ? ORDER BY step", [round_]
    ).fetchall()
    why = con.execute(
        "SELECT stage, string_agg(count || ' ' || status, ', ') FROM rejections WHERE round = ? GROUP BY stage",
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


def print_gap(store: Store, round_: int, out: Console) -> None:
    """The reference answer's score beside the model's own: it should win, or the rubrics do not see the document."""
    row = connect(store).execute(
        "SELECT avg(reference_score), avg(mean_score), avg(best_score), count(*), "
        "count(*) FILTER (reference_score > mean_score) FROM gap WHERE round = ? AND reference_score IS NOT NULL "
        "AND mean_score IS NOT NULL", [round_],
    ).fetchone()  # fmt: skip
    if row is None or not row[3]:
        return
    reference, mean, best, problems, wins = row
    out.print(
        f"\nGap: references score {reference:.3f} on average, answers without the document {mean:.3f} "
        f"(best of each problem {best:.3f}).\nThe reference is above the mean answer in {wins} of {problems} problems.",
        markup=False,
    )


def print_training(store: Store, round_: int, model: dict[str, Any], out: Console) -> None:
    """The loss curve in a line, and where the model is."""
    rows = connect(store).execute("SELECT loss, accuracy FROM training_steps WHERE round = ? ORDER BY step", [round_])
    losses = [loss for loss, _ in rows.fetchall() if loss is not None]
    curve = " → ".join(f"{loss:.3f}" for loss in ([losses[0], losses[-1]] if len(losses) > 1 else losses))
    left_over = f" ({model['reason']})" if model["reason"] else ""
    out.print(f"\nTrained on {model['pairs']} pairs{left_over}, {len(losses)} steps, loss {curve}.", markup=False)
    out.print(f"Model: {model['path']}", markup=False, soft_wrap=True)


def print_status(store: Store, out: Console) -> None:
    """Each round's stages: shards done, owed and stale, and which setting made them stale."""
    for manifest in manifests(store):
        number = manifest["round"]
        state = "finished" if manifest["finished"] else "not finished: the same `pop round` command goes on"
        out.print(f"{store.run}, round {number}: {state}", markup=False)
        config = Config.model_validate(manifest["config"])
        reused = {stage: Source(**source) for stage, source in manifest.get("reused", {}).items()}
        plan = make_plan(
            config, store.run, number, manifest["models"], manifest.get("corpus"), manifest.get("earlier"), reused
        )  # fmt: skip
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name, justify in (
            ("stage", "left"),
            ("done", "right"),
            ("owed", "right"),
            ("stale", "right"),
            ("because", "left"),
        ):
            table.add_column(name, justify=justify)  # type: ignore[arg-type]
        for stage in STAGES:
            table.add_row(stage, *stage_status(store, plan, stage))
        out.print(table)
        print_funnel(store, number, out)


def stage_status(store: Store, plan: Plan, stage: str) -> tuple[str, str, str, str]:
    """Shards done, owed and stale of a stage, and the names of the settings that differ."""
    if stage == "train" and (why := why_not_trained(plan.config)):
        return "-", "-", "-", why
    owed = _shards(store, plan) if stage not in ("shard", "train") else ("shard-00000",)
    done, stale, because = 0, 0, set[str]()
    for name in owed:
        footer = store.footer(TABLE_OF[stage], plan.round, name)
        if footer is None:
            continue
        if footer["fingerprint"] == plan.fingerprints[stage]:
            done += 1
            continue
        stale += 1
        changed = changed_settings(footer["settings"], plan.settings[stage])
        because |= set(changed or [f"{n} changed" for n in READS[stage] if footer["inputs"][n] != plan.fingerprints[n]])
    return str(done), str(len(owed) - done - stale), str(stale), ", ".join(sorted(because))


def changed_settings(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the settings that differ."""
    old, new = json.loads(json.dumps(old)), json.loads(json.dumps(new))
    names: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            names += changed_settings(a, b, f"{prefix}{key}.")
        elif a != b:
            names.append(f"{prefix}{key}")
    return names


def _shards(store: Store, plan: Plan) -> tuple[str, ...]:
    path = f"{store.base}/manifests/round={plan.round:03d}/documents.json"
    if not store.fs.exists(path):
        return ()
    return tuple(json.loads(store.fs.cat_file(path))["shards"])
