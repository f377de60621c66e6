"""A single look: exams before any round of self-play, of any two models, by the flow that the command runs."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli.options import exam_settings
from flows.evaluate import contest_of, evaluate_flow
from schemas.errors import UserError
from schemas.load import PROJECT, load_config
from tasks.storage.db import connect
from tasks.storage.store import Store

Cli = Callable[..., tuple[int, str, str]]
EXAMS = PROJECT / "data/exams"


def test_two_models_are_looked_at_without_a_round(tmp_path: Path, prefect_server: None) -> None:
    files = [str(EXAMS / name) for name in ("facts.jsonl", "writing.csv")]
    config = load_config("demo", ["engine.kind=fake", *exam_settings(files)])
    (tmp_path / "other").mkdir()

    def look(model: str, against: str | None) -> list[dict[str, object]]:
        return asyncio.run(evaluate_flow(config, run="look", model=model, root=str(tmp_path / "runs"), against=against))

    rows = look(str(tmp_path / "other"), "base")
    assert {(row["suite"], row["metric"]) for row in rows} >= {
        ("exam.facts", "normalised"), ("exam.facts", "difference"), ("exam.writing", "compared_share"),
    }  # fmt: skip
    assert {row["model_id"] for row in rows} == {"fake:candidate", "base"}
    nested = connect(Store(str(tmp_path / "runs/look"), "evaluation"))
    joined = "select count(distinct problem_id) from evaluations e, exam_answers a where e.suite = 'exam.' || a.exam"
    assert nested.execute(joined).fetchall() == [(40,)]
    assert {row["status"] for row in look("base", None) if row["suite"] == "exam.writing"} == {"not_run"}


def test_who_is_compared_with_whom(tmp_path: Path) -> None:
    config, store = load_config("demo"), Store(str(tmp_path), "r")
    (tmp_path / "m").mkdir()
    number, contest = contest_of(config, store, "base", str(tmp_path / "m"))
    assert (number, contest.candidate_id, contest.parent_id) == (0, "base", str(tmp_path / "m"))
    assert contest.parent and contest.parent.path == str(tmp_path / "m")
    with pytest.raises(UserError, match="name another one"):
        contest_of(config, store, "base", "base")
    with pytest.raises(UserError, match="the round 3 has no model"):
        contest_of(config, store, "base", "3")


def test_a_bad_exam_is_one_line_before_anything_is_asked(cli_process: Cli, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"prompt": "Q"}\n{"prompt": "Q"}')
    arguments = ("evaluate", "demo", "--set", "engine.kind=fake", "--exam", str(file), "--root", str(tmp_path / "runs"))
    code, out, err = cli_process(*arguments)
    assert code == 2 and "line 2: the same prompt as line 1" in err.strip().splitlines()[-1]
    assert "Traceback" not in err and not out and not (tmp_path / "runs").exists()
