"""README and docs are true: their queries run; their commands, settings, presets, tables, views and links exist."""

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
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
TEXTS = "\n".join(page.read_text() for page in PAGES)
TABLES_PAGE = (PROJECT / "docs/tables.md").read_text()
COMMANDS = [
    line.split(" #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", TEXTS, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]


def test_every_query_runs(fake_root: Path) -> None:
    words = [word for c in COMMANDS if c.startswith("pop sql ") for word in shlex.split(c.split(" > ")[0])]
    queries = [word for word in words if word.startswith(("select ", "from "))]
    examples = dict(re.findall(r"^\| `(\w+)` \| .* \| `(.+)` \|$", TABLES_PAGE, re.MULTILINE))
    assert len(queries) >= 4 and len(examples) >= 11
    assert all(view in query for view, query in examples.items())
    queries += [*examples.values(), *re.findall(r"`(select [^`]+)`", TEXTS)]
    queries += [query for block in re.findall(r"```sql\n(.*?)```", TEXTS, re.DOTALL) for query in block.split(";")[:-1]]
    for query in queries:
        connect(Store(str(fake_root), "fake")).execute(query).fetchall()


def test_every_command_and_option_exists(cli: Callable[..., tuple[int, str, str]]) -> None:
    for command in {tuple(shlex.split(c.split(" > ")[0])) for c in COMMANDS if c.startswith("pop ")}:
        _, out, _ = cli(command[1], "--help")
        assert all(word in out for word in command if word.startswith("--")), command


def test_every_setting_of_an_example_is_known() -> None:
    settings = re.findall(r"--set ([\w.=~/-]+)", TEXTS)
    assert len(settings) >= 4
    for setting in settings:
        load_config("demo", ["models.judge.path=folder", setting])  # which a page's own configuration has


def test_presets_tables_views_and_targets_are_those_that_there_are(fake_root: Path) -> None:
    assert set(re.findall(r"`(smoke|demo|selfplay-\w+|paper-\w+)`", README)) == set(presets())
    con = connect(Store(str(fake_root), "fake"))
    views = {str(view) for (view,) in con.execute("SELECT view_name FROM duckdb_views()").fetchall()}
    listed = set(re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", TABLES_PAGE, re.MULTILINE))
    names = {name for row in listed for name in re.findall(r"\w+", row)}
    assert set(TABLES) <= names <= views
    assert "data/audits/ties.sql" in TEXTS and TEXTS.count(f" {len(list(SHIPPED.glob('*.sql')))} queries") == 2
    assert all(f"`{name}`" in TEXTS for name in (*MODES, *SUITES))
    targets = re.findall(r"^(\w+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert {c.split()[1] for c in COMMANDS if c.startswith("make ")} <= set(targets)


def test_every_link_leads_somewhere_and_every_page_is_linked() -> None:
    linked = set()
    for page in [*PAGES, PROJECT / "ARCHITECTURE.md"]:
        for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), (page.name, link)
            linked.add((page.parent / link).resolve())
    assert set(PAGES[1:]) <= linked
