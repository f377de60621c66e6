"""A round goes on from what is there: nothing stale is seen, nothing good is made twice."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.shards import run_concurrently
from flows.views.outcome import print_status
from schemas.errors import UserError
from tasks.engine.protocol import EngineError
from tasks.staging.plan import STAGES, followers
from tasks.storage.db import connect
from tasks.storage.store import Store
from tests.conftest import fake_config, run_fake
from tests.samples import STEPWISE, config, contents, rows
from tests.staging.samples import ordered, plan_with

Cli = Callable[..., tuple[int, str, str]]


def counts(root: Path) -> dict[str, int]:
    """Rows a table."""
    names = ("problems", "answers", "rubrics", "ratings", "pairs", "preferences", "generations")
    return {name: rows(root, "fake", f"SELECT count(*) FROM {name}")[0][0] for name in names}


# Stale


def test_a_changed_setting_takes_every_row_that_follows_from_it_out_of_sight_before_anything_is_made(
    copy: Path,
) -> None:
    before = counts(copy)
    done, said = ordered(copy, "rubric.max_criteria=2")
    after = counts(copy)
    assert {name for name in after if after[name] == 0} == {"rubrics", "ratings", "pairs", "preferences"}
    assert {name for name in after if after[name] == before[name]} == {"problems", "answers"}
    assert rows(copy, "fake", "SELECT DISTINCT role FROM generations ORDER BY 1") == [("answer",), ("propose",)]
    assert {stage for stage, _ in done} == {"shard", "propose", "answer"}
    (line,) = said
    assert line.startswith(
        "set aside 18 files (rubrics, ratings, comparisons, pairs, preferences, probes, generations): "
    )
    assert line.endswith(": rubric.max_criteria changed")


def test_nothing_is_touched_where_nothing_has_changed(copy: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    done, said = ordered(copy, "engine.max_in_flight=3", "engine.timeout_sec=9", "storage.compression_level=9")
    assert not said and len(done) == 6 * 2 + 4  # two shards, and documents beside them
    assert before == {path: path.stat().st_mtime_ns for path in copy.rglob("*")}


def test_a_change_taken_back_costs_no_call(copy: Path, fake_root: Path) -> None:
    ordered(copy, "rubric.max_criteria=2")
    run_fake(copy, "fake")
    seconds = "SELECT generation_id, seconds, endpoint FROM generations ORDER BY 1"
    assert rows(copy, "fake", seconds) == rows(fake_root, "fake", seconds)  # a call made again would take another time
    assert contents(copy, "fake") == contents(fake_root, "fake")


def test_more_answers_keep_those_that_there_are(copy: Path, fake_root: Path) -> None:
    run_fake(copy, "fake", "sampling.answers=7")
    known = "SELECT generation_id, subject_id, completion, seconds, endpoint FROM generations"
    assert set(rows(fake_root, "fake", known)) <= set(rows(copy, "fake", known))
    answers = "SELECT answer_id, text FROM answers WHERE rollout < 5 ORDER BY 1"
    assert rows(copy, "fake", answers) == rows(fake_root, "fake", answers)
    assert rows(copy, "fake", "SELECT max(rollout) FROM answers") == [(6,)]


def test_a_mistyped_setting_costs_nothing(copy: Path) -> None:
    before = counts(copy)
    with pytest.raises(UserError):
        run_fake(copy, "fake", "corpus.source=nowhere")
    assert counts(copy) == before


def test_status_says_what_other_settings_would_do_again_and_changes_nothing(cli: Cli, copy: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    settings = ("engine.kind=fake", "corpus.documents=8", "corpus.documents_per_shard=4", "engine.max_model_len=8192")
    sets = [word for one in (*settings, "rubric.max_criteria=2") for word in ("--set", one)]
    code, out, _ = cli("status", "demo", *sets, "--run", "fake", "--root", str(copy))
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["answer", "2", "0", "0"] in lines
    assert ["rubric", "0", "0", "2", "rubric.max_criteria"] in lines
    assert ["pair", "0", "0", "2", "rate", "changed"] in lines
    assert before == {path: path.stat().st_mtime_ns for path in copy.rglob("*")}


def test_status_names_the_setting_and_the_shards_while_the_round_is_half_done_again(cli: Cli, copy: Path) -> None:
    ordered(copy, "rubric.max_criteria=2")
    plan, store = plan_with("rubric.max_criteria=2"), Store(str(copy), "fake")
    store.write("rubrics", 0, "shard-00000", [], plan.footer("rubric"))
    manifest = copy / "fake/manifests/round=000/round.json"
    content = json.loads(manifest.read_text()) | {"config": plan.config.model_dump(mode="json"), "finished": False}
    manifest.write_text(json.dumps(content))
    _, out, _ = cli("status", "--root", str(copy))
    assert ["rubric", "1", "0", "1", "rubric.max_criteria", "shard-00001"] in [
        line.split() for line in out.splitlines()
    ]


# Forced


def test_a_forced_stage_and_what_follows_is_made_anew_with_calls_of_its_own(copy: Path, fake_root: Path) -> None:
    from flows.round import round_flow

    journal = copy / "fake/journal/round=000/rate-shard-00000.jsonl"
    journal.parent.mkdir(parents=True, exist_ok=True)
    journal.write_text("")
    asyncio.run(round_flow(fake_config(), run="fake", root=str(copy), force="rate"))
    assert contents(copy, "fake") == contents(fake_root, "fake")  # the fake engine answers the same to the same
    kept, made = "role <> 'judge'", "role = 'judge'"
    when = "SELECT generation_id, endpoint FROM generations WHERE {} ORDER BY 1"
    assert rows(copy, "fake", when.format(kept)) == rows(fake_root, "fake", when.format(kept))
    assert not set(rows(copy, "fake", when.format(made))) & set(rows(fake_root, "fake", when.format(made)))
    assert len(list((copy / "fake/superseded/forced").rglob("*.parquet"))) == 14


def test_a_forced_training_leaves_the_old_model_beside_it(copy: Path) -> None:
    (copy / "fake/training/round=000/model").mkdir(parents=True)
    ordered(copy, force="pair")
    assert [path.name for path in (copy / "fake/training").iterdir()] == ["round=000.0"]


def test_an_unknown_stage_is_answered_with_the_nearest(copy: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'rubric'"):
        ordered(copy, force="rubrics")


def test_what_follows_is_what_reads_it() -> None:
    assert followers(config(), ["answer"]) == {"answer", "rubric", "rate", "probe", "pair", "train"}
    assert followers(config(STEPWISE), ["answer"]) == {"answer", "rate", "probe", "pair", "train"}
    assert followers(config(), ["shard"]) == set(STAGES)


# Together


def test_one_that_fails_ends_the_others_and_its_error_is_alone() -> None:
    ended: list[str] = []

    async def works(name: str) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(name)

    async def fails(error: Exception) -> None:
        await asyncio.sleep(0.01)
        raise error

    for error in (EngineError("gone"), ValueError("mine")):
        with pytest.raises(type(error), match=str(error)):
            asyncio.run(run_concurrently([works("a"), fails(error), works("b")]))
    assert sorted(ended) == ["a", "a", "b", "b"]


def test_a_reader_of_a_run_that_is_put_in_order_sees_whole_stages(copy: Path) -> None:
    from rich.console import Console

    ordered(copy, "sampling.seed=3")
    print_status(Store(str(copy), "fake"), Console(quiet=True))
    con = connect(Store(str(copy), "fake"))
    assert con.execute("SELECT stage, total FROM funnel").fetchall() == [("documents", 8)]
