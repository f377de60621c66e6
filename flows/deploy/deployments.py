"""Part of a deployment's set-up: work pool, limit `gpu`, automation and the deployments of `prefect.yaml`.

Again, it brings them up to date and keeps what a person has changed (`flows/deploy/kept.py`); with `--reset` all is set
as the files say.

    python -m flows.deploy.deployments [--reset]         # at the server of PREFECT_API_URL
"""

import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import yaml
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import (
    GlobalConcurrencyLimitCreate,
    GlobalConcurrencyLimitUpdate,
    WorkPoolCreate,
)
from prefect.client.schemas.schedules import CronSchedule, RRuleSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.variables import Variable
from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type
from pydantic import TypeAdapter, ValidationError

from flows.deploy import kept
from flows.deploy.automation import mark_dead_runs_as_crashed
from flows.deploy.kept import Entry, Settings
from flows.deploy.server import POOL, say
from flows.slots import LIMIT
from schemas.config import Config
from schemas.errors import RETRY, DependencyError, PopError, UserError
from schemas.load import PROJECT

FILE = PROJECT / "prefect.yaml"
STEP_SEC = 300.0
ROOM = 5000 - 2  # letters that a variable of Prefect holds


async def set_up(file: Path, reset: bool) -> None:
    """All of it, each with a line.

    Raises:
        UserError: the file cannot be read.
        DependencyError: Prefect refuses something.
    """
    content = _content(file)
    async with get_client() as client:
        if (away := await client.api_healthcheck()) is not None:
            raise DependencyError(
                f"Prefect's server {client.api_url} does not answer ({away}): start it, or mend the address"
            )
        await make_pool(client, reset)
        say("work pool: ready")
        await make_limit(client, reset)
        say(f"limit `{LIMIT}`: ready")
        await mark_dead_runs_as_crashed(reset=reset)
        say("automation: ready")
        await deploy(client, content, reset)
        say("deployments: ready")


async def deploy(client: PrefectClient, content: Entry, reset: bool) -> None:
    """The deployments of the file's content; each is one transaction: no paused schedule is active in between."""
    entries, said = [], list[str]()
    files, persons = dict[str, Settings](), dict[str, list[kept.Path]]()
    for entry in content["deployments"]:
        name, file = entry["name"], kept.of_file(entry)
        there, deployed = await _server(client, entry), await _deployed(name)
        if there is None and deployed is not None and not reset:
            said.append(f"{name}: left out, a person has deleted it")
            continue
        settings = kept.Merged(file)
        if there is not None and not reset:
            server = kept.of_server(there)
            settings = kept.merged(file, server, deployed)
            said += not_fitting(entry, settings, file)
            said += kept.lines(name, settings, with_defaults(entry) | file, server)
        if there is not None:
            for schedule in kept.unwanted(settings.settings, there):
                await client.delete_deployment_schedule(UUID(there["id"]), UUID(schedule))
        entries.append(kept.as_entry(entry, settings.settings))
        files[name], persons[name] = file, settings.kept
    if entries:
        _prefect_deploy(content | {"deployments": entries})
    for entry in entries:
        await _remember(client, entry, files[entry["name"]], persons[entry["name"]])
    for line in said:
        say(f"  {line}")
    if said:
        say("  --reset sets all as prefect.yaml says (make deploy ARGS=--reset)")


def not_fitting(entry: Entry, settings: kept.Merged, file: Settings) -> list[str]:
    """Let go of kept settings that this version would refuse, run for run; a line each."""
    said = []
    for where, why in refused(kept.as_entry(entry, settings.settings)):
        for path in [one for one in settings.kept if one[:2] == ("parameters", "config")]:
            if path[2 : 2 + len(where)] == where[: len(path) - 2]:
                settings.kept.remove(path)
                value = settings.settings.pop(path, None)
                settings.settings |= {path: file[path]} if path in file else {}
                said.append(f"{entry['name']}: {'.'.join(path[1:])} = {value!r} does not stay: {why}")
    return said


def with_defaults(entry: Entry) -> Settings:
    """Every setting of a deployment's configuration, as it is where the file says nothing."""
    try:
        config = Config.model_validate((entry.get("parameters") or {})["config"])
    except (KeyError, ValidationError):
        return {}
    return kept.of_file({"parameters": {"config": config.model_dump(mode="json")}})


def refused(entry: Entry) -> list[tuple[kept.Path, str]]:
    """Where and why the runs of this deployment would be refused."""
    try:
        Config.model_validate((entry.get("parameters") or {}).get("config", {}))
    except ValidationError as error:
        return [(tuple(map(str, one["loc"])), one["msg"]) for one in error.errors()]
    return []


async def make_pool(client: PrefectClient, reset: bool = False) -> None:
    """The work pool of the worker, created or left as it is: somebody may have paused it."""
    template = await get_default_base_job_template_for_infrastructure_type("process")
    try:
        await client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template), reset)
    except ObjectAlreadyExists:
        return


async def make_limit(client: PrefectClient, reset: bool = False) -> None:
    """The limit of one heavy run at a time, created or left as it is."""
    try:
        await client.read_global_concurrency_limit_by_name(LIMIT)
    except ObjectNotFound:
        await client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=LIMIT, limit=1))
        return
    if reset:
        await client.update_global_concurrency_limit(LIMIT, GlobalConcurrencyLimitUpdate(limit=1, active=True))


async def _server(client: PrefectClient, entry: Entry) -> Entry | None:
    """A deployment as the server has it; None where it has none."""
    flow: Flow[..., Any] = load_flow_from_entrypoint(entry["entrypoint"])
    try:
        found = await client.read_deployment_by_name(f"{flow.name}/{entry['name']}")
    except ObjectNotFound:
        return None
    return found.model_dump(mode="json")


def _variable(name: str) -> str:
    return f"pop_deployed_{re.sub('[^a-z0-9]', '_', name.lower())}"


async def _deployed(name: str) -> dict[str, str] | None:
    """Fingerprints of what was deployed last; None where nobody knows."""
    found = await Variable.aget(_variable(name))
    return kept.unpacked(found) if isinstance(found, str) else None


async def _remember(client: PrefectClient, entry: Entry, file: Settings, persons: list[kept.Path]) -> None:
    """What is deployed: as the server has it (templates filled in); as the file has it where a person's stays."""
    there = await _server(client, entry)
    server = kept.of_server(there) if there else {}
    own = {path: value for path, value in server.items() if path not in persons}
    text = kept.packed(kept.fingerprints(own | {path: file[path] for path in persons if path in file}))
    if len(text) <= ROOM:
        await Variable.aset(_variable(entry["name"]), text, overwrite=True)
    else:  # then nobody knows, and the server's values stay
        await Variable.aunset(_variable(entry["name"]))


def _content(file: Path) -> Entry:
    """The file's content.

    Raises:
        UserError: it is not there, or is none of Prefect's.
    """
    try:
        found: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{file}: {' '.join(str(error).split())}") from None
    entries = found.get("deployments") if isinstance(found, dict) else None
    if not isinstance(entries, list) or not all(isinstance(one, dict) and one.get("name") for one in entries):
        raise UserError(f"{file}: `deployments` must be a list, each with a name")
    for entry in entries:
        for schedule in entry.get("schedules") or ():
            if (why := no_schedule(schedule)) is not None:
                raise UserError(f"{file}: a schedule of {entry['name']}: {why}")
    return dict(found)


def no_schedule(schedule: Any) -> str | None:
    """Why Prefect would take a schedule of the file for none, in words; None where it is one."""
    try:
        if not isinstance(schedule, dict):
            raise ValueError(f"{schedule!r} is no table with cron, interval or rrule")
        if schedule.get("interval"):
            TypeAdapter(timedelta).validate_python(schedule["interval"])
        elif schedule.get("cron"):
            CronSchedule(cron=schedule["cron"], timezone=schedule.get("timezone"))
        elif schedule.get("rrule"):
            RRuleSchedule(rrule=schedule["rrule"], timezone=schedule.get("timezone"))
        else:
            raise ValueError("it has none of cron, interval and rrule")
    except ValidationError as error:
        return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
    except ValueError as error:
        return str(error)
    return None


def _prefect_deploy(content: Entry) -> None:
    """Prefect's own command, with a file of that content.

    Raises:
        DependencyError: it ends with an error, or not at all.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "prefect.yaml"
        whole.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(whole)]
        try:
            done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=STEP_SEC, check=False)
        except subprocess.TimeoutExpired:
            raise DependencyError(f"the deployments were not made within {STEP_SEC:.0f} s: {RETRY}") from None
    if done.returncode:
        raise DependencyError(f"the deployments could not be made:\n{(done.stderr or done.stdout)[-2000:]}")


def main() -> int:
    """The command line; exit codes as everywhere."""
    parser = argparse.ArgumentParser("python -m flows.deploy.deployments", description=__doc__)
    parser.add_argument("--reset", action="store_true", help="all as the file says, also what a person has changed")
    given = parser.parse_args()
    try:
        asyncio.run(set_up(FILE, given.reset))
    except httpx.HTTPError as error:
        say(f"pop: Prefect's server does not take the deployments ({error}): {RETRY}")
        return DependencyError.exit_code
    except PopError as error:
        say(f"pop: {error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
