"""Part of a deployment's set-up: a Prefect automation that marks runs as crashed whose process has died.

After kill -9 or a power cut nobody tells Prefect, which would show the run as RUNNING for ever. A living run sends a
heartbeat (`PREFECT_FLOWS_HEARTBEAT_FREQUENCY`, 30 s by our settings); three that are missing mean that it is dead. What
is done and what is owed does not depend on any of this: that, the files say.

    python -m flows.deploy.automation            # against the server of PREFECT_API_URL; again changes nothing
"""

import asyncio
from datetime import timedelta

from prefect.automations import Automation
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture

from flows.settings import HEARTBEAT_SEC

NAME = "POP: a run without heartbeat has crashed"
HEARTBEAT = "prefect.flow-run.heartbeat"
ENDS = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}


def automation(within_sec: float = 3.0 * HEARTBEAT_SEC) -> Automation:
    """After a heartbeat, another one or an end of the run is expected within that time."""
    return Automation(
        name=NAME,
        description="Marks a flow run as crashed when its process sends no sign of life any more.",
        trigger=EventTrigger(
            match={"prefect.resource.id": "prefect.flow-run.*"}, for_each={"prefect.resource.id"}, after={HEARTBEAT},
            expect={HEARTBEAT, *ENDS}, posture=Posture.Proactive, threshold=1, within=timedelta(seconds=within_sec),
        ),
        actions=[ChangeFlowRunState(
            state=StateType.CRASHED, name="Crashed", message="Its process sends no sign of life any more."
        )],
    )  # fmt: skip


async def mark_dead_runs_as_crashed(within_sec: float = 3.0 * HEARTBEAT_SEC, reset: bool = False) -> bool:
    """Create the automation, or bring it up to date; whether it had to be created. Switched off, it stays so."""
    wanted = automation(within_sec)
    try:
        known = await Automation.aread(name=NAME)
    except ValueError:
        await wanted.acreate()
        return True
    wanted.id, wanted.enabled = known.id, reset or known.enabled
    await wanted.aupdate()
    return False


if __name__ == "__main__":
    created = asyncio.run(mark_dead_runs_as_crashed())
    print(f"automation {NAME!r}: {'created' if created else 'is there already'}")
