"""The stages against a real server that says made-up things: nothing is lost, doubled, made up or mixed up."""

import json
from collections import Counter
from pathlib import Path

import pytest

from schemas.tables import TABLES
from tasks.engine.fake import FakeEngine
from tasks.storage.store import Store
from tests.samples import Row, all_stages, config, plan_of
from tests.stages.samples import DOCUMENTS, WAYS, dialect, ok

Tables = dict[str, list[Row]]


@pytest.fixture(scope="module", params=[f"{way}{bad}" for way in WAYS for bad in ("", " faulty")])
def tables(
    request: pytest.FixtureRequest, engine: FakeEngine, faulty: FakeEngine, tmp_path_factory: pytest.TempPathFactory
) -> Tables:
    """Every table of a shard, in each way of asking, of a good server and of a bad one."""
    way, _, bad = request.param.partition(" ")
    server = faulty if bad else engine
    return all_stages(server.url, plan_of(config(WAYS[way])), DOCUMENTS, tmp_path_factory.mktemp("j") / "j")


# What holds of every shard, however bad the server


def test_rows_have_exactly_the_tables_columns(tables: Tables) -> None:
    for name, rows in tables.items():
        for row in rows:
            assert row.keys() == set(TABLES[name].schema.names) - {"run", "reused_from"}, name


def test_ids_are_unique(tables: Tables) -> None:
    for name, rows in tables.items():
        assert len({row[TABLES[name].key] for row in rows}) == len(rows), name


def test_nothing_is_dropped(tables: Tables) -> None:
    asked = Counter(row["document_id"] for row in tables["problems"])
    assert asked == dict.fromkeys((row["document_id"] for row in DOCUMENTS), max(asked.values()))
    problems = [row["problem_id"] for row in ok(tables["problems"])]
    assert Counter(row["problem_id"] for row in tables["answers"]) == dict.fromkeys(problems, 5)  # 4 and the reference
    assert [row["problem_id"] for row in tables["rubrics"]] == problems
    assert list(dict.fromkeys(row["problem_id"] for row in tables["pairs"])) == problems
    with_rubric = {row["problem_id"] for row in ok(tables["rubrics"])}
    rateable = [row["answer_id"] for row in ok(tables["answers"]) if row["problem_id"] in with_rubric]
    assert sorted(row["answer_id"] for row in tables["ratings"]) == sorted(rateable)
    assert len(tables["preferences"]) == len(ok(tables["pairs"]))


def test_what_is_not_ok_says_why(tables: Tables) -> None:
    for name in ("problems", "answers", "rubrics", "ratings", "pairs"):
        for row in tables[name]:
            assert row["status"].replace("_", "").isalpha()
            assert row["status"] == "ok" or len(row["reason"]) > 5


def test_null_and_never_zero(tables: Tables) -> None:
    for row in tables["ratings"]:
        if row["status"] == "ok":
            assert 0 <= row["score"] <= 2
            assert all(mark["rating"] is None or 0 <= mark["rating"] <= 2 for mark in row["ratings"] or [])
        else:
            assert row["score"] is row["ratings"] is row["sample_scores"] is row["spread"] is None
    for row in tables["comparisons"]:
        assert (row["status"] == "ok") == (row["first_mark"] is not None) == (row["second_mark"] is not None)
    for row in tables["rubrics"]:
        assert (row["criteria"] is None) == (row["status"] not in ("ok", "ungrounded"))
    for row in tables["problems"]:
        assert (row["problem"] is None) == (row["reference_answer"] is None) == (row["status"] != "ok")


def test_what_failed_is_not_rated_and_what_is_not_rated_is_not_paired(tables: Tables) -> None:
    failed = {row["answer_id"] for row in tables["answers"] if row["status"] != "ok"}
    assert not failed & {row["answer_id"] for row in tables["ratings"]}
    paired = {row[side] for row in tables["pairs"] for side in ("chosen_answer_id", "rejected_answer_id")} - {None}
    assert paired <= {row["answer_id"] for row in ok(tables["ratings"])}


def test_references_are_rated_and_never_paired(tables: Tables) -> None:
    references = {row["answer_id"] for row in tables["answers"] if row["rollout"] == -1}
    assert len(references) == len(ok(tables["problems"]))
    assert len(references & {row["answer_id"] for row in tables["ratings"]}) == len(ok(tables["rubrics"]))
    assert not references & {
        row[side] for row in tables["pairs"] for side in ("chosen_answer_id", "rejected_answer_id")
    }
    by_problem = {row["problem_id"]: row for row in tables["problems"]}
    for row in tables["answers"]:
        if row["rollout"] == -1:
            assert row["final"] == by_problem[row["problem_id"]]["reference_answer"]


def test_every_row_leads_to_its_call(tables: Tables) -> None:
    calls = {row["generation_id"]: row for row in tables["generations"]}
    for name in ("problems", "answers", "rubrics", "comparisons", "ratings"):
        for row in tables[name]:
            many = name == "ratings" and (row["mode"] == "pairwise" or row["status"] == "unrateable")
            assert row["generation_id"] in calls or many
    for row in tables["answers"]:
        if row["rollout"] >= 0:
            assert calls[row["generation_id"]]["subject_id"] == row["answer_id"]
            assert row["text"] == calls[row["generation_id"]]["completion"]


def test_every_table_can_be_stored_whatever_was_said(tables: Tables, tmp_path: Path) -> None:
    store = Store(str(tmp_path), "r1")
    for name, rows in tables.items():
        store.write(name, 0, "shard-00000", rows, {})
        assert len(store.read(name, 0, "shard-00000")) == len(rows)


def test_failed_tries_are_kept(faulty: FakeEngine, tmp_path: Path) -> None:
    found = all_stages(
        faulty.url,
        dialect("structured", task={"max_attempts": 3}, rating={"own_likelihood": False}),
        DOCUMENTS,
        tmp_path / "j",
    )
    tries = Counter((row["role"], row["subject_id"]) for row in found["generations"])
    again = [row for row in found["generations"] if row["attempt"] > 0]
    assert again
    assert max(tries.values()) <= 3
    for row in again:  # each later try has its earlier ones beside it
        assert tries[row["role"], row["subject_id"]] > row["attempt"]
    seeds = [json.loads(row["params"])["seed"] for row in found["generations"]]
    assert len(set(seeds)) == len(seeds)


# The same from any order


def test_order_concurrency_and_shards_change_no_row(engine: FakeEngine, tmp_path: Path) -> None:
    """The same rows one call at a time, the documents backwards and in two shards."""
    for way in ("structured", "stepwise"):
        plain = all_stages(engine.url, dialect(way), DOCUMENTS, tmp_path / f"{way}-j")
        slow = dialect(way, engine={"max_in_flight": 1})
        apart = [
            all_stages(engine.url, slow, part, tmp_path / f"{way}-{n}")
            for n, part in enumerate((DOCUMENTS[:0:-1], DOCUMENTS[:1]))
        ]
        for name, rows in plain.items():
            other = [row for part in apart for row in part[name]]
            found, expected = (
                sorted(({**row, "seconds": 0} for row in one), key=lambda row: row[TABLES[name].key])
                for one in (other, rows)
            )
            assert found == expected


def test_another_seed_says_something_else(engine: FakeEngine, tmp_path: Path) -> None:
    one, other = (
        all_stages(engine.url, dialect("structured", sampling={"seed": seed}), DOCUMENTS[:1], tmp_path / f"{seed}")
        for seed in (0, 1)
    )
    assert not {row["text"] for row in one["answers"]} & {row["text"] for row in other["answers"]}
