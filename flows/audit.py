"""Audits in the Prefect UI: the gate that a round passes before it trains, and a flow to look at any round."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from prefect import flow, get_run_logger, runtime, task

from flows.views.artifacts import audits_artifact
from flows.views.findings import STYLES, as_row, failures, findings, label, threshold, value
from schemas.errors import CheckFailed
from schemas.names import Root, RoundNumber, RunName
from tasks.staging.stage import TASK_OPTIONS, Round
from tasks.storage.runs import round_of, store_of
from tasks.storage.store import Store


def run_name() -> str:
    """`demo-audit`, or `newest-audit` where the newest run is meant."""
    return f"{runtime.flow_run.parameters.get('run') or 'newest'}-audit"


@flow(name="audit", flow_run_name=run_name, persist_result=False)
async def audit_flow(
    run: RunName | None = None, round: RoundNumber | None = None, root: Root = "data/runs",  # noqa: A002
    audits: str | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Did a round fool itself? Fails where a blocking audit does.

    Args:
        run: name of the run; empty: the newest under the root.
        round: number of the round; empty: the run's newest.
        root: local folder or object store URL.
        audits: a folder with audits of your own.
    """
    store = store_of(root, run)
    number = round_of(store, round)
    rows, failed = await look(store, number, audits, get_run_logger().info)
    if failed:
        raise CheckFailed(f"{store.run}, round {number}: audit {failed}")
    return rows


@task(name="audit", task_run_name="audit", **TASK_OPTIONS)
async def audit_task(round_: Round) -> list[dict[str, Any]]:
    """Every audit of the round, told in a line each where it warns or fails.

    Raises:
        CheckFailed: a blocking audit fails and `gate.audits` is `block`.
    """
    mode, store = round_.plan.config.gate.audits, round_.store
    if mode == "off":
        return []
    rows, failed = await look(store, round_.plan.round, None, round_.progress.say)
    if failed and mode == "block":
        raise CheckFailed(
            f"audit {failed}. Nothing was trained; look with: pop audit --run {store.run}; "
            "to train all the same: --set gate.audits=warn"
        )
    return rows


async def look(
    store: Store, number: int, folder: str | None, say: Callable[[str], None]
) -> tuple[list[dict[str, Any]], str]:  # fmt: skip
    """Run every audit, show what it found, and tell what is wrong; the rows, and the blocking failures in a line."""
    found = findings(store, number, folder=folder)
    for finding in found:
        if finding.verdict in ("warn", "fail"):
            say(f"audit {label(finding)}: {value(finding)}, wanted {threshold(finding)}")
    counts = Counter[str](finding.verdict for finding in found)
    say("audits: " + ", ".join(f"{counts[verdict]} {verdict}" for verdict in STYLES if counts[verdict]))
    shown = [
        {"verdict": f.verdict, "audit": label(f), "value": value(f), "wanted": threshold(f), "n": f.n,
         "detail": f.detail} for f in found
    ]  # fmt: skip
    await audits_artifact(store, number, shown)
    return [as_row(finding) for finding in found], failures(found)
