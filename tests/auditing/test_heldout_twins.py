"""A training document that is all but the same as a held-out one is found, and blocks; a record of one form is none."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import planted
from tests.auditing.test_audits import value, verdicts

Change = Callable[[str], str]


def _with_twin(change: Change) -> Callable[[planted.Tables], None]:
    def plant(tables: planted.Tables) -> None:
        held_out = next(row for row in tables["documents"] if row["split"] == "heldout")
        tables["documents"][3]["text"] = change(held_out["text"])

    return plant


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda text: text.replace(" ", "  "), "fail"),
        (lambda text: text.upper().replace(" ", "\n"), "fail"),
        (lambda text: text + " One more sentence stands at its end.", "fail"),
        (lambda text: text[: len(text) // 2], "ok"),  # half of it is another document
        (lambda text: " ".join(text.split()[:20]), "ok"),
    ],
)
def test_a_twin_of_a_held_out_document_blocks(tmp_path: Path, change: Change, verdict: str) -> None:
    assert verdicts(planted.write(str(tmp_path), "r", _with_twin(change)))["heldout_twins"] == verdict


def test_twins_are_counted_among_the_documents_trained_on(tmp_path: Path) -> None:
    store = planted.write(str(tmp_path), "r", _with_twin(lambda text: f"{text}\n"))
    found, documents = value(store, "heldout_twins")
    assert found == 1 and documents == len(
        {row["problem_id"] for row in store.read("pairs", 0, "shard-00000") if row["status"] == "ok"}
    )


def test_records_of_one_form_are_no_twins(tmp_path: Path) -> None:
    def records(tables: planted.Tables) -> None:
        for number, row in enumerate(tables["documents"]):
            row["text"] = (
                f"On the morning of day {number} the nurse of the ward wrote down the pulse of the patient in bed."
            )

    assert verdicts(planted.write(str(tmp_path), "r", records))["heldout_twins"] == "ok"
