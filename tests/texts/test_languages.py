"""One measure of length for every script, and questions about texts that need no Latin letters."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.asking.parse import Malformed
from tasks.corpus.passages import opening, passages
from tasks.propose import _question, _with_reference
from tasks.rubric import facts_rubric
from tasks.texts.length import first_words, word_count
from tasks.texts.measures import (
    full_sentences,
    overlap,
    points_at_source,
    repeats_itself,
    sentences,
    shares_a_word,
    words_of,
)
from tasks.texts.refusals import refuses
from tasks.texts.scripts import language_of, script_of
from tests.asking.samples import CHECKS

SAMPLES = [json.loads(line) for line in (Path(__file__).parent / "chinese_and_arabic.jsonl").read_text().splitlines()]
MIXED = st.text(alphabet="ab -.。，、肝かナก็ั \n的()「」كبد", max_size=60)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Words as white space parts them -- 2.5 mg", 9), ("肝臓の働き", 3), ("肝脏每天把食物变成养分。", 7),
        ("ตับทำหน้าที่อะไร", 4), ("我用 iPhone 15，很好。 -- ok", 7), ("간은 글리코겐을 저장한다", 3),
        ("يخزن الكبد السكر", 3), ("。", 1), ("", 0), ("यकृत शक्कर जमा करता है।", 5),
    ],
)  # fmt: skip
def test_lengths_by_hand(text: str, words: int) -> None:
    assert word_count(text) == words


@settings(max_examples=150, deadline=None)
@given(MIXED, st.integers(1, 20))
def test_cutting_keeps_the_limit_and_loses_no_character(text: str, most: int) -> None:
    assert word_count(first_words(text, most)) <= most and text.strip().startswith(first_words(text, most))
    assert first_words(text, word_count(text)) == text.strip() or not word_count(text)
    cut = passages(text.strip(), most)
    assert "".join("".join(cut).split()) == "".join(text.split())
    assert all(word_count(passage) <= most for passage in cut)


def test_long_texts_are_cut_at_the_ends_of_sentences() -> None:
    whole = "".join(row["text"] for row in SAMPLES[:5])
    cut = passages(whole, 100)
    assert "".join(cut) == whole and all(passage.endswith("。") for passage in cut)
    assert all(word_count(passage) > 50 for passage in cut)
    assert opening(SAMPLES[5]["text"], 30).endswith(".") and opening("心臓は動く。" * 9, 10).endswith("。")


@pytest.mark.parametrize("row", SAMPLES, ids=[row["title"] for row in SAMPLES])
def test_the_samples_are_documents_like_any_other(row: dict[str, str]) -> None:
    assert 50 <= word_count(row["text"]) <= 120 and len(sentences(row["text"])) >= 4
    assert language_of(row["text"]) in ("Chinese", "Arabic")
    assert shares_a_word(row["text"], row["title"]) and full_sentences(row["text"]) == row["text"]
    assert (
        facts_rubric(row["text"], "无关", 5).criteria and not refuses(row["text"]) and not points_at_source(row["text"])
    )


def test_other_sentences_end_too() -> None:
    assert sentences("心臓は動く。なぜか？「血」のため！") == ["心臓は動く。", "なぜか？", "「血」のため！"]
    assert len(sentences("ما هذا؟ هذا كبد. यह यकृत है। हाँ।")) == 4
    assert sentences("Is it 3.14? Yes.") == ["Is it 3.14?", "Yes."]
    assert repeats_itself("肝脏把多余的糖变成糖原。它在右边。肝脏把多余的糖变成糖原。") and not repeats_itself(
        "是的。是的。"
    )


@pytest.mark.parametrize(
    ("text", "title", "question"),
    [
        ("肝脏有什么作用？", "肝脏", "肝脏有什么作用？"),
        ("问题：潮汐为什么每天发生两次？", "潮汐", "潮汐为什么每天发生两次？"),
        ("ما وظيفة الكبد في الجسم؟", "الكبد", "ما وظيفة الكبد في الجسم؟"),
        ("لماذا يحتاج الجسم للكبد؟", "الكبد", "لماذا يحتاج الجسم للكبد؟"),
        ("「肝臓はどのように働きますか。」", "肝臓", "肝臓はどのように働きますか。"),
        ("간은 왜 당을 저장하는가?", "저장하는 간", "간은 왜 당을 저장하는가?"),
        ("ตับทำหน้าที่อะไรในร่างกาย", "ตับ", "ตับทำหน้าที่อะไรในร่างกาย"),
        ("Как печень хранит сахар?", "Печени", "Как печень хранит сахар?"),
        ("肝脏有什么作用？", "report_17", "肝脏有什么作用？"),
    ],
)  # fmt: skip
def test_a_question_in_any_script_is_one(text: str, title: str, question: str) -> None:
    assert _question(text, title, CHECKS, question=True) == question


@pytest.mark.parametrize(("text", "title"), [("肝脏在右边。", "肝脏"), ("潮汐为什么发生？", "肝脏"), ("肝？", "肝")])
def test_what_is_no_question_about_its_subject_is_none(text: str, title: str) -> None:
    with pytest.raises(Malformed):
        _question(text, title, CHECKS, question=True)


def test_facts_in_other_scripts_are_facts() -> None:
    chinese = (
        "1、肝脏把多余的糖变成糖原。\n2、肝脏制造胆汁。\n（3）肝脏把多余的糖变成糖原！\n以下是事实：\n肝脏在哪里？"
    )
    assert [c.gold for c in facts_rubric(chinese, "什么器官？", 5).criteria] == [
        "肝脏把多余的糖变成糖原。",
        "肝脏制造胆汁。",
    ]
    arabic = "- يخزن الكبد السكر.\n• يقع الكبد في الجزء الأيمن من البطن.\nأين يقع الكبد؟"
    assert len(facts_rubric(arabic, "ما هو؟", 5).criteria) == 2
    assert len(facts_rubric("간은 글리코겐을 저장한다.", "무엇?", 5).criteria) == 1
    with pytest.raises(Malformed):
        facts_rubric("Three words only.", "Why?", 5)


def test_pointing_refusing_and_leaking_are_seen_without_words() -> None:
    assert points_at_source("根据文章，肝脏有什么作用？") and points_at_source("ما الفكرة الرئيسية في النص؟")
    assert points_at_source("この文章で筆者は何を述べていますか。") and not points_at_source("论文怎样写？")
    assert (
        refuses("很抱歉，我无法回答这个问题。")
        and refuses("عذرًا، لا أستطيع المساعدة.")
        and not refuses("肝脏不能再生吗？能。")
    )
    assert overlap("肝脏把糖变成糖原存起来", "为什么肝脏把糖变成糖原存起来？", 5) == 1.0
    assert (
        _with_reference("肝脏有什么作用？", "答案：它储存糖，分解药物，制造胆汁。", CHECKS).reference_answer[0] == "它"
    )
    assert words_of("क्या यकृत") == ["क्या", "यकृत"]  # vowel signs are part of their words


@pytest.mark.parametrize(
    ("text", "script", "language"),
    [
        ("The liver stores sugar and it is the largest of the organs that a body has, with many tasks to do for us.",
         "Latin", "English"),
        ("Le foie transforme chaque jour les nutriments de la nourriture en ce que le corps peut utiliser pour vivre "
         "et travailler, et le médecin regarde la fièvre du malade chaque matin.", "Latin", "French"),
        ("肝脏储存糖。", "Han", "Chinese"),
        ("肝臓は糖を蓄える。", "Han and Kana", "Japanese"), ("간은 당을 저장한다", "Hangul", "Korean"),
        ("ตับ", "Thai", "Thai"), ("यकृत शक्कर जमा करता है।", "Devanagari", "Devanagari script"), ("12 + 7", None, None),
    ],
)  # fmt: skip
def test_scripts_and_languages(text: str, script: str | None, language: str | None) -> None:
    assert (script_of(text), language_of(text)) == (script, language)
