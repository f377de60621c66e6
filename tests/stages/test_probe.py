"""Probes: made answers are rated by the round's judge, and what it should say of them is known."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.fake.process import FakeEngine
from tasks.engine.protocol import Engine
from tasks.probe import BOTTOM, EXPECTED, Row, negated, padded, passed, probe, probed, share_of
from tasks.storage.db import connect
from tasks.storage.store import Store
from tests.conftest import run_fake
from tests.samples import STEPWISE, STRUCTURED, all_stages, config, document, plan_of, using


def test_every_kind_is_rated_by_the_judge_and_nothing_is_asked_twice(tmp_path: Path) -> None:
    for number, mode in enumerate((STRUCTURED, STEPWISE)):
        plan = plan_of(config(mode))
        with FakeEngine() as server:
            tables = all_stages(server.url, plan, [document(n) for n in range(4)], tmp_path / f"{number}.jsonl")
            known = {row["generation_id"]: row for row in tables["generations"]}
            problems, answers, rubrics, ratings = (tables[n] for n in ("problems", "answers", "rubrics", "ratings"))

            async def work(engine: Engine) -> list[Row]:
                return await probe(plan, problems, answers, rubrics, ratings, engine, count=2, known=known)  # noqa: B023

            rows, recorder = using(server.url, plan, tmp_path / f"{number}-probe.jsonl", work)
            again, _ = using(server.url, plan, tmp_path / f"{number}-again.jsonl", work)
        assert rows == again and len({row["probe_id"] for row in rows}) == len(rows)
        assert sorted({row["kind"] for row in rows}) == sorted(EXPECTED) and len(rows) == 2 * len(EXPECTED)
        assert not known.keys() & recorder.used.keys()
        for row in rows:
            beside = row["beaten"] if row["expected"] == BOTTOM else row["reference_score"]
            assert (row["passed"] is None) == (row["score"] is None or beside is None)
            assert (row["status"] == "ok") == (row["score"] is not None)
            assert row["status"] == "ok" or row["reason"]


def test_what_cannot_be_told_is_null() -> None:
    assert passed("opener", None, 1.0) is None and passed("opener", 1.0, None) is None
    assert [passed("empty", 0.0, 1.0, beaten) for beaten in (None, 0.0, 0.2)] == [None, True, False]
    assert [passed(kind, 0.5, 1.0) for kind in ("opener", "padded", "reordered")] == [True, True, False]
    assert [passed(kind, 1.0, 1.0) for kind in ("opener", "padded", "reordered")] == [False, True, True]
    assert [passed(kind, 1.2, 1.0) for kind in ("opener", "padded", "reordered")] == [False, False, False]


def test_a_stated_fact_is_negated_and_one_that_is_not_stated_is_left_alone() -> None:
    text = "Canals are old.  The river   feeds the long canal. They carry boats."
    fact: list[Row] = [{"gold": "The river feeds the canal"}, {"gold": None}]
    assert (
        negated(text, fact) == "Canals are old.  It is not true that the river feeds the long canal. They carry boats."
    )
    assert negated("Nothing of that kind is said.", fact) is None
    assert negated(text, [{"gold": None}]) is None


@given(st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=80).map(" ".join))
def test_padding_doubles_the_words_and_changes_none(text: str) -> None:
    made = padded(text)
    assert made.startswith(text) and 2 * len(text.split()) <= len(made.split()) <= 2 * len(text.split()) + 11


@given(st.integers(0, 50), st.integers(1, 20))
def test_the_shards_share_the_probes(total: int, count: int) -> None:
    shards = [f"s{n}" for n in range(count)]
    shares = [share_of(total, shard, shards) for shard in shards]
    assert sum(shares) == total and max(shares) - min(shares) <= 1


def test_only_problems_with_rubric_and_reference_are_probed_and_always_the_same() -> None:
    problems = [{"problem_id": f"p{n}", "status": "ok"} for n in range(5)]
    rubrics = [{"problem_id": f"p{n}", "status": "malformed" if n == 1 else "ok"} for n in range(5)]
    answers = [{"problem_id": f"p{n}", "rollout": -1, "status": "ok"} for n in range(4)]
    every = [row["problem_id"] for row in probed(problems, answers, rubrics, 9)]
    assert sorted(every) == ["p0", "p2", "p3"]
    assert [row["problem_id"] for row in probed(problems[::-1], answers, rubrics, 2)] == every[:2]


@pytest.mark.parametrize(("wanted", "problems"), [(3, 3), (0, 0)])
def test_a_round_probes_as_many_problems_as_it_should(
    prefect_server: None, tmp_path: Path, wanted: int, problems: int
) -> None:
    run_fake(tmp_path, "r", f"evaluation.probes={wanted}")
    con = connect(Store(str(tmp_path), "r"))
    assert con.execute("SELECT count(DISTINCT problem_id), count(*) FROM probes").fetchone() == (problems, 9 * problems)
    doubled = "SELECT generation_id FROM generations GROUP BY 1 HAVING count(*) > 1"
    assert con.execute(f"SELECT count(*) FROM ({doubled})").fetchone() == (0,)
