"""What the Prefect UI shows of a round beside its task runs: progress a stage, the funnel, sample rubrics."""

from typing import Any

from duckdb import DuckDBPyConnection
from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)

from flows.display import LABELS
from tasks.db import connect
from tasks.plan import STAGES
from tasks.store import Store

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


def funnel_markdown(con: DuckDBPyConnection, run: str, round_: int) -> str:
    """The funnel as a Markdown table."""
    rows = con.execute("SELECT stage, total, ok FROM funnel WHERE round = ? ORDER BY step", [round_]).fetchall()
    lines = [f"### Funnel of {run}, round {round_}", "", "| step | rows | ok |", "| --- | ---: | ---: |"]
    return "\n".join(lines + [f"| {stage} | {total} | {ok} |" for stage, total, ok in rows])


async def round_artifacts(store: Store, round_: int) -> None:
    """The funnel as Markdown and sample rubrics as a table."""
    con = connect(store)
    funnel = funnel_markdown(con, store.run, round_)
    await acreate_markdown_artifact(funnel, key="funnel", description=f"Funnel of {store.run}")
    query = f"""
        SELECT p.problem, c.name, c.gold, c.weight FROM criteria c JOIN problems p USING (run, round, problem_id)
        WHERE c.round = ? ORDER BY c.rubric_id, c.name LIMIT {SAMPLE_RUBRICS}
    """
    cursor = con.execute(query, [round_])
    names = [column[0] for column in cursor.description]
    table = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    await acreate_table_artifact(table, key="sample-rubrics", description=f"Criteria of {store.run}, round {round_}")
