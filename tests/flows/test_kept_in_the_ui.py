"""Deploying again keeps what a person has changed in the UI, brings in what prefect.yaml has changed, and says so."""

from copy import deepcopy
from typing import Any

import pytest
import yaml

from flows.deploy.deployments import not_fitting, refused, with_defaults
from flows.deploy.kept import (
    as_entry,
    fingerprints,
    lines,
    merged,
    of_file,
    of_server,
    packed,
    unpacked,
    unwanted,
)  # fmt: skip
from schemas.config import Config
from schemas.load import PROJECT

NIGHTLY = {"slug": "nightly", "cron": "0 2 * * *", "timezone": "UTC", "active": True}
FILE: dict[str, Any] = {
    "name": "selfplay", "entrypoint": "flows/selfplay.py:selfplay_flow", "work_pool": {"name": "pop"},
    "concurrency_limit": {"limit": 1, "collision_strategy": "CANCEL_NEW"}, "schedules": [NIGHTLY],
    "parameters": {"run": "nights", "config": {"sampling": {"answers": 5, "temperature": 1.0}}},
}  # fmt: skip
SERVER: dict[str, Any] = {
    "paused": False, "description": None, "tags": [], "enforce_parameter_schema": True, "work_pool_name": "pop",
    "work_queue_name": "default", "global_concurrency_limit": {"limit": 1, "active_slots": 0}, "job_variables": {},
    "concurrency_options": {"collision_strategy": "CANCEL_NEW", "grace_period_seconds": None},
    "schedules": [{"slug": "nightly", "active": True, "parameters": {}, "max_scheduled_runs": None,
                   "schedule": {"cron": "0 2 * * *", "timezone": "UTC", "day_or": True}}],
    "parameters": {"run": "nights", "config": {"sampling": {"answers": 5, "temperature": 1}}},
}  # fmt: skip


def changed(whole: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with another value at a path; `...` takes it away."""
    copy = deepcopy(whole)
    inner: Any = copy
    *before, last = [int(word) if word.isdigit() else word for word in path.split("/")]
    for word in before:
        inner = inner[word]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return copy


def deployed(file: dict[str, Any], server: dict[str, Any], last: dict[str, Any] | None) -> tuple[Any, list[str]]:
    """The entry that is deployed over what the server has, after `last` was deployed, and what is said."""
    prints = unpacked(packed(fingerprints(of_file(last)))) if last else None
    result = merged(of_file(file), of_server(server), prints)
    return as_entry(file, result.settings), lines("selfplay", result, of_file(file), of_server(server))


MINE = {"slug": "mine", "active": False, "parameters": {"new_rounds": 2}, "max_scheduled_runs": None,
        "schedule": {"interval": 7200.0, "timezone": "UTC", "anchor_date": "2026-11-26T14:00:00Z"}}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "at", "then", "said"),
    [
        ("schedules/0/active", False, "schedules/0/active", False, "kept schedule nightly paused"),
        ("schedules/0/schedule/cron", "30 3 * * *", "schedules/0/cron", "30 3 * * *", "schedule nightly 30 3 * * *"),
        ("schedules", [], "schedules", [], "kept schedule nightly taken away"),
        ("schedules/0/parameters", {"run": "other"}, "schedules/0/parameters", {"run": "other"}, "nightly run ="),
        ("paused", True, "paused", True, "kept paused: true"),
        ("enforce_parameter_schema", False, "enforce_parameter_schema", False, "kept enforce parameter schema: false"),
        ("work_pool_name", "gpus", "work_pool/name", "gpus", 'kept work pool: "gpus"'),
        ("job_variables", {"env": {"A": "1"}}, "work_pool/job_variables", {"env": {"A": "1"}}, "job variables.env.A: "),
        ("global_concurrency_limit/limit", 2, "concurrency_limit/limit", 2, "kept concurrency limit: 2"),
        ("parameters/config/sampling/answers", 9, "parameters/config/sampling/answers", 9, "sampling.answers = 9"),
        ("parameters/config/sampling", {"answers": 5}, "parameters/config/sampling", {"answers": 5}, "taken away"),
        ("parameters/rounds", 3, "parameters/rounds", 3, "kept rounds = 3 (prefect.yaml: nothing)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("known", [True, False])
def test_a_persons_change_stays_and_is_said(path: str, value: Any, at: str, then: Any, said: str, known: bool) -> None:
    if not known and value in ([], {"answers": 5}):
        pytest.skip("who took it away is known only where it is known what was deployed")
    entry, told = deployed(FILE, changed(SERVER, path, value), FILE if known else None)
    inner: Any = entry
    for word in at.split("/"):
        inner = inner[int(word) if word.isdigit() else word]
    assert inner == then
    assert len(told) == 1 and said in told[0], told


def test_nothing_changed_is_nothing_said_also_where_the_form_writes_1_for_1_0() -> None:
    for last in (FILE, None):
        entry, told = deployed(FILE, SERVER, last)
        assert not told and of_file(entry) == of_file(FILE)


def test_what_the_file_has_changed_comes_in_beside_what_a_person_has() -> None:
    file = changed(changed(FILE, "parameters/config/sampling/answers", 7), "schedules/0/cron", "0 4 * * *")
    file = changed(file, "parameters/run", ...)
    entry, told = deployed(file, changed(SERVER, "schedules/0/active", False), FILE)
    assert entry["schedules"] == [NIGHTLY | {"cron": "0 4 * * *", "active": False}]
    assert entry["parameters"] == {"config": {"sampling": {"answers": 7, "temperature": 1}}}
    assert told == ["selfplay: kept schedule nightly paused (prefect.yaml: active)"]


def test_where_both_have_changed_it_the_persons_stays() -> None:
    server = changed(SERVER, "parameters/config/sampling/answers", 9)
    entry, told = deployed(changed(FILE, "parameters/config/sampling/answers", 7), server, FILE)
    assert entry["parameters"]["config"]["sampling"]["answers"] == 9
    assert told == ["selfplay: kept config.sampling.answers = 9 (prefect.yaml: 7)"]


def test_a_schedule_of_a_persons_own_stays_with_its_start_and_parameters() -> None:
    entry, told = deployed(FILE, changed(SERVER, "schedules", [SERVER["schedules"][0], MINE]), FILE)
    assert entry["schedules"][0] == {
        "slug": "mine", "interval": 7200.0, "timezone": "UTC", "anchor_date": "2026-11-26T14:00:00Z", "active": False,
        "parameters": {"new_rounds": 2},
    }  # fmt: skip
    assert told == ["selfplay: kept schedule mine 7200.0 UTC (prefect.yaml: nothing)"]


def test_every_deployment_of_the_project_comes_through_unchanged() -> None:
    for entry in yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]:
        settings = of_file(entry)
        assert of_file(as_entry(entry, settings)) == settings
        assert len(packed(fingerprints(settings))) < 4998 and refused(entry) == []


def test_a_kept_setting_that_this_version_refuses_is_let_go_of_and_said() -> None:
    for value, path in ((5, "parameters/config/sampling/answrs"), (-3, "parameters/config/sampling/answers")):
        file = changed(FILE, "parameters/config/sampling", {"answers": 5})
        result = merged(of_file(file), of_server(changed(SERVER, path, value)), fingerprints(of_file(FILE)))
        (line,) = not_fitting(file, result, of_file(file))
        assert line.startswith(f"selfplay: {path.partition('/')[2].replace('/', '.')} = {value} does not stay: ")
        assert as_entry(file, result.settings)["parameters"]["config"]["sampling"] == {"answers": 5}


def test_a_form_that_has_stored_every_default_has_changed_nothing() -> None:
    (entry,) = (
        e for e in yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"] if e["name"] == "selfplay"
    )
    config = Config.model_validate(entry["parameters"]["config"]).model_dump(mode="json")
    server = of_file(changed(entry, "parameters/config", config))
    result = merged(of_file(entry), server, fingerprints(of_file(entry)))
    assert result.kept and not lines("selfplay", result, with_defaults(entry) | of_file(entry), server)


def test_schedules_that_are_not_to_stay_are_named_and_every_one_has_a_slug() -> None:
    server = SERVER | {"schedules": [SERVER["schedules"][0] | {"id": "a"}, MINE | {"id": "b"}]}
    assert unwanted(of_file(FILE), server) == ["b"] and not unwanted(of_server(server), server)
    (schedule,) = as_entry(FILE, of_file(changed(FILE, "schedules/0/slug", ...)))["schedules"]
    assert schedule["slug"].startswith("schedule-") and schedule["cron"] == "0 2 * * *"
