"""The SQL views over a hand-made run of a few rows, with the answers worked out beside them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from schemas.tables import TABLES
from tasks.db import connect
from tasks.store import Store
from tests.samples import Row, an_answer, document, problem

VIEWS = ("criteria", "criterion_ratings", "triples", "funnel", "rejections", "gap", "costs")


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


def call(number: int, role: str, tokens: int) -> Row:
    """A generation of 10 prompt tokens and 0.4 seconds."""
    return {
        "generation_id": f"g{number}", "role": role, "model": "m", "prompt_tokens": 10, "completion_tokens": tokens,
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
    "generations": [call(0, "propose", 7), call(1, "judge", 5), call(2, "judge", 6)],
    "models": [
        {"model_id": "m1", "status": "candidate"}, {"model_id": "m0", "status": "rolled_back", "reason": "worse"},
    ],
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
        store.write(table, 0, "shard-00001", rows[half:], {})
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
        (6, "pairs", 2, 1, 0.5),
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
