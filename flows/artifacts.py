"""What the Prefect UI shows of a round beside its task runs: progress a stage, the funnel, sample rubrics."""

import base64
import re
from typing import Any

from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)

from flows.curves import curves_svg
from flows.display import LABELS
from tasks.db import connect
from tasks.plan import STAGES
from tasks.registry import lineage
from tasks.store import Row, Store

SAMPLE_RUBRICS = 12


class StageProgress:
    """One progress artifact a stage, moved when a shard is done."""

    def __init__(self) -> None:
        self._ids: dict[str, Any] = {}

    async def create(self, run: str) -> None:
        """One artifact for each stage, at 0 %."""
        for stage in STAGES:
            self._ids[stage] = await acreate_progress_artifact(
                progress=0.0, key=f"progress-{stage}", description=f"{LABELS[stage]} of {run}"
            )

    async def move(self, stage: str, done: int, total: int) -> None:
        """Set a stage's progress."""
        await aupdate_progress_artifact(self._ids[stage], progress=100.0 * done / max(total, 1))


def funnel_markdown(store: Store, round_: int) -> str:
    """The funnel as a Markdown table."""
    rows = (
        connect(store).execute("SELECT stage, total, ok FROM funnel WHERE round = ? ORDER BY step", [round_]).fetchall()
    )
    lines = [f"### Funnel of {store.run}, round {round_}", "", "| step | rows | ok |", "| --- | ---: | ---: |"]
    return "\n".join(lines + [f"| {stage} | {total} | {ok} |" for stage, total, ok in rows])


async def round_artifacts(store: Store, round_: int) -> None:
    """The funnel as Markdown and sample rubrics as a table."""
    await acreate_markdown_artifact(funnel_markdown(store, round_), key="funnel", description=f"Funnel of {store.run}")
    query = f"""
        SELECT p.problem, c.name, c.gold, c.weight FROM criteria c JOIN problems p USING (run, round, problem_id)
        WHERE c.round = ? ORDER BY c.rubric_id, c.name LIMIT {SAMPLE_RUBRICS}
    """
    cursor = connect(store).execute(query, [round_])
    names = [column[0] for column in cursor.description]
    table = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    await acreate_table_artifact(table, key="sample-rubrics", description=f"Criteria of {store.run}, round {round_}")


async def training_artifact(store: Store, round_: int) -> None:
    """Loss and accuracy of the training as a picture, in Markdown: an image artifact shows its whole address."""
    query = "SELECT step, loss, accuracy FROM training_steps WHERE round = ? ORDER BY step"
    title = f"{store.run}, round {round_}"
    curve = curves_svg(connect(store).execute(query, [round_]).fetchall(), title)
    if curve:
        url = "data:image/svg+xml;base64," + base64.b64encode(curve.encode()).decode()
        await acreate_markdown_artifact(
            f"![loss and accuracy]({url})", key=_key("training", store.run), description=f"Training of {title}"
        )


async def decision_artifact(store: Store, number: int, row: Row) -> None:
    """What the gate decided, with its numbers, and where the tables are."""
    lines = [
        f"### {store.run}, round {number}: **{row['decision'].replace('_', ' ')}**", "",
        str(row["reason"]), "", "| metric | value | 95 % interval | bound |", "| --- | ---: | --- | --- |",
        f"| {row['metric']} | {_shown(row['value'])} | {_shown(row['low'])} to {_shown(row['high'])} "
        f"| above {_shown(row['threshold'])} |",
    ]  # fmt: skip
    for guard in row["guards"] or ():
        state = {None: "not measured", True: "broken", False: "kept"}[guard["broken"]]
        lines.append(
            f"| {guard['metric']} | {_shown(guard['value'])} | | falls by {guard['max_fall']:g} at most: {state} |"
        )
    lines += ["", f"The model that stands now: `{row['standing_model_id'] or 'the one of the configuration'}`", "",
              f"Tables: `{store.base}`; ask them: `pop sql --run {store.run} \"from evaluations\"`"]  # fmt: skip
    await acreate_markdown_artifact(
        "\n".join(lines), key=_key("gate", store.run), description=f"The gate's decision on {store.run}"
    )


async def lineage_artifact(store: Store, why: str) -> None:
    """The models of the run with their parents and statuses, and why it stopped."""
    table = [
        {name: row[name] for name in ("round", "model_id", "parent", "status", "value", "low", "high", "stands")}
        for row in lineage(store)
    ]  # fmt: skip
    await acreate_table_artifact(table, key=_key("models", store.run), description=f"{store.run} stopped: {why}")


def _key(what: str, run: str) -> str:
    """An artifact's key: lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"{what}-{run}".lower()).strip("-")


def _shown(value: float | None) -> str:
    return "not known" if value is None else f"{value:.4g}"
