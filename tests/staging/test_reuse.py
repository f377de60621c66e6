"""Rows of another round taken over: the same ids, a word on where they came from, and no mixing of settings."""

from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.errors import UserError
from tasks.staging.reuse import reused_stages
from tasks.storage.db import connect
from tasks.storage.store import Store
from tests.conftest import fake_config, run_fake
from tests.samples import Row, config

Rows = list[tuple[object, ...]]
WORDS = ("rating.mode=pointwise", "sampling.judge={temperature=0.5, max_tokens=300}")


def rows(root: Path, run: str, query: str) -> Rows:
    """What a query finds in a run."""
    return connect(Store(str(root), run)).execute(query).fetchall()


def test_what_is_reused_brings_what_it_was_made_from() -> None:
    def stages(**reuse: str) -> set[str]:
        return set(reused_stages(config(reuse=reuse)))

    assert stages(problems="a/0") == {"shard", "propose"}
    assert stages(answers="a/0") == {"shard", "propose", "answer"}
    assert stages(rubrics="a/0") == {"shard", "propose", "answer", "rubric"}
    assert stages(ratings="a/0") == {"shard", "propose", "answer", "rubric", "rate"}
    without_answers: Row = {"task": {"dialect": "stepwise"}}  # such a rubric was written without them
    assert set(reused_stages(config(without_answers, reuse={"rubrics": "a/0"}))) == {"shard", "propose", "rubric"}


def test_two_sources_for_one_stage_are_refused() -> None:
    with pytest.raises(UserError, match=r"reuse\.answers=b/1 needs the problems of b/1 too"):
        reused_stages(config(reuse={"problems": "a/0", "answers": "b/1"}))
    with pytest.raises(UserError, match=r"not run/round, such as demo/0"):
        config(reuse={"problems": "demo"})


def test_a_changed_rating_takes_over_all_else_with_its_ids(fake_root: Path) -> None:
    run_fake(fake_root, "words", "reuse.answers=fake/0", "reuse.rubrics=fake/0", *WORDS)
    for table, key in (
        ("documents", "document_id"),
        ("problems", "problem_id"),
        ("answers", "answer_id"),
        ("rubrics", "rubric_id"),
    ):
        query = f"SELECT {key}, status FROM {table} ORDER BY ALL"
        assert rows(fake_root, "words", query) == rows(fake_root, "fake", query), table
    assert rows(fake_root, "words", "SELECT DISTINCT reused_from FROM answers") == [("fake/0",)]
    assert rows(fake_root, "words", "SELECT DISTINCT reused_from, mode FROM ratings") == [(None, "pointwise")]
    asked = rows(fake_root, "words", "SELECT DISTINCT role FROM generations WHERE reused_from IS NULL")
    assert asked == [("judge",)]
    assert rows(fake_root, "words", "SELECT DISTINCT role FROM costs") == [("judge",)]  # the rest was paid elsewhere
    lineage = "SELECT count(*) FROM answers JOIN generations USING (run, round, generation_id) WHERE rollout >= 0"
    assert rows(fake_root, "words", lineage) == rows(
        fake_root, "words", "SELECT count(*) FROM answers WHERE rollout >= 0"
    )


def test_reused_rows_are_reused_again_and_keep_their_first_origin(fake_root: Path) -> None:
    run_fake(fake_root, "again", "reuse.ratings=fake/0", "pairing.min_margin=0.2", "evaluation.probes=0")
    assert rows(fake_root, "again", "SELECT * FROM costs") == []
    run_fake(fake_root, "twice", "reuse.ratings=again/0", "pairing.control=shuffled", "pairing.min_margin=0.2")
    assert rows(fake_root, "twice", "SELECT DISTINCT reused_from FROM ratings") == [("fake/0",)]
    pairs = "SELECT problem_id, least(chosen_answer_id, rejected_answer_id), abs(margin) FROM pairs ORDER BY 1"
    assert rows(fake_root, "twice", pairs) == rows(fake_root, "again", pairs)  # the same two, the order by lot
    assert rows(fake_root, "twice", "SELECT count(*) FROM pairs WHERE margin < 0") != [(0,)]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (("reuse.answers=fake/0", "sampling.answers=9"), "the answers of fake/0 were made with sampling.answers=5"),
        (("reuse.problems=fake/0", "corpus.documents=5"), "corpus.documents=8"),
        (("reuse.problems=fake/0", "task.type=general"), "task.type='health_care'"),
        (("reuse.problems=fake/7",), "no round fake/7"),
        (("reuse.problems=nowhere/0",), "no round nowhere/0"),
        (("reuse.problems=bad/0",), "bad/0 is this round itself"),
    ],
)
def test_settings_that_do_not_agree_are_refused_by_name(fake_root: Path, settings: tuple[str, ...], named: str) -> None:
    with pytest.raises(UserError, match=named):
        run_fake(fake_root, "bad", *settings)
    assert Store(str(fake_root), "bad").files("documents") == []


def test_the_fake_preset_is_what_the_messages_say() -> None:
    assert (fake_config().sampling.answers, fake_config().corpus.documents) == (5, 8)


def test_reuse_can_be_asked_for_on_the_command_line(
    fake_root: Path, cli_process: Callable[..., tuple[int, str, str]]
) -> None:
    sets = [part for one in ("engine.kind=fake", "reuse.answers=fake/3") for part in ("--set", one)]
    code, _, err = cli_process("round", "demo", "--root", str(fake_root), "--run", "cli", *sets)
    assert code == 2
    assert "there is no round fake/3" in " ".join(err.split())
