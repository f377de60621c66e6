"""What the Prefect UI shows of a round beside its task runs: progress a stage, and the report's plots and tables."""

import base64
import re
from typing import Any

from prefect.artifacts import (
    acreate_image_artifact,
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)

from flows.display import LABELS
from flows.plots import LIGHT, coloured, plots
from flows.report import table_rows
from tasks.db import connect
from tasks.plan import STAGES
from tasks.store import Store

SAMPLE_RUBRICS = 12
MOST_ROWS = 200  # that the UI takes of a table


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


def _key(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower())


async def report_artifacts(store: Store, round_: int) -> None:
    """The report's plots as images and its tables as tables. The UI has its own light and dark: they get a ground."""
    about = f"{store.run}, round {round_}"
    with connect(store) as con:
        drawn, tables = plots(con, round_), table_rows(con, round_)
    for title, svg in drawn.items():
        image = coloured(svg, LIGHT).replace("<svg ", '<svg style="background:#fff" ', 1).encode()
        url = f"data:image/svg+xml;base64,{base64.b64encode(image).decode()}"
        await acreate_image_artifact(image_url=url, key=f"plot-{_key(title)}", description=f"{title} of {about}")
    for title, rows in tables.items():
        await acreate_table_artifact(rows[:MOST_ROWS], key=_key(title), description=f"{title} of {about}")


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
