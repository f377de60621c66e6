"""What the Prefect UI shows of a round beside its task runs: progress a stage, and the report's plots and tables."""

import asyncio
import base64
import re
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import httpx
from duckdb import DuckDBPyConnection
from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)
from prefect.exceptions import PrefectException

from flows.views.display import LABELS
from flows.views.plots import LIGHT, coloured, plots
from flows.views.report import table_rows
from tasks.models.registry import lineage
from tasks.staging.plan import STAGES
from tasks.storage.db import connect, local_copies, rows_of
from tasks.storage.store import Row, Store

T = TypeVar("T")
SAMPLE_RUBRICS = 12
PATIENCE_SEC = 10.0
MOVE_SEC = 2.0
AWAY_SEC = 120.0
_SILENCE = {"failures": 0.0, "until": 0.0}  # in a row; when the server is asked again
MOST_ROWS = 200  # that the UI takes of a table


async def published(work: Coroutine[Any, Any, T]) -> T | None:
    """Show something, or nothing: Prefect's server may go away while a round runs, and must not stop it by that.

    One that did not answer twice in a row is left alone for a while, since a round shows two dozen things.
    """
    if time.monotonic() < _SILENCE["until"]:
        work.close()
        return None
    try:
        answer = await asyncio.wait_for(work, PATIENCE_SEC)
    except (httpx.TransportError, TimeoutError):
        _SILENCE["failures"] += 1
        if _SILENCE["failures"] >= 2:
            _SILENCE["until"] = time.monotonic() + AWAY_SEC
        return None
    except (httpx.HTTPError, PrefectException):
        return None
    _SILENCE["failures"] = 0
    return answer


class StageProgress:
    """One progress artifact a stage, moved when a shard is done."""

    def __init__(self) -> None:
        self._ids: dict[str, Any] = {}
        self._moved: dict[str, float] = {}

    async def create(self, run: str) -> None:
        """One artifact for each stage, at 0 %."""
        for stage in STAGES:
            description = f"{LABELS[stage]} of {run}"
            self._ids[stage] = await published(
                acreate_progress_artifact(progress=0.0, key=f"progress-{stage}", description=description)
            )

    async def move(self, stage: str, done: int, total: int) -> None:
        """Set a stage's progress; every two seconds, and at its end, since each costs some 10 ms of the event loop."""
        if (known := self._ids[stage]) is None:
            return  # a server that did not answer once is not asked again
        if done < total and time.monotonic() < self._moved.get(stage, -MOVE_SEC) + MOVE_SEC:
            return
        self._moved[stage] = time.monotonic()
        progress = aupdate_progress_artifact(known, progress=100.0 * done / max(total, 1))
        if await published(progress) is None:
            self._ids = dict.fromkeys(STAGES)


def funnel_markdown(con: DuckDBPyConnection, run: str, round_: int) -> str:
    """The funnel as a Markdown table."""
    rows = con.execute("SELECT stage, total, ok FROM funnel WHERE round = ? ORDER BY step", [round_]).fetchall()
    lines = [f"### Funnel of {run}, round {round_}", "", "| step | rows | ok |", "| --- | ---: | ---: |"]
    return "\n".join(lines + [f"| {stage} | {total} | {ok} |" for stage, total, ok in rows])


def _key(title: str) -> str:
    """An artifact's key: lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


async def report_artifacts(store: Store, round_: int) -> None:
    """The report's plots as pictures and its tables as tables. The UI has its own light and dark: they get a ground."""
    about = f"{store.run}, round {round_}"
    with local_copies(store) as [copy], connect(copy) as con:
        drawn, tables = plots(con, round_), table_rows(con, round_)
    for title, svg in drawn.items():
        image = coloured(svg, LIGHT).replace("<svg ", '<svg style="background:#fff" ', 1).encode()
        url = f"data:image/svg+xml;base64,{base64.b64encode(image).decode()}"
        # in Markdown: of an image artifact, the UI writes the whole address below it
        picture, key = f"![{title}]({url})", f"plot-{_key(title)}"
        await published(acreate_markdown_artifact(picture, key=key, description=f"{title} of {about}"))
    for title, rows in tables.items():
        await published(acreate_table_artifact(rows[:MOST_ROWS], key=_key(title), description=f"{title} of {about}"))


async def round_artifacts(store: Store, round_: int) -> None:
    """The funnel as Markdown and sample rubrics as a table; the problem last: it is long, and a page shows the left."""
    query = f"""
        SELECT c.weight, c.name, c.gold, p.problem FROM criteria c JOIN problems p USING (run, round, problem_id)
        WHERE c.round = ? ORDER BY c.rubric_id, c.name LIMIT {SAMPLE_RUBRICS}
    """
    with local_copies(store) as [copy], connect(copy) as con:
        funnel, criteria = funnel_markdown(con, store.run, round_), rows_of(con, query, [round_])
    await published(acreate_markdown_artifact(funnel, key="funnel", description=f"Funnel of {store.run}"))
    about = f"Criteria of {store.run}, round {round_}"
    await published(acreate_table_artifact(criteria, key="sample-rubrics", description=about))


async def audits_artifact(store: Store, round_: int, rows: list[Row]) -> None:
    """What every audit found."""
    await published(acreate_table_artifact(rows, key="audits", description=f"Audits of {store.run}, round {round_}"))


async def evaluation_artifact(store: Store, round_: int, candidate: str, rows: list[Row]) -> None:
    """Every figure of an evaluation with its interval; what was not run says why."""
    lines = ["| suite | metric | of | value | 95 % interval | n | |", "| --- | --- | --- | ---: | --- | ---: | --- |"]
    for row in rows:
        value = "not run" if row["value"] is None else f"{row['value']:.4f}"
        interval = "" if row["low"] is None else f"{row['low']:.4f} to {row['high']:.4f}"
        note = " ".join(str(row["reason"] or "").split())[:200]
        of = "candidate" if row["model_id"] == candidate else "parent"
        lines.append(f"| {row['suite']} | {row['metric']} | {of} | {value} | {interval} | {row['n']} | {note} |")
    key, about = _key(f"evaluation-{store.run}"), f"{store.run}, round {round_}: candidate against parent"
    await published(acreate_markdown_artifact("\n".join(lines), key=key, description=about))


async def decision_artifact(store: Store, number: int, row: Row) -> None:
    """What the gate decided, with its numbers, and where the tables are."""
    lines = [
        f"### {store.run}, round {number}: **{row['decision'].replace('_', ' ')}**", "",
        str(row["reason"]), "", "| metric | value | 95 % interval | bound |", "| --- | ---: | --- | --- |",
        f"| {row['metric']} | {_figure(row['value'])} | {_figure(row['low'])} to {_figure(row['high'])} "
        f"| above {_figure(row['threshold'])} |",
    ]  # fmt: skip
    for guard in row["guards"] or ():
        state = {None: "not measured", True: "broken", False: "kept"}[guard["broken"]]
        lines.append(
            f"| {guard['metric']} | {_figure(guard['value'])} | | falls by {guard['max_fall']:g} at most: {state} |"
        )
    lines += ["", f"The model that stands now: `{row['standing_model_id'] or 'the one of the configuration'}`", "",
              f"Tables: `{store.base}`; ask them: `pop sql --run {store.run} \"from evaluations\"`"]  # fmt: skip
    about = f"The gate's decision on {store.run}"
    await published(acreate_markdown_artifact("\n".join(lines), key=_key(f"gate-{store.run}"), description=about))


async def lineage_artifact(store: Store, why: str) -> None:
    """The models of the run with their parents and statuses, and why it stopped."""
    table = [
        {name: row[name] for name in ("round", "model_id", "parent", "status", "value", "low", "high", "stands")}
        for row in lineage(store)
    ]  # fmt: skip
    key, about = _key(f"models-{store.run}"), f"{store.run} stopped: {why}"
    await published(acreate_table_artifact(table, key=key, description=about))


def _figure(value: float | None) -> str:
    return "not known" if value is None else f"{value:.4g}"
