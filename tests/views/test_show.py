"""`pop show`: any id of any table, its story around it, and texts that stay texts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.tables import TABLES
from tasks.storage.db import connect
from tasks.storage.store import Store
from tests import planted

Cli = Callable[..., tuple[int, str, str]]


def test_any_id_of_any_table_is_shown(cli: Cli, fake_root: Path) -> None:
    con = connect(Store(str(fake_root), "fake"))
    for name, table in TABLES.items():
        for (id_,) in con.execute(f'SELECT {table.key} FROM "{name}" LIMIT 2').fetchall():
            code, out, err = cli("show", id_, "--run", "fake", "--root", str(fake_root))
            assert code == 0 and id_ in out and not err, (name, err)


def test_a_pair_is_shown_with_all_that_it_came_from(cli: Cli, tmp_path: Path) -> None:
    planted.write(str(tmp_path), "r")
    code, out, _ = cli("show", "x12", "--root", str(tmp_path), "--round", "0")
    assert code == 2  # too short to be a beginning
    tables = planted.healthy()
    tables["pairs"][12]["pair_id"] = "pair-of-12"
    Store(str(tmp_path), "r").write("pairs", 0, "shard-00000", tables["pairs"], {})
    code, out, _ = cli("show", "pair-of", "--root", str(tmp_path))
    row = tables["pairs"][12]
    assert code == 0
    for text in ("document d12", "problem p12", "rubric r12", f"chosen: {row['chosen_score']:.2f}", "reference"):
        assert text in out, text
    for found in (*tables["answers"][12 * 6 : 13 * 6], row):
        assert found.get("answer_id", "pair-of-12") in out
    assert tables["rubrics"][12]["criteria"][0]["gold"].split()[0] in out


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("nothing-like-it", "no row has an id that begins with"),
        ("ab", "too short"),
        ("same", "2 ids begin with 'same'"),
    ],
)
def test_an_id_that_names_no_row_or_several_is_one_line(cli: Cli, tmp_path: Path, wanted: str, says: str) -> None:
    def named(tables: planted.Tables) -> None:
        tables["pairs"][0]["pair_id"], tables["pairs"][1]["pair_id"] = "same-1", "same-2"

    planted.write(str(tmp_path), "r", named)
    code, out, err = cli("show", wanted, "--root", str(tmp_path))
    assert code == 2 and says in err and len(err.strip().splitlines()) == 1 and not out


def test_no_text_speaks_to_the_terminal_or_is_taken_for_markup(cli: Cli, tmp_path: Path) -> None:
    def hostile(tables: planted.Tables) -> None:
        for table in tables.values():
            for row in table:
                for key, value in row.items():
                    if isinstance(value, str) and key in ("title", "text", "problem", "final", "reason"):
                        row[key] = "[bold]loud[/bold] \x1b[2J\x9b2J :smile: \u202e" + value
        tables["problems"][3]["problem_id"] = "hostile-3"
        for name in ("answers", "rubrics", "ratings", "pairs"):
            for row in tables[name]:
                row["problem_id"] = row["problem_id"].replace("p3", "hostile-3")

    planted.write(str(tmp_path), "r", hostile)
    code, out, _ = cli("show", "hostile-3", "--root", str(tmp_path))
    assert code == 0 and "[bold]loud[/bold] ␛[2J" in out and ":smile:" in out
    assert not set("\x1b\x9b\u202e") & set(out)
