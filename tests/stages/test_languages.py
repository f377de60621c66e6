"""Ten documents in Chinese and Arabic through every stage, in both ways of asking, like English ones."""

import json
from pathlib import Path

import pytest

from tasks.corpus import document_id
from tasks.engine.fake import FakeEngine
from tasks.texts.length import word_count
from tasks.texts.scripts import question_mark
from tests.samples import STEPWISE, STRUCTURED, Row, all_stages, config, plan_of

SAMPLES = Path(__file__).parents[1] / "texts" / "chinese_and_arabic.jsonl"
DOCUMENTS: list[Row] = [
    {"document_id": document_id(row["text"]), "source": f"s:{n}", "title": row["title"], "text": row["text"],
     "words": word_count(row["text"]), "split": "train", "status": "ok", "reason": None}
    for n, row in enumerate(map(json.loads, SAMPLES.read_text().splitlines()))
]  # fmt: skip


@pytest.mark.parametrize("way", [STRUCTURED, STEPWISE], ids=["structured", "stepwise"])
def test_documents_in_chinese_and_arabic_become_pairs(engine: FakeEngine, tmp_path: Path, way: Row) -> None:
    settings = config(way, task={"max_attempts": 5}, pairing={"max_length_gap_words": 100})
    tables = all_stages(engine.url, plan_of(settings), DOCUMENTS, tmp_path / "j")
    by_document = {row["document_id"]: row for row in DOCUMENTS}
    problems = [row for row in tables["problems"] if row["status"] == "ok"]
    assert len(tables["problems"]) == 10 and len(problems) >= 9
    if way is STEPWISE:
        assert all(row["problem"].endswith(question_mark(by_document[row["document_id"]]["title"])) for row in problems)
    # by likelihood, the stand-in tells nothing of a fact in some of these scripts: all its answers have 0, a tie
    for table, least in (("rubrics", 9), ("pairs", 8 if way is STRUCTURED else 4)):
        assert sum(row["status"] == "ok" for row in tables[table]) >= least, table
    answered = [row for row in tables["answers"] if row["status"] == "ok"]
    assert all(row["words"] == word_count(row["final"]) for row in answered)
    for call in tables["generations"]:
        if call["role"] in ("propose", "rubric"):
            asked = json.loads(call["messages"]) if isinstance(call["messages"], str) else call["messages"]
            assert asked[0]["content"].startswith(("Write in Chinese, ", "Write in Arabic, "))


def test_english_documents_are_asked_about_as_they_always_were(engine: FakeEngine, tmp_path: Path) -> None:
    text = "The liver is the largest of the organs, and it stores the sugar that the blood does not need at once. " * 6
    document = DOCUMENTS[0] | {"text": text, "title": "Liver", "words": word_count(text)}
    plan = plan_of(config(STRUCTURED))
    tables = all_stages(engine.url, plan, [document], tmp_path / "j")
    asked = [str(call["messages"]) for call in tables["generations"] if call["role"] in ("propose", "rubric")]
    assert asked and not any("the language of the text" in messages for messages in asked)
