"""Hints: a share of the rollouts sees a sentence of the document, may be chosen, and counts nowhere as blind."""

from pathlib import Path

import pytest

from flows.views.outcome import gap_of, helped
from tasks.answer import answer, prompt_messages
from tasks.asking.hints import is_hinted, speaks_of_hint
from tasks.engine.fake import FakeEngine
from tasks.engine.protocol import Engine
from tasks.judging.pairs import Rated, choose
from tasks.pair import pair, preferences
from tasks.storage.db import connect, rows_of
from tests import planted
from tests.samples import Row, an_answer, config, document, plan_of, problem, using

ON: Row = {"sampling": {"hints": 0.5}}


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 1 / 3, 0.7, 1.0])
def test_the_share_is_met_whatever_the_number_of_answers(share: float) -> None:
    for answers in (1, 5, 32):
        assert sum(is_hinted(share, n) for n in range(answers)) == int(answers * share + 1e-9)


def test_blind_answers_stay_what_they_are_and_hints_are_of_the_document(tmp_path: Path) -> None:
    source = document(
        0, text="Light. Air scatters blue light more than red. Dust scatters every colour of light alike."
    )
    asked = problem(document_id=source["document_id"])

    def answered(url: str, name: str, settings: Row, documents: list[Row]) -> tuple[list[Row], dict[str, str]]:
        plan = plan_of(config(settings))

        async def work(engine: Engine) -> list[Row]:
            return await answer(plan, [asked], engine, documents)

        rows, recorder = using(url, plan, tmp_path / name, work)
        return rows, {call.subject_id: call.messages[0]["content"] for call in recorder.used.values()}

    with FakeEngine(max_model_len=4096) as running:
        plain, _ = answered(running.url, "a", {}, [])
        helped_, prompts = answered(running.url, "b", ON, [source])
        exam, _ = answered(running.url, "c", ON, [])  # as an evaluation asks
        again, _ = answered(running.url, "d", ON, [source])
    assert exam == plain and again == helped_
    blind = [row for row in helped_ if row["hint"] is None]
    hinted = [row for row in helped_ if row["hint"] is not None]
    assert blind == [row for row in plain if row["rollout"] in (-1, 0, 2)] and len(hinted) == 2
    for row in hinted:
        assert row["hint"] in source["text"] and row["hint"] != "Light." and row["hint"] in prompts[row["answer_id"]]
        assert row["answer_id"] not in {one["answer_id"] for one in plain}


def test_off_it_changes_no_fingerprint_and_on_only_what_answers_are_made_of() -> None:
    off, on = plan_of(config()), plan_of(config(ON))
    assert "sampling.hints" not in off.settings["answer"]
    assert off.fingerprints["answer"] != on.fingerprints["answer"] and off.keys == on.keys
    assert off.fingerprints["propose"] == on.fingerprints["propose"]


def test_a_hinted_answer_may_be_chosen_is_never_rejected_and_is_trained_on_without_its_hint() -> None:
    answers = [an_answer("ref", rollout=-1), an_answer("h", rollout=0, hint="Air scatters."), an_answer("a", rollout=1),
               an_answer("b", rollout=2), an_answer("low", rollout=3, hint="The sky.")]  # fmt: skip
    scores = {"ref": 2.0, "h": 1.8, "a": 1.0, "b": 0.5, "low": 0.1}
    ratings = [{"answer_id": name, "score": value, "status": "ok"} for name, value in scores.items()]
    plan = plan_of(config())
    rows = pair(plan, [problem()], answers, [{"problem_id": "p0", "status": "ok"}], ratings)
    assert (rows[0]["chosen_answer_id"], rows[0]["rejected_answer_id"], rows[0]["place"]) == ("h", "b", 0.375)
    (told,) = preferences(plan, [problem()], answers, rows)
    assert told["prompt"] == [dict(one) for one in prompt_messages(plan, problem()["problem"])]


@pytest.mark.parametrize(
    ("final", "said"),
    [("This sentence is critical.", "This sentence"), ("As the passage states, air scatters.", "the passage"),
     ("By the given hint it is air.", "the given hint"), ("Air scatters blue light most.", None)],
)  # fmt: skip
def test_an_answer_that_speaks_of_its_hint_is_found(final: str, said: str | None) -> None:
    assert speaks_of_hint(final) == said


def test_what_keeps_blind_answers_apart_is_told_before_what_hints_do() -> None:
    rated = [Rated("a", "one", 1, 1.0), Rated("b", "two", 1, 0.99), Rated("h", "three", 1, 0.2, hinted=True)]
    (found,) = choose(rated, config(pairing={"min_margin": 0.1}).pairing)
    assert found.status == "low_margin"


def test_where_only_a_hinted_answer_is_worse_there_is_a_row_that_says_so() -> None:
    rated = [Rated("a", "one", 1, 1.0), Rated("h", "two", 1, 0.2, hinted=True)]
    (found,) = choose(rated, plan_of(config()).config.pairing)
    assert (found.status, found.reason) == ("hinted", "an answer with a hint is never rejected")


def test_hinted_answers_count_in_no_figure_of_blind_ones(tmp_path: Path) -> None:
    def with_hints(tables: planted.Tables) -> None:
        """Beside the others, each problem has the reference's own words, written with a hint; and they are chosen."""
        for n in range(planted.PROBLEMS):
            text = next(a["final"] for a in tables["answers"] if a["answer_id"] == f"a{n}.-1")
            first = next(a for a in tables["answers"] if a["answer_id"] == f"a{n}.0")
            rating = next(r for r in tables["ratings"] if r["answer_id"] == f"a{n}.0")
            name = f"a{n}:h"
            tables["answers"].append(first | {"answer_id": name, "rollout": 9, "final": text, "hint": "A sentence."})
            tables["ratings"].append(rating | {"rating_id": f"t{name}", "answer_id": name, "score": 2.0})
        for row in tables["pairs"]:
            row["chosen_answer_id"] = f"a{row['problem_id'][1:]}:h"

    plain, hinted = planted.write(str(tmp_path), "r"), planted.write(str(tmp_path), "h", with_hints)
    for view, name in (("judges", "judge, reference"), ("signal", "problem_id")):
        query = f"SELECT * EXCLUDE (run) FROM {view} ORDER BY {name}"
        before, after = (rows_of(connect(store), query) for store in (plain, hinted))
        assert len(after) == len(before) and all(a == pytest.approx(b) for a, b in zip(after, before, strict=True))
    copies = (Path(__file__).parents[2] / "data" / "audits" / "copied_references.sql").read_text(encoding="utf-8")
    assert rows_of(connect(hinted), copies)[0]["value"] == 0.0
    old, new = (gap_of(connect(store), 0) for store in (plain, hinted))
    assert new == pytest.approx(old | {"hinted": 2.0}) and old["hinted"] is None  # sums in any order
    pairs = rows_of(connect(hinted), "SELECT chosen_from, hint FROM pair_lineage WHERE status = 'ok'")
    assert pairs and all(row == {"chosen_from": "hinted", "hint": "A sentence."} for row in pairs)
    assert helped(connect(hinted), 0) == f"{len(pairs)} hinted, 0 references of {len(pairs)}"
    assert helped(connect(plain), 0) == ""
