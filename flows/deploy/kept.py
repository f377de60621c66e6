"""What a person has changed in the UI stays when `prefect.yaml` is deployed again; what the file has changed comes in.

`prefect deploy` alone sets everything to what the file says: a schedule that was paused is active again, a time that
was moved is moved back. So three are compared, setting by setting: what was deployed last, what the server has now,
what the file says now. Of the first only fingerprints are kept, in a variable of Prefect beside the deployment.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter

Path = tuple[str, ...]
Settings = dict[Path, Any]
Entry = dict[str, Any]
SHORT = 6  # letters of a fingerprint
LONG = 60  # letters of a value in a line
WORDS = {("description",), ("tags",)}  # nothing runs differently by them: the file's where nothing is known
_SECONDS = TypeAdapter(timedelta)


@dataclass
class Merged:
    """What is to be deployed; `kept` are the paths where the file says something else, or nothing."""

    settings: Settings
    kept: list[Path] = field(default_factory=list)


def merged(file: Settings, server: Settings, deployed: Mapping[str, str] | None) -> Merged:
    """The server's value where a person has changed it, else the file's.

    Args:
        file: what `prefect.yaml` says.
        server: what the server has.
        deployed: what was deployed last, by `fingerprints`; None where nobody knows, and then the server's stays.
    """
    result = Merged({})
    for path in sorted(file.keys() | server.keys()):
        known = (deployed or {}).get(_short(list(path)))
        if path not in server:
            if known is None:
                result.settings[path] = file[path]  # new in the file
            elif path in file:
                result.kept.append(path)  # a person has taken it away
        elif path in file and same(file[path], server[path]):
            result.settings[path] = server[path]
        elif known == _short(_plain(server[path])) or (deployed is None and path in WORDS):
            if path in file:
                result.settings[path] = file[path]
        else:
            result.settings[path] = server[path]
            result.kept.append(path)
    return result


def fingerprints(settings: Settings) -> dict[str, str]:
    """Path to value, both as short fingerprints: a variable of Prefect holds 5,000 letters."""
    return {_short(list(path)): _short(_plain(value)) for path, value in settings.items()}


def packed(prints: Mapping[str, str]) -> str:
    """Fingerprints as one text."""
    return "".join(path + value for path, value in sorted(prints.items()))


def unpacked(text: str) -> dict[str, str]:
    """The other way."""
    return {text[at : at + SHORT]: text[at + SHORT : at + 2 * SHORT] for at in range(0, len(text), 2 * SHORT)}


def same(one: Any, other: Any) -> bool:
    """Whether two values mean the same, however the UI, YAML or the server write them."""
    return bool(_plain(one) == _plain(other))


def of_file(entry: Entry) -> Settings:
    """The settings of a deployment in `prefect.yaml`."""
    pool, limit = entry.get("work_pool") or {}, entry.get("concurrency_limit")
    limit = limit if isinstance(limit, dict) else {"limit": limit}
    found: Settings = {
        ("paused",): bool(entry.get("paused")),
        ("description",): entry.get("description") or None,
        ("tags",): sorted(entry.get("tags") or ()),
        ("enforce_parameter_schema",): entry.get("enforce_parameter_schema", True) is not False,
        ("work_pool", "name"): pool.get("name"),
        ("work_pool", "work_queue_name"): pool.get("work_queue_name") or "default",
        ("concurrency_limit", "limit"): limit.get("limit"),
        ("concurrency_limit", "collision_strategy"): limit.get("collision_strategy"),
    }
    found |= _leaves(("work_pool", "job_variables"), pool.get("job_variables") or {})
    found |= _leaves(("parameters",), entry.get("parameters") or {})
    for schedule in entry.get("schedules") or ():
        when = {key: schedule[key] for key in ("cron", "interval", "rrule") if schedule.get(key)}
        if "interval" in when:
            when["interval"] = _SECONDS.validate_python(when["interval"]).total_seconds()
        found |= _schedule(schedule, when | _beside(schedule))
    return found


def of_server(deployment: Entry) -> Settings:
    """The settings of a deployment as the server tells them (JSON)."""
    found: Settings = {
        ("paused",): deployment["paused"],
        ("description",): deployment["description"] or None,
        ("tags",): sorted(deployment["tags"]),
        ("enforce_parameter_schema",): deployment["enforce_parameter_schema"],
        ("work_pool", "name"): deployment["work_pool_name"],
        ("work_pool", "work_queue_name"): deployment["work_queue_name"] or "default",
        ("concurrency_limit", "limit"): (deployment["global_concurrency_limit"] or {}).get("limit"),
        ("concurrency_limit", "collision_strategy"): (deployment["concurrency_options"] or {}).get(
            "collision_strategy"
        ),
    }
    found |= _leaves(("work_pool", "job_variables"), deployment["job_variables"])
    found |= _leaves(("parameters",), deployment["parameters"])
    for schedule in deployment["schedules"]:
        times = schedule["schedule"]
        when = {key: times[key] for key in ("cron", "interval", "rrule") if times.get(key)}
        found |= _schedule(schedule, when | _beside(times))
    return found


def as_entry(entry: Entry, settings: Settings) -> Entry:
    """The entry of `prefect.yaml` with these settings instead of its own."""
    nested = _nested(settings)
    limit, pool = nested["concurrency_limit"], (entry.get("work_pool") or {}) | {"job_variables": {}}
    schedules = [one for one in nested.get("schedules", {}).values() if "when" in one]
    return entry | {"parameters": {}} | nested | {
        "work_pool": pool | nested["work_pool"],
        "concurrency_limit": None if limit["limit"] is None else _given(limit),
        "schedules": [one["when"] | _given({key: one[key] for key in one if key != "when"}) for one in schedules],
    }  # fmt: skip


def unwanted(settings: Settings, deployment: Entry) -> list[str]:
    """Ids of the server's schedules that are not to stay; Prefect leaves those whose slug it is not told."""
    wanted = {path[1] for path in settings if path[0] == "schedules" and path[2] == "when"}
    return [one["id"] for one in deployment["schedules"] if one["slug"] and one["slug"] not in wanted]


def lines(name: str, settings: Merged, file: Settings, server: Settings) -> list[str]:
    """What was kept, for a person: one line a setting, and one for a schedule that only one side has.

    `file` may be filled up with defaults: a form that has stored them all has not changed anything.
    """
    found = []
    for path in settings.kept:
        if path in file and path in server and same(file[path], server[path]):
            continue
        if path[0] == "schedules" and path[2] != "when" and (*path[:2], "when") not in file.keys() & server.keys():
            continue
        here = _said(path, server[path]) if path in server else "taken away"
        there = _said(path, file[path]) if path in file else "nothing"
        found.append(f"{name}: kept {_named(path)} {here} (prefect.yaml: {there})")
    return found


def _named(path: Path) -> str:
    if path[0] == "parameters":
        return ".".join(path[1:]) + " ="
    if path[0] == "schedules":
        return " ".join(["schedule", path[1], *(".".join(path[3:]) + " =" for _ in path[3:4])])
    shown = path if path[-1] not in ("name", "limit") else path[:-1]
    return ".".join(shown).replace("_", " ") + ":"


def _said(path: Path, value: Any) -> str:
    if path[0] == "schedules" and path[2] == "active":
        return "active" if value else "paused"
    if path[0] == "schedules" and path[2] == "when":
        return " ".join(str(value[key]) for key in ("cron", "interval", "rrule", "timezone") if value.get(key))
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONG else f"{text[:LONG]}…"


def _nested(settings: Settings) -> Entry:
    found: Entry = {}
    for path, value in sorted(settings.items(), key=lambda item: item[0]):
        inner = found
        for name in path[:-1]:
            if not isinstance(inner.get(name), dict):
                inner[name] = {}
            inner = inner[name]
        inner[path[-1]] = value
    return found


def _given(values: Entry) -> Entry:
    return {key: value for key, value in values.items() if value not in (None, {})}


def _schedule(schedule: Entry, when: Entry) -> Settings:
    """One without a slug gets one by its time: Prefect tells schedules apart by slug only where all have one."""
    slug = str(schedule.get("slug") or f"schedule-{_short(_plain(when))}")
    at: Path = ("schedules", slug)
    found: Settings = {(*at, "when"): when, (*at, "active"): schedule.get("active") is not False, (*at, "slug"): slug}
    return found | _leaves((*at, "parameters"), schedule.get("parameters") or {})


def _beside(times: Entry) -> Entry:
    """What belongs to a schedule's time, where it is not the default."""
    found = {key: times[key] for key in ("timezone", "anchor_date") if times.get(key)}
    return found | ({"day_or": False} if times.get("day_or") is False else {})


def _leaves(path: Path, value: Any) -> Settings:
    """Every value of nested tables under its path; a list is one value, and so is an empty table within."""
    if not isinstance(value, dict):
        return {path: value}
    found: Settings = {}
    for name, inner in value.items():
        found |= {(*path, str(name)): {}} if inner == {} else _leaves((*path, str(name)), inner)
    return found


def _plain(value: Any) -> Any:
    """A value without what a form, YAML or the server add: 1.0 is 1, and a start that nobody asked for is none."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if key != "anchor_date"}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, str):
        return re.sub(r"DTSTART\S*\s+", "", value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:SHORT]
