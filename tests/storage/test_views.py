"""The SQL views over a hand-made run of a few rows, with the answers worked out beside them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.tables import TABLES
from tasks.storage.db import connect
from tasks.storage.store import Store
from tasks.texts.measures import overlap, shingles
from tests.samples import Row, an_answer, document, problem

VIEWS = (
    "criteria", "criterion_ratings", "triples", "funnel", "rejections", "gap", "costs", "rounds", "settings", "prompts",
    "pair_lineage", "probe_scores", "signal", "graded", "judges",
)  # fmt: skip


def rating(answer: str, problem_id: str, *values: float | None, score: float | None = None, status: str = "ok") -> Row:
    """A rating row; failed ones have neither ratings nor score."""
    found = [{"name": f"c{n}", "rating": value, "thoughts": "t"} for n, value in enumerate(values)]
    return {
        "rating_id": f"t-{answer}", "answer_id": answer, "rubric_id": f"r-{problem_id}", "problem_id": problem_id,
        "mode": "pointwise", "ratings": found or None, "score": score, "status": status,
        "reason": None if status == "ok" else "because",
    }  # fmt: skip


def rubric(problem_id: str, document_id: str, *weights: float, status: str = "ok") -> Row:
    """A rubric row with a criterion a weight."""
    criteria = [{"name": f"c{n}", "gold": "g", "description": "d", "weight": w} for n, w in enumerate(weights)]
    return {
        "rubric_id": f"r-{problem_id}", "problem_id": problem_id, "document_id": document_id,
        "criteria": criteria or None,
        "shown_answer_ids": [], "status": status, "reason": None if status == "ok" else "because",
    }  # fmt: skip


def call(number: int, role: str, tokens: int, subject: str | None = None) -> Row:
    """A generation of 10 prompt tokens and 0.4 seconds."""
    return {
        "generation_id": f"g{number}", "subject_id": subject, "completion": f"wrote {number}", "role": role,
        "model": "m", "prompt_tokens": 10, "completion_tokens": tokens,
        "seconds": 0.4, "messages": [{"role": "user", "content": "x"}],
    }  # fmt: skip


# d0 has a full story (p0); d1's rubric failed (p1); d2's problem is leaky (p2); h is held out; one text is too short.
RUN: dict[str, list[Row]] = {
    "documents": [
        *(document(n) | {"document_id": f"d{n}"} for n in range(3)),
        document(3) | {"document_id": "h", "split": "heldout"},
        document(4) | {"document_id": "s", "split": None, "status": "too_short", "reason": "5 words"},
    ],
    "problems": [problem(0), problem(1), problem(2, status="leaky", reason="it points")],
    "answers": [
        an_answer("ref0", rollout=-1), an_answer("a0"), an_answer("a1", rollout=1), an_answer("a2", rollout=2),
        an_answer("a3", rollout=3, status="truncated", reason="cut", final=None),
        an_answer("ref1", rollout=-1, problem_id="p1"), an_answer("b0", problem_id="p1"),
    ],
    "rubrics": [rubric("p0", "d0", 3.0, 1.0), rubric("p1", "d1", status="malformed")],
    "ratings": [
        rating("ref0", "p0", 2.0, 1.0, score=1.75), rating("a0", "p0", 1.0, 1.0, score=1.0),
        rating("a1", "p0", 0.0, None, score=0.0), rating("a2", "p0", status="malformed"),
    ],
    "pairs": [
        {"pair_id": "x0", "problem_id": "p0", "chosen_answer_id": "a0", "rejected_answer_id": "a1", "status": "ok"},
        {"pair_id": "x1", "problem_id": "p1", "status": "no_rubric", "reason": "the rubric is malformed"},
    ],
    "generations": [call(0, "propose", 7), call(1, "judge", 5, "t-a0"), call(2, "judge", 6, "t-a1")],
    "comparisons": [
        {"comparison_id": "k0", "problem_id": "p0", "first_answer_id": "a0", "second_answer_id": "a1",
         "first_mark": 2.0, "second_mark": 0.0, "thoughts": "longer", "status": "ok", "generation_id": "g2"},
    ],
    "training_steps": [{"model_id": "m1", "step": n, "loss": 0.7 - n / 10} for n in range(2)],
    "models": [
        {"model_id": "m1", "status": "candidate"}, {"model_id": "m0", "status": "rolled_back", "reason": "worse"},
    ],
}  # fmt: skip


FOOTERS = {"answers": {"stage": "answer", "settings": {"prompts": {"answer": "hash1"}}}}
MANIFEST: Row = {
    "run": "r1", "round": 0, "finished": True, "written": "2026-11-21T21:07:22+00:00", "models": {"policy": "m0:abc"},
    "config": {"sampling": {"answers": 4, "answer": {"stop": ["x"]}}, "rating": {"mode": "pointwise"}},
    "fingerprints": {"shard": "f"},
}  # fmt: skip


@pytest.fixture(scope="module", params=["local", "memory"])
def con(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[duckdb.DuckDBPyConnection]:
    """The run in a folder whose name is hard to quote and looks like partitions, and in an object store."""
    folder = tmp_path_factory.mktemp("it's [a] root") / "run=5"
    store = Store(str(folder) if request.param == "local" else f"memory://{folder.parent.name}", "r1")
    for table, rows in RUN.items():
        half = (len(rows) + 1) // 2  # two files a table
        store.write(table, 0, "shard-00000", rows[:half], {})
        store.write(table, 0, "shard-00001", rows[half:], FOOTERS.get(table, {}))
    store.publish(f"{store.base}/manifests/round=000/round.json", json.dumps(MANIFEST).encode())
    store.write("documents", 1, "shard-00000", [document(9)], {})  # another round, which no view may mix with the first
    with connect(store) as connection:
        yield connection


def rows(con: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    return con.execute(query).fetchall()


def test_the_funnel_counts_each_step(con: duckdb.DuckDBPyConnection) -> None:
    assert rows(con, "SELECT step, stage, total, ok, share_ok FROM funnel WHERE round = 0") == [
        (1, "documents", 4, 3, 0.75),  # the held-out one is not on its way
        (2, "problems", 3, 2, 0.667),
        (3, "answers", 5, 4, 0.8),  # references are not answers
        (4, "rubrics", 2, 1, 0.5),
        (5, "rated answers", 3, 2, 0.667),
        (6, "problems with a signal", 1, 1, 1.0),
        (7, "pairs", 2, 1, 0.5),
    ]
    assert rows(con, "SELECT stage, total FROM funnel WHERE round = 1") == [("documents", 1)]


def test_rejections_say_what_fell_out_and_why(con: duckdb.DuckDBPyConnection) -> None:
    assert rows(con, "SELECT stage, status, example, count FROM rejections") == [
        ("answers", "truncated", "cut", 1), ("documents", "too_short", "5 words", 1),
        ("models", "rolled_back", "worse", 1),
        ("pairs", "no_rubric", "the rubric is malformed", 1), ("problems", "leaky", "it points", 1),
        ("ratings", "malformed", "because", 1), ("rubrics", "malformed", "because", 1),
    ]  # fmt: skip


def test_the_gap_is_the_reference_beside_the_answers_that_have_a_score(con: duckdb.DuckDBPyConnection) -> None:
    # answers of p0 with a score: 1 and 0, mean 0.5; a2 could not be rated and counts as nothing, not as 0
    assert rows(con, "SELECT problem_id, reference_score, mean_score, worst_score, best_score, answers FROM gap") == [
        ("p0", 1.75, 0.5, 0.0, 1.0, 2)
    ]


def test_criteria_and_their_ratings_have_a_row_each(con: duckdb.DuckDBPyConnection) -> None:
    assert rows(con, "SELECT problem_id, name, weight FROM criteria ORDER BY name") == [
        ("p0", "c0", 3.0),
        ("p0", "c1", 1.0),
    ]
    assert rows(con, "SELECT answer_id, name, rating FROM criterion_ratings ORDER BY ALL") == [
        ("a0", "c0", 1.0), ("a0", "c1", 1.0), ("a1", "c0", 0.0), ("a1", "c1", None),
        ("ref0", "c0", 2.0), ("ref0", "c1", 1.0),
    ]  # fmt: skip


def test_triples_are_whole(con: duckdb.DuckDBPyConnection) -> None:
    assert rows(con, "SELECT document_id, problem_id, len(criteria) FROM triples") == [("d0", "p0", 2)]


def test_costs_are_summed_by_role(con: duckdb.DuckDBPyConnection) -> None:
    found = rows(con, "SELECT role, calls, prompt_tokens, completion_tokens, call_seconds FROM costs")
    assert found == [("judge", 2, 20, 11, 0.8), ("propose", 1, 10, 7, 0.4)]


def test_a_round_stands_with_its_settings_and_what_came_of_it(con: duckdb.DuckDBPyConnection) -> None:
    columns = "round, finished, policy, rating_mode, answers_per_problem, documents, answers, pairs, reference_score"
    assert rows(con, f"SELECT {columns}, steps, last_loss FROM rounds") == [
        (0, True, "m0:abc", "pointwise", 4, 3, 4, 1, 1.75, 2, 0.6)
    ]
    assert rows(con, "SELECT name, value FROM settings ORDER BY name") == [
        ("rating.mode", "pointwise"), ("sampling.answer.stop", '["x"]'), ("sampling.answers", "4"),
    ]  # fmt: skip
    assert rows(con, "SELECT run, round, stage, prompt, hash FROM prompts") == [("r1", 0, "answer", "answer", "hash1")]


def test_a_pairs_lineage_reaches_from_the_document_to_the_judges_words(con: duckdb.DuckDBPyConnection) -> None:
    lineage = con.sql("SELECT * FROM pair_lineage").to_arrow_table()
    assert lineage is not None
    (found,) = lineage.to_pylist()  # x1 has no answers to follow
    wanted = {
        "pair_id": "x0", "document_id": "d0", "title": "Subject0", "problem": "Why is the sky blue?",
        "reference_answer": "Air scatters blue light most.", "chosen": "answer a0", "rejected": "answer a1",
        "reference_score": 1.75, "chosen_judge_texts": ["wrote 1"], "rejected_judge_texts": ["wrote 2"],
        "judge_model": "m", "rating_mode": "pointwise",
        "prompts": [{"stage": "answer", "prompt": "answer", "hash": "hash1"}],
    }  # fmt: skip
    assert {key: found[key] for key in wanted} == wanted and found["document"].startswith("Subject0 fact0")
    ratings = [(c["name"], c["weight"], c["chosen_rating"], c["rejected_rating"]) for c in found["criteria"]]
    assert ratings == [("c0", 3.0, 1.0, 0.0), ("c1", 1.0, 1.0, None)]
    assert [c["reference_rating"] for c in found["criteria"]] == [2.0, 1.0]
    (compared,) = found["comparisons"]
    assert compared["first_mark"] == 2.0 and compared["judge_text"] == "wrote 2"


def test_views_over_several_runs_never_mix_them(tmp_path: Path) -> None:
    for name, score in (("one", 1.0), ("two", 2.0)):  # the same ids in both
        store = Store(str(tmp_path), name)
        for table, content in RUN.items():
            store.write(table, 0, "shard-00000", content, {})
        store.write("ratings", 0, "shard-00000", [rating("a0", "p0", score, score, score=score)], {})
    (tmp_path / "two").rename(tmp_path / "three")  # a run is called as its folder is
    several = connect(Store(str(tmp_path), "one"), Store(str(tmp_path), "three"))
    assert rows(several, "SELECT run, best_score, answers FROM gap ORDER BY run") == [("one", 1, 1), ("three", 2, 1)]
    assert rows(several, "SELECT run, chosen_rating FROM (SELECT run, criteria[1].chosen_rating FROM pair_lineage) "
                "AS t(run, chosen_rating) ORDER BY run") == [("one", 1.0), ("three", 2.0)]  # fmt: skip
    assert rows(several, "SELECT run, count(*) FROM triples GROUP BY 1 ORDER BY 1") == [("one", 1), ("three", 1)]


def test_a_run_of_an_older_version_has_null_for_the_columns_that_came_later(tmp_path: Path) -> None:
    folder = tmp_path / "old/ratings/round=000"
    folder.mkdir(parents=True)
    table = pa.Table.from_pylist([{"run": "old", "rating_id": "t", "answer_id": "a", "score": 1.0, "status": "ok"}])
    pq.write_table(table, folder / "shard-00000.parquet")
    con = connect(Store(str(tmp_path), "old"))
    assert rows(con, "SELECT rating_id, score, sample_scores, spread, round FROM ratings") == [
        ("t", 1.0, None, None, 0)
    ]


LETTERS = st.text("abc é١ .,", max_size=40)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(LETTERS, LETTERS, st.integers(1, 4)), min_size=20))
def test_the_share_of_ngrams_in_sql_is_that_of_python(cases: list[tuple[str, str, int]]) -> None:
    with connect(Store("nowhere", "none")) as con:
        for part, whole, n in cases:
            found = con.execute("SELECT share_of_ngrams(?, ?, ?)", [part, whole, n]).fetchone()
            assert found == ((overlap(part, whole, n),) if shingles(part, n) else (None,))


def test_null_is_null_in_sql_too(con: duckdb.DuckDBPyConnection) -> None:
    assert rows(con, "SELECT score, ratings FROM ratings WHERE status <> 'ok'") == [(None, None)]


def test_a_run_without_rows_has_every_table_and_view_with_the_same_columns(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    empty = connect(Store(str(tmp_path), "r1"))
    for name in (*TABLES, *VIEWS):
        assert rows(empty, f"SELECT * FROM {name}") == []
        described = [sorted((row[0], row[1]) for row in rows(one, f"DESCRIBE {name}")) for one in (con, empty)]
        assert described[0] == described[1], name


def test_what_is_written_after_connecting_is_seen(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "r1")
    store.write("pairs", 0, "shard-00000", RUN["pairs"][:1], {})
    con = connect(store)
    store.write("pairs", 0, "shard-00001", RUN["pairs"][1:], {})
    assert rows(con, "SELECT count(*), min(run), max(round) FROM pairs") == [(2, "r1", 0)]
