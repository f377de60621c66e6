"""The README is true: its queries run, its commands, presets, tables, views and make targets exist."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

from schemas.load import PROJECT, load_config, presets
from schemas.tables import TABLES
from tasks.auditing.audits import SHIPPED
from tasks.evaluation import SUITES
from tasks.judging import MODES
from tasks.storage.db import connect
from tasks.storage.store import Store

README = (PROJECT / "README.md").read_text()
COMMANDS = [
    line.split(" #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]


def test_every_query_runs(fake_root: Path) -> None:
    words = [word for c in COMMANDS if c.startswith("pop sql ") for word in shlex.split(c.split(" > ")[0])]
    queries = [word for word in words if word.startswith(("select ", "from "))]
    examples = dict(re.findall(r"^\| `(\w+)` \| .* \| `(.+)` \|$", README, re.MULTILINE))
    assert len(queries) >= 4 and len(examples) >= 11
    assert all(view in query for view, query in examples.items())
    queries += [*examples.values(), *re.findall(r"`(select [^`]+)`", README)]
    for query in queries:
        connect(Store(str(fake_root), "fake")).execute(query).fetchall()


def test_every_command_and_option_exists(cli: Callable[..., tuple[int, str, str]]) -> None:
    for command in {tuple(shlex.split(c.split(" > ")[0])) for c in COMMANDS if c.startswith("pop ")}:
        _, out, _ = cli(command[1], "--help")
        assert all(word in out for word in command if word.startswith("--")), command


def test_every_setting_of_an_example_is_known() -> None:
    settings = re.findall(r"--set ([\w.=~/-]+)", README)
    assert len(settings) >= 4
    for setting in settings:
        load_config("demo", [setting])


def test_presets_tables_views_and_targets_are_those_that_there_are(fake_root: Path) -> None:
    assert set(re.findall(r"`(smoke|demo|selfplay-\w+|paper-\w+)`", README)) == set(presets())
    views = {
        str(v)
        for (v,) in connect(Store(str(fake_root), "fake")).execute("SELECT view_name FROM duckdb_views()").fetchall()
    }
    listed = set(re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", README, re.MULTILINE))
    names = {name for row in listed for name in re.findall(r"\w+", row)} - set(presets()) - set(MODES) - set(SUITES)
    assert names <= views
    assert set(TABLES) <= names
    assert "data/audits/ties.sql" in README and f"runs {len(list(SHIPPED.glob('*.sql')))} queries" in README
    targets = re.findall(r"^(\w+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert {c.split()[1] for c in COMMANDS if c.startswith("make ")} <= set(targets)
