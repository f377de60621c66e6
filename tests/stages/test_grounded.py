"""Evidence: what a criterion or a reference rests on is in its row, and what rests on nothing never counts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.outputs import ProposedProblem
from tasks.asking.asker import Bad
from tasks.engine.fake import FakeEngine
from tasks.engine.protocol import Request
from tasks.propose import Checks
from tasks.rate import cases
from tasks.rubric import _one
from tests.judging.samples import Judge
from tests.samples import STEPWISE, STRUCTURED, Row, all_stages, config, document, plan_of, problem
from tests.stages.samples import DOCUMENTS, ok

TEXT = (
    "The liver stores sugar as glycogen. It breaks down drugs and alcohol. Bile, which the liver makes, helps to "
    "digest fat. A healthy liver grows back after a third of it is removed."
)
ABOUT = document(0, text=TEXT) | {"title": "Liver", "document_id": "d0"}
TRUE = "The liver stores sugar as glycogen."
OTHER = "The liver makes bile, which helps to digest fat."


def criterion(name: str, gold: str | None, evidence: str | None) -> Row:
    return {"name": name, "gold": gold, "description": "d", "weight": 1.0, "evidence": evidence}


async def made(settings: Row, *replies: str) -> tuple[Row, list[Request]]:
    """The rubric row that a writer with these replies, one a try, comes to."""
    plan = plan_of(config(settings, sampling={"rubric": {"temperature": 0.0 if settings is STRUCTURED else 0.5}}))
    engine = Judge(lambda request: replies[min(request.attempt, len(replies) - 1)])
    return await _one(plan, ABOUT, problem(problem="What does it do?"), [], engine), engine.asked


def run(settings: Row, *replies: str) -> tuple[Row, list[Request]]:
    import asyncio

    return asyncio.run(made(settings, *replies))


def test_a_made_up_quote_is_asked_again_with_what_was_wrong() -> None:
    lie = json.dumps({"criteria": [criterion("Store", TRUE, "The liver was discovered in 1543.")]})
    truth = json.dumps({"criteria": [criterion("Store", TRUE, "The liver  stores SUGAR, as glycogen")]})
    row, asked = run(STRUCTURED, lie, truth)
    assert row["status"] == "ok" and len(asked) == 2
    assert (
        "discovered in 1543" in asked[1].messages[0]["content"]
        and "which is not there" in asked[1].messages[0]["content"]
    )
    (found,) = row["criteria"]
    assert (found["status"], found["support"]) == ("ok", 1.0) and found["evidence"].startswith("The liver  stores")


def test_what_stays_ungrounded_keeps_its_row_and_nothing_is_rated_by_it() -> None:
    written = [criterion("Store", TRUE, TRUE), criterion("Year", "It was found in 1543.", "found in 1543"),
               criterion("Tone", None, None), criterion("Bile", OTHER, None)]  # fmt: skip
    row, asked = run(STRUCTURED, json.dumps({"criteria": written}))
    assert [one["status"] for one in row["criteria"]] == ["ok", "ungrounded", "ok", "ungrounded"]
    assert row["status"] == "ok" and "2 of 4 criteria rest on nothing in the document" in row["reason"]
    assert len(asked) == 3
    (case,) = cases([problem()], [{"problem_id": "p0", "status": "ok", "answer_id": "a"}], [row])
    assert [one["name"] for one in case.rubric["criteria"]] == ["Store", "Tone"]
    row, _ = run(STRUCTURED, json.dumps({"criteria": written[1:2]}))
    assert row["status"] == "ungrounded" and row["criteria"] and cases([problem()], [], [row]) == []


@pytest.mark.parametrize("rubric", [{}, {"min_support": 0.0}], ids=["grounded", "as for creative writing"])
def test_a_criterion_that_repeats_our_instructions_never_counts(rubric: Row) -> None:
    echo = "The passage of the document that the gold fact rests on: one to three sentences, copied from there."
    written = [criterion("gold", echo, TRUE), criterion("Tone", None, None) | {"description": echo},
               criterion("Scale", None, None) | {"description": "Full marks (2), part marks (1) and none (0)."},
               criterion("Store", TRUE, TRUE)]  # fmt: skip
    row, asked = run(STRUCTURED | {"rubric": rubric}, json.dumps({"criteria": written}))
    assert [one["status"] for one in row["criteria"]] == ["ungrounded", "ungrounded", "ok", "ok"]
    assert row["status"] == "ok" and len(asked) == 3


def test_a_prompt_of_the_users_own_may_say_what_the_criteria_are(tmp_path: Path) -> None:
    wanted = "Full marks for an answer that names at least two things which the organ does for the whole body."
    (tmp_path / "rubric.txt").write_text(f"{{problem}}\n{wanted}\n{{format}}")
    written = {"criteria": [criterion("Two", None, None) | {"description": wanted}]}
    row, asked = run(STRUCTURED | {"task": {"type": str(tmp_path)}}, json.dumps(written))
    assert row["status"] == "ok" and len(asked) == 1


def test_facts_without_a_passage_are_asked_again_and_those_that_have_one_are_kept() -> None:
    first = f"1. {TRUE}\n2. It was first described in 1543 by a doctor in Padua."
    row, asked = run(STEPWISE, first, f"1. {OTHER}\n2. It has a colour that nobody knows about.")
    assert len(asked) == 3
    assert [(one["gold"], one["status"]) for one in row["criteria"]][:2] == [(TRUE, "ok"), (OTHER, "ok")]
    assert row["criteria"][0]["evidence"] == TRUE and row["status"] == "ok"
    row, _ = run(STEPWISE, "1. It was first described in 1543 by a doctor in Padua.")
    assert row["status"] == "ungrounded"


def test_without_the_document_in_view_nothing_is_asked_of_the_facts() -> None:
    row, asked = run(STEPWISE | {"rubric": {"show_document": False}}, "1. It was first described in 1543 in Padua.")
    assert row["status"] == "ok" and len(asked) == 1


@pytest.fixture(scope="module")
def liar() -> Iterator[FakeEngine]:
    with FakeEngine(max_model_len=8192, faults={"lying": 0.5}) as running:
        yield running


@pytest.mark.parametrize("way", [STRUCTURED, STEPWISE], ids=["structured", "stepwise"])
def test_of_a_writer_who_lies_every_lie_is_found_and_none_counts(liar: FakeEngine, tmp_path: Path, way: Row) -> None:
    documents = [*DOCUMENTS, *(document(n) for n in range(4, 10))]
    plan = plan_of(config(way, task={"min_support": 0.0, "max_attempts": 1}))
    tables = all_stages(liar.url, plan, documents, tmp_path / "j")
    texts = {row["document_id"]: row["text"] for row in documents}
    lies = 0
    for row in tables["rubrics"]:
        names = [one["name"] for one in row["criteria"] or [] if one["status"] == "ok"]
        for one in row["criteria"] or []:
            true = (
                one["evidence"] is not None and one["evidence"] in texts[row["document_id"]] and one["support"] >= 0.6
            )
            lies += not true and one["gold"] is not None
            assert one["gold"] is None or (one["status"] == "ok") == true
        for rating in (r for r in tables["ratings"] if r["rubric_id"] == row["rubric_id"] and r["ratings"]):
            assert [mark["name"] for mark in rating["ratings"]] == names
    assert lies >= 3


@pytest.mark.parametrize(
    ("reference", "status"),
    [
        ("The liver stores sugar and breaks down drugs, and it makes bile.", None),
        ("The subject is a helpful AI named SmolLM, trained by Hugging Face.", "leaky"),
        ("It pumps oxygen through hollow kittens towards distant galaxies.", "unsupported"),
        ("The liver stores sugar as glycogen. Its main functions are:", "unfinished"),
        ("I'm sorry, but I can't help with that.", "refused"),
        ("The liver stores much sugar as glycogen. The liver stores much sugar as glycogen now.", "malformed"),
    ],
)
def test_references_are_held_to_the_same(reference: str, status: str | None) -> None:
    checks = Checks(plan_of(config()), (), TEXT)
    proposed = ProposedProblem(problem="What does the organ do for a person?", reference_answer=reference)
    found: Any = None
    try:
        checks.both(proposed)
    except Bad as bad:
        found = bad.status
    except ValueError:
        found = "malformed"
    assert found == status


def test_a_support_is_in_the_row(engine: FakeEngine, tmp_path: Path) -> None:
    tables = all_stages(engine.url, plan_of(config(STEPWISE)), DOCUMENTS[:2], tmp_path / "j")
    assert all(0.4 <= row["support"] <= 1 for row in ok(tables["problems"]))
