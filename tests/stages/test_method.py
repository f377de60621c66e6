"""What a user can change of the method: task types, own rubrics, several problems, models in roles, prices."""

from pathlib import Path
from typing import Any

import pytest

from schemas.errors import UserError
from tasks.engine.fake import FakeEngine
from tasks.models.resolve import with_frozen
from tasks.prompts import task_types
from tasks.staging.plan import make_plan, shown_answers
from tasks.storage.db import connect
from tasks.storage.store import Store
from tests.conftest import run_fake
from tests.samples import STEPWISE, STRUCTURED, Row, all_stages, config, document, plan_of
from tests.stages.samples import ok

DOCUMENTS = [document(n) for n in range(3)]
OWN: Row = {"name": "Correct", "description": "It is right.", "gold": "The whole truth of it.", "weight": 2}


@pytest.mark.parametrize("task_type", task_types())
@pytest.mark.parametrize("way", [STRUCTURED, STEPWISE])
def test_every_task_type_goes_through_in_both_dialects(
    engine: FakeEngine, tmp_path: Path, task_type: str, way: Row
) -> None:
    found = all_stages(engine.url, plan_of(config(way, task={"type": task_type})), DOCUMENTS, tmp_path / "j")
    assert {row["task"] for row in found["problems"]} == {task_type}
    assert ok(found["pairs"])


def test_a_task_type_of_ones_own_is_a_folder_of_text_files(engine: FakeEngine, tmp_path: Path) -> None:
    folder = tmp_path / "riddles"
    folder.mkdir()
    (folder / "propose.txt").write_text("Make a riddle of this.\n{document}\n{format}\n")
    found = all_stages(engine.url, plan_of(config(STRUCTURED, task={"type": str(folder)})), DOCUMENTS, tmp_path / "j")
    prompts = [row["messages"][0]["content"] for row in found["generations"] if row["role"] == "propose"]
    assert all(prompt.startswith("Make a riddle of this.\nSubject") for prompt in prompts)
    assert ok(found["ratings"])  # what the folder does not have is taken from `general`


def test_the_next_problem_of_a_document_is_told_of_those_before_it(engine: FakeEngine, tmp_path: Path) -> None:
    plan = plan_of(config(STRUCTURED, task={"problems_per_document": 3}))
    found = all_stages(engine.url, plan, DOCUMENTS[:1], tmp_path / "j")
    texts = [row["problem"] for row in found["problems"]]
    assert len(set(texts)) == 3
    last = next(row for row in found["generations"] if row["subject_id"] == found["problems"][2]["problem_id"])
    assert all(" ".join(text.split())[:40] in last["messages"][0]["content"] for text in texts[:2])
    one = all_stages(engine.url, plan_of(config(STRUCTURED)), DOCUMENTS[:1], tmp_path / "k")
    assert one["problems"] == found["problems"][:1]  # more problems leave the first as it is


def test_a_rubric_of_ones_own_holds_for_every_problem_and_asks_no_model(engine: FakeEngine, tmp_path: Path) -> None:
    found = all_stages(engine.url, plan_of(config(STRUCTURED, rubric={"criteria": [OWN]})), DOCUMENTS, tmp_path / "j")
    assert len(found["rubrics"]) == len(ok(found["problems"]))
    own = OWN | {"weight": 2.0, "evidence": None, "support": None, "status": "ok"}
    assert all(row["criteria"] == [own] for row in found["rubrics"])
    assert "rubric" not in {row["role"] for row in found["generations"]}
    assert ok(found["ratings"])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rubric": {"criteria": [OWN, OWN]}}, "two criteria have the same name"),
        ({"rubric": {"criteria": [OWN | {"weight": 0}]}}, "weight"),
        ({"rubric": {"criteria": [OWN | {"gold": None}]}, "rating": {"mode": "likelihood"}}, "gold fact"),
        ({"rating": {"samples": 3}, "sampling": {"judge": {"temperature": 0}}}, "temperature"),
        ({"rating": {"mode": "pairwise", "samples": 3}}, "rating.mode=pointwise"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_the_mend(changes: Row, why: str) -> None:
    with pytest.raises(UserError, match=why):
        config(changes)


def test_answers_in_view_are_by_task_type_unless_set() -> None:
    assert shown_answers(config(STRUCTURED)) == 11
    assert shown_answers(config(STRUCTURED, task={"type": "creative_writing"})) == 5
    assert shown_answers(config(STRUCTURED, rubric={"shown_answers": 0})) == 0
    assert shown_answers(config(STEPWISE)) == 0


def test_frozen_is_the_policy_of_round_0(fake_root: Path) -> None:
    store = Store(str(fake_root), "fake")
    judged: Row = {"roles": {"judge": "frozen"}}
    later = config(judged, models={"policy": {"path": "/the/next/one"}})
    assert with_frozen(later, store, 1).models["frozen"].path == "smollm2-135m-instruct"
    assert with_frozen(later, store, 0).models["frozen"].path == "/the/next/one"
    with pytest.raises(UserError, match="has none"):
        with_frozen(later, Store(str(fake_root), "nothing"), 1)
    # in round 0 it is the same model, and so the same ratings
    alike = make_plan(with_frozen(config(judged), store, 0), "r", 0, {"policy": "m", "frozen": "m"})
    plain = make_plan(config(), "r", 0, {"policy": "m"})
    assert alike.fingerprints["rate"] == plain.fingerprints["rate"]


def test_the_round_0_model_judges_in_a_later_round_beside_the_policy(fake_root: Path) -> None:
    changes = ("roles.judge=frozen", "models.policy.path=a/trained-one", "corpus.documents=4")
    outcome = run_round_1(fake_root, *changes)
    assert outcome["round"] == 1
    asked = connect(Store(str(fake_root), "frozen")).execute(
        "SELECT role, model FROM generations WHERE round = 1 GROUP BY ALL ORDER BY role"
    )
    assert asked.fetchall() == [
        ("answer", "fake:policy"), ("judge", "fake:frozen"), ("propose", "fake:policy"), ("rubric", "fake:policy"),
    ]  # fmt: skip


def run_round_1(root: Path, *overrides: str) -> dict[str, Any]:
    """Round 0 and then round 1 of a run `frozen`, the latter with changes."""
    import asyncio

    from flows.round import round_flow
    from tests.conftest import fake_config

    run_fake(root, "frozen", "corpus.documents=4")
    return asyncio.run(round_flow(fake_config(*overrides), run="frozen", round=1, root=str(root)))


def test_what_a_round_costs_by_role_and_by_pair(fake_root: Path) -> None:
    prices = {"usd_per_million_prompt_tokens": 2.0, "usd_per_million_completion_tokens": 8.0}
    run_fake(fake_root, "priced", *(f"models.policy.{name}={value}" for name, value in prices.items()))
    con = connect(Store(str(fake_root), "priced"))
    rows = con.execute(
        "SELECT cost_usd, prompt_tokens, completion_tokens, pairs, cost_usd_per_pair FROM costs"
    ).fetchall()
    assert len(rows) == 4
    for cost, read, written, pairs, each in rows:
        assert cost == pytest.approx((2 * read + 8 * written) / 1e6)
        assert each == pytest.approx(cost / pairs)
    unpriced = connect(Store(str(fake_root), "fake")).execute("SELECT cost_usd, calls FROM costs").fetchall()
    assert all(cost is None and calls > 0 for cost, calls in unpriced)  # not known, not zero


def test_top_fraction_looks_at_the_whole_round(fake_root: Path) -> None:
    run_fake(fake_root, "top", "pairing.strategy=top_fraction", "pairing.top_fraction=0.5")
    con = connect(Store(str(fake_root), "top"))
    kept = con.execute("SELECT margin FROM pairs WHERE status = 'ok' ORDER BY 1").fetchall()
    left = con.execute(
        "SELECT margin FROM pairs WHERE status = 'low_margin' AND reason LIKE '%top 50%' ORDER BY 1"
    ).fetchall()
    assert kept
    assert left
    assert kept[0] >= left[-1]
    assert len(kept) == -(-(len(kept) + len(left)) // 2)
