"""Pairs of a control are never taken for the judge's: lineage, report, `pop show`, `pop status` and the card say it."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from flows.views.outcome import print_funnel
from flows.views.report import report
from tasks.storage.db import connect
from tasks.storage.store import Store
from tests import planted

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A round whose pairs are reversed."""
    made = planted.write(str(tmp_path), "r", lambda tables: tables["pairs"][12].update(pair_id="pair-of-12"))
    path = f"{made.base}/manifests/round=000/round.json"
    manifest = json.loads(Path(path).read_text()) | {"config": {"pairing": {"control": "reversed"}}, "models": {}}
    made.publish(path, json.dumps(manifest).encode())
    return made


def test_a_control_is_named_wherever_its_pairs_are(store: Store, cli: Cli, tmp_path: Path) -> None:
    con = connect(store)
    assert con.execute("SELECT DISTINCT control FROM pair_lineage").fetchall() == [("reversed",)]
    assert con.execute("SELECT control FROM rounds").fetchall() == [("reversed",)]
    funnel = io.StringIO()
    print_funnel(store, 0, Console(file=funnel, width=200))
    assert "pairing.control = reversed" in funnel.getvalue()
    assert "A control: these pairs" in report(store, 0)
    assert "pair pair-of-12 (a control: reversed)" in cli("show", "pair-of-12", "--root", str(tmp_path))[1]


def test_the_judges_own_pairs_are_not(cli: Cli, tmp_path: Path) -> None:
    store = planted.write(str(tmp_path), "r")
    assert connect(store).execute("SELECT DISTINCT control FROM pair_lineage").fetchall() == [(None,)]
    assert "A control" not in report(store, 0)
