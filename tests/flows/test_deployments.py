"""prefect.yaml says what the flows take, and one command makes a server with all of it."""

import asyncio
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from prefect.utilities.callables import parameter_schema

from flows.deploy.automation import NAME
from flows.deploy.deployments import no_schedule, set_up
from flows.slots import LIMIT
from schemas.config import Config
from schemas.errors import UserError
from schemas.gating import EvaluationConfig, GateConfig
from schemas.load import PRESETS, PROJECT
from tasks.engine.server import free_port
from tests.conftest import asked, fake_config

FILE: dict[str, Any] = yaml.safe_load((PROJECT / "prefect.yaml").read_text())
DEPLOYMENTS: dict[str, dict[str, Any]] = {one["name"]: one for one in FILE["deployments"]}


def test_the_form_begins_with_the_preset() -> None:
    preset = tomllib.loads((PRESETS / "selfplay-health.toml").read_text())
    assert FILE["definitions"]["config"] == preset
    assert all(DEPLOYMENTS[name]["parameters"]["config"] == preset for name in ("round", "selfplay", "evaluate"))


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_a_deployments_parameters_are_its_flows_and_valid(name: str) -> None:
    file, function = DEPLOYMENTS[name]["entrypoint"].split(":")
    flow = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), function)
    schema = parameter_schema(flow).model_dump()
    given = DEPLOYMENTS[name]["parameters"]
    assert set(schema.get("required") or ()) <= set(given) <= set(schema["properties"])
    assert all(one.get("description") for one in schema["properties"].values())
    if "config" in given:
        Config.model_validate(given["config"])
    assert DEPLOYMENTS[name]["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        ({"cron": "0 25 * * *", "timezone": "UTC"}, 'Invalid cron string: "0 25'),
        ({"cron": "0 2 * * *", "timezone": "Mars/Olympus"}, 'Invalid timezone: "Mars/Olympus"'),
        ({"interval": "nightly"}, "valid timedelta"),
        ({"rrule": "FREQ=NEVER"}, "FREQ"),
        ({"slug": "nightly"}, "none of cron, interval and rrule"),
        ("0 2 * * *", "is no table"),
    ],
)
def test_a_schedule_that_is_none_is_one_line_before_anything_is_deployed(
    tmp_path: Path, schedule: Any, says: str
) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text(yaml.safe_dump({"deployments": [{"name": "selfplay", "schedules": [schedule]}]}))
    with pytest.raises(UserError, match="a schedule of selfplay: ") as refused:
        asyncio.run(set_up(file, reset=False))
    assert says in str(refused.value) and "\n" not in str(refused.value)
    assert all(no_schedule(one) is None for one in DEPLOYMENTS["selfplay"]["schedules"])


def test_every_field_of_evaluation_and_gate_says_what_it_is_for() -> None:
    for section in (EvaluationConfig, GateConfig):
        assert all(field.description for field in section.model_fields.values())


def what_a_person_changes_stays_until_it_is_reset(url: str, env: dict[str, str]) -> None:
    """Pause and move the nightly schedule and add one, as the UI does; deploy again, with and without --reset."""

    def deployed(*options: str) -> tuple[dict[str, tuple[bool, str]], bool, str]:
        command = [sys.executable, "-m", "flows.deploy.server", "--deploy", *options]
        done = subprocess.run(
            command, cwd=PROJECT, env=env | {"PREFECT_API_URL": url}, capture_output=True, text=True, check=True
        )
        now = next(one for one in asked(f"{url}/deployments/filter") if one["name"] == "selfplay")
        times = {one["slug"]: (one["active"], one["schedule"].get("cron", "")) for one in now["schedules"]}
        return times, asked_pool(url)["is_paused"], done.stderr

    nightly = next(one for one in asked(f"{url}/deployments/filter") if one["name"] == "selfplay")
    at = f"{url}/deployments/{nightly['id']}"
    schedule = nightly["schedules"][0]["id"]
    httpx.patch(f"{at}/schedules/{schedule}", json={"active": False}, timeout=60).raise_for_status()
    moved = {"schedule": {"cron": "30 3 * * *", "timezone": "UTC"}}
    httpx.patch(f"{at}/schedules/{schedule}", json=moved, timeout=60).raise_for_status()
    mine = {"slug": "mine", "active": False, "schedule": {"cron": "0 5 * * *", "timezone": "UTC"}}
    httpx.post(f"{at}/schedules", json=[mine], timeout=60).raise_for_status()
    httpx.patch(f"{url}/work_pools/pop", json={"is_paused": True}, timeout=60).raise_for_status()

    times, paused, said = deployed()
    assert times == {"nightly": (False, "30 3 * * *"), "mine": (False, "0 5 * * *")} and paused
    assert "selfplay: kept schedule nightly paused (prefect.yaml: active)" in said
    times, paused, said = deployed("--reset")
    assert times == {"nightly": (True, "0 2 * * *")} and not paused and "kept" not in said


def asked_pool(url: str) -> dict[str, Any]:
    return dict(httpx.get(f"{url}/work_pools/pop", timeout=60).raise_for_status().json())


@pytest.mark.e2e
def test_one_command_makes_a_server_with_all_that_belongs_to_it_and_its_end_ends_the_runs(tmp_path: Path) -> None:
    port = free_port()
    env = os.environ | {"PREFECT_HOME": str(tmp_path / "prefect"), "POP_CACHE": str(tmp_path / "cache")}
    for name in [name for name in env if name.startswith("PREFECT_API")]:
        del env[name]
    command = [sys.executable, "-m", "flows.deploy.server", "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=PROJECT, env=env, stderr=log, stdout=log)
    try:
        over = time.monotonic() + 300
        while "Ctrl-C ends it all" not in (tmp_path / "log").read_text() and time.monotonic() < over:
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.5)
        url = f"http://127.0.0.1:{port}/api"
        made = {one["name"]: one for one in asked(f"{url}/deployments/filter")}
        assert set(made) == set(DEPLOYMENTS)
        nightly = made["selfplay"]
        assert nightly["schedules"][0]["schedule"]["cron"] == "0 2 * * *"
        assert nightly["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
        assert (
            nightly["parameter_openapi_schema"]["definitions"]["GateConfig"]["properties"]["patience"]["minimum"] == 1
        )
        assert httpx.get(f"{url}/v2/concurrency_limits/{LIMIT}", timeout=60).json()["limit"] == 1
        over = time.monotonic() + 150
        while not (planned := asked(f"{url}/flow_runs/filter")) and time.monotonic() < over:
            time.sleep(1)  # the server plans once a minute
        assert {run["state"]["type"] for run in planned} == {"SCHEDULED"}
        assert NAME in [one["name"] for one in asked(f"{url}/automations/filter")]
        what_a_person_changes_stays_until_it_is_reset(url, env)
        config = fake_config("corpus.documents=100", "sampling.answers=32").model_dump(mode="json")
        busy = {"parameters": {"config": config, "run": "busy", "root": str(tmp_path / "runs")}}
        asked(f"{url}/deployments/{made['round']['id']}/create_flow_run", busy)
        while not (tmp_path / "runs/busy/answers").exists() and time.monotonic() < over:
            time.sleep(0.2)
        children = psutil.Process(process.pid).children(recursive=True)
        assert [child for child in children if "tasks.engine.fake" in child.cmdline()]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        assert not list((tmp_path / "cache/processes").glob("*.json"))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def test_the_preset_leaves_something_to_measure_by() -> None:
    config = Config.model_validate(json.loads(json.dumps(FILE["definitions"]["config"])))
    assert config.corpus.heldout_documents >= config.gate.min_problems
