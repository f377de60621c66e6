"""A whole round through Prefect against the fake engine: a real server on loopback, real files."""

import asyncio
import json
import shutil
import sys
import time
from pathlib import Path

import duckdb
import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client

from schemas.errors import PopError, UserError
from schemas.tables import TABLES
from tasks.engine.protocol import EngineError
from tasks.staging.stage import TASK_OPTIONS
from tasks.storage.db import connect
from tasks.storage.runs import runs
from tasks.storage.store import Store
from tests.conftest import run_fake
from tests.samples import contents, rows


def test_every_table_has_the_contracts_columns_and_provenance(fake_root: Path) -> None:
    store = Store(str(fake_root), "fake")
    for table in ("documents", "problems", "answers", "rubrics", "ratings", "pairs", "preferences", "generations"):
        columns = [name for name, *_ in connect(store).execute(f"DESCRIBE {table}").fetchall()]
        assert set(columns) == {"run", "round", *TABLES[table].schema.names}
        footer = store.footer(table, 0, store.files(table, 0)[0])
        assert footer and {"stage", "fingerprint", "config_hash", "version", "settings"} <= footer.keys()


def test_nothing_is_lost_between_the_stages(fake_root: Path) -> None:
    funnel = dict(rows(fake_root, "fake", "SELECT stage, total FROM funnel"))
    ok = dict(rows(fake_root, "fake", "SELECT stage, ok FROM funnel"))
    assert funnel["problems"] == ok["documents"] == 8
    assert funnel["answers"] == 5 * ok["problems"]
    assert funnel["rubrics"] == funnel["pairs"] == ok["problems"]
    assert ok["pairs"] > 0
    assert rows(fake_root, "fake", "SELECT count(*) FROM pairs p SEMI JOIN preferences USING (pair_id)") == [
        (ok["pairs"],)
    ]


def test_every_row_leads_to_the_calls_it_came_from(fake_root: Path) -> None:
    for table, key in (
        ("problems", "problem_id"),
        ("answers", "answer_id"),
        ("rubrics", "rubric_id"),
        ("ratings", "rating_id"),
    ):
        known = "(SELECT generation_id FROM generations)"
        orphans = f"SELECT count(*) FROM {table} WHERE generation_id IS NOT NULL AND generation_id NOT IN {known}"
        assert rows(fake_root, "fake", orphans) == [(0,)]
        if table != "answers":
            without = f"SELECT count(*) FROM {table} WHERE {key} NOT IN (SELECT subject_id FROM generations)"
            assert rows(fake_root, "fake", without) == [(0,)]


def test_the_reference_is_rated_and_never_paired(fake_root: Path) -> None:
    assert rows(
        fake_root, "fake", "SELECT count(*) > 0 FROM ratings JOIN answers USING (answer_id) WHERE rollout = -1"
    ) == [(True,)]
    on = "answer_id IN (chosen_answer_id, rejected_answer_id)"
    paired = f"SELECT count(*) FROM pairs JOIN answers ON {on} WHERE rollout = -1"
    assert rows(fake_root, "fake", paired) == [(0,)]


def test_held_out_documents_never_reach_training(fake_root: Path) -> None:
    heldout = "SELECT count(*) FROM problems JOIN documents USING (document_id) WHERE split <> 'train'"
    assert rows(fake_root, "fake", heldout) == [(0,)]
    assert rows(fake_root, "fake", "SELECT count(*) FROM documents WHERE split = 'heldout'") != [(0,)]


def test_the_same_round_gives_the_same_tables_whatever_the_concurrency(fake_root: Path, tmp_path: Path) -> None:
    run_fake(tmp_path, "again", "engine.max_in_flight=2", "storage.compression_level=1")
    assert contents(tmp_path, "again") == contents(fake_root, "fake")


def test_a_resumed_round_reuses_what_is_there_and_makes_what_is_missing(fake_root: Path, tmp_path: Path) -> None:
    shutil.copytree(fake_root / "fake", tmp_path / "fake")
    lost = tmp_path / "fake/answers/round=000/shard-00001.parquet"
    kept = tmp_path / "fake/problems/round=000/shard-00001.parquet"
    lost.unlink()
    before = kept.stat().st_mtime_ns
    run_fake(tmp_path, "fake")
    assert kept.stat().st_mtime_ns == before
    assert contents(tmp_path, "fake") == contents(fake_root, "fake")


def test_a_changed_rubric_setting_redoes_rubrics_and_what_follows_only(fake_root: Path, tmp_path: Path) -> None:
    shutil.copytree(fake_root / "fake", tmp_path / "fake")
    times = {
        t: (tmp_path / f"fake/{t}/round=000/shard-00000.parquet").stat().st_mtime_ns
        for t in ("problems", "answers", "rubrics", "ratings", "pairs")
    }
    run_fake(tmp_path, "fake", "rubric.max_criteria=2")
    changed = {
        t
        for t, old in times.items()
        if (tmp_path / f"fake/{t}/round=000/shard-00000.parquet").stat().st_mtime_ns != old
    }
    assert changed == {"rubrics", "ratings", "pairs"}


def test_fewer_documents_leave_no_row_of_the_others(fake_root: Path, tmp_path: Path) -> None:
    shutil.copytree(fake_root / "fake", tmp_path / "fake")
    run_fake(tmp_path, "fake", "corpus.documents=4")
    assert rows(tmp_path, "fake", "SELECT count(*) FROM problems") == [(4,)]
    assert list((tmp_path / "fake/superseded").rglob("*.parquet"))


def test_prefect_shows_reused_tasks_readable_names_and_artifacts(fake_root: Path, tmp_path: Path) -> None:
    shutil.copytree(fake_root / "fake", tmp_path / "fake")
    run_fake(tmp_path, "fake")
    deadline = time.monotonic() + 30  # Prefect records task runs a little after they happen
    with get_client(sync_client=True) as client:
        names = {flow_run.name for flow_run in client.read_flow_runs(limit=200)}
        keys = {artifact.key for artifact in client.read_artifacts(limit=200)}
        states: set[tuple[str, str | None]] = set()
        while ("answer shard-00001", "Reused") not in states and time.monotonic() < deadline:
            states = {(task.name, task.state_name) for task in client.read_task_runs(limit=200)}
    assert "fake-r000" in names
    assert ("answer shard-00001", "Reused") in states
    assert {"funnel", "sample-rubrics", "progress-answer"} <= keys


def test_a_fake_round_is_never_trained_on(fake_root: Path) -> None:
    manifest = json.loads((fake_root / "fake/manifests/round=000/round.json").read_text())
    assert manifest["finished"] and manifest["models"] == {"policy": "fake:policy"}
    assert rows(fake_root, "fake", "SELECT count(*) FROM models") == [(0,)]


def test_structured_dialect_with_pointwise_ratings(prefect_server: None, tmp_path: Path) -> None:
    overrides = (
        "task.dialect=structured",
        "rating.mode=pointwise",
        "rubric.shown_answers=3",
        "sampling.propose.max_tokens=2000",
        "sampling.rubric.max_tokens=2000",
        "sampling.judge={max_tokens=2000, temperature=0.0}",
    )
    run_fake(tmp_path, "structured", *overrides)
    funnel = dict(rows(tmp_path, "structured", "SELECT stage, ok FROM funnel"))
    assert funnel["rated answers"] > 0
    ratings = rows(tmp_path, "structured", "SELECT DISTINCT rating FROM criterion_ratings")
    assert {rating for (rating,) in ratings} <= {0.0, 1.0, 2.0}
    assert rows(tmp_path, "structured", "SELECT max(len(shown_answer_ids)) FROM rubrics") == [(3,)]


def test_the_controller_stays_light(fake_root: Path) -> None:
    assert not {"torch", "vllm", "transformers", "deepspeed", "openrlhf"} & sys.modules.keys()


def test_a_torn_file_of_another_program_does_not_hide_itself(fake_root: Path, tmp_path: Path) -> None:
    shutil.copytree(fake_root / "fake", tmp_path / "fake")
    (tmp_path / "fake/pairs/round=000/shard-00000.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(duckdb.Error):
        rows(tmp_path, "fake", "SELECT count(*) FROM pairs")
    run_fake(tmp_path, "fake")
    assert contents(tmp_path, "fake") == contents(fake_root, "fake")


def test_an_edited_corpus_is_not_taken_for_the_old_one(prefect_server: None, tmp_path: Path) -> None:
    corpus = tmp_path / "texts"
    corpus.mkdir()
    for n in range(3):
        (corpus / f"{n}.txt").write_text(f"Canals number {n} join rivers. " * 30)
    settings = (f"corpus.source={corpus}", "corpus.documents=2", "corpus.heldout_share=0.0")
    run_fake(tmp_path / "runs", "edited", *settings)
    for n in range(3):
        (corpus / f"{n}.txt").write_text(f"Bridges number {n} cross rivers. " * 30)
    run_fake(tmp_path / "runs", "edited", *settings)
    assert rows(tmp_path / "runs", "edited", "SELECT count(*) FROM documents WHERE text LIKE 'Canals%'") == [(0,)]
    joined = "SELECT count(*) FROM problems JOIN documents USING (document_id)"
    assert rows(tmp_path / "runs", "edited", joined) == [(2,)]


def test_a_corpus_that_is_not_there_leaves_no_run_behind(prefect_server: None, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        run_fake(tmp_path, "typo", f"corpus.source={tmp_path / 'nowhere'}")
    assert runs(str(tmp_path)) == []


def test_a_server_that_was_away_is_tried_again_and_a_mistake_is_not(prefect_server: None) -> None:
    tries: list[str] = []

    @task(**TASK_OPTIONS | {"retry_delay_seconds": 0})
    async def fails(error: Exception) -> None:
        tries.append(type(error).__name__)
        raise error

    @flow
    async def both() -> None:
        for error in (EngineError("away"), UserError("wrong")):
            with pytest.raises(PopError):
                await fails(error)

    asyncio.run(both())
    assert tries == ["EngineError"] * 3 + ["UserError"]
