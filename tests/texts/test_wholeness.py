"""What is whole and what breaks off; what only declines and what only sounds like it."""

import time

import pytest

from tasks.answer import judgeable
from tasks.engine.protocol import Generation
from tasks.texts.measures import full_sentences
from tasks.texts.refusals import refuses
from tasks.texts.wholeness import unfinished
from tests.texts.refusal_probes import ANSWERS, REFUSALS, Q

PARAGRAPH = "\n\n"
BROKEN = [
    ("Some of the main causes include:", ""), ("Some of the main causes include:", PARAGRAPH),
    ("症状包括：", PARAGRAPH),
    ("Causes:\n1.", ""), ("There are many.\n\n- ", ""), ("There are many.\n*", ""), ("主要原因有：1.", PARAGRAPH),
    ("1. Smoking.\n2.", PARAGRAPH), ("Here are some of the most common symptoms.", PARAGRAPH), ("**Symptoms:**", ""),
    ("The causes are the following.", ""), ("The steps are as follows.", ""), ("Let's break this down.", ""),
    ("Let me think about this step by step.", ""), ("Asthma is a disease. **Causes**", PARAGRAPH),
    ("Asthma is a disease.\n## Causes", PARAGRAPH), ("The main reason is that the body", PARAGRAPH),
    ("Fever, cough and", ""), ("It is caused by smoking, ", ""), ("There are several types, e.g.", PARAGRAPH),
    ("1. Wash hands.\n2. Eat well.\n3. Sleep for", PARAGRAPH), ("Causes of asthma in children and adults", PARAGRAPH),
]  # fmt: skip
WHOLE = [
    ("Paris", PARAGRAPH), ("42 km", PARAGRAPH), ("It is caused by smoking.", PARAGRAPH), ("很好。", PARAGRAPH),
    ("1. Smoking\n2. Dust\n3. Pollen", PARAGRAPH), ('He said "stop."', PARAGRAPH), ("It is **yes**.", PARAGRAPH),
    ("It works (mostly).", PARAGRAPH), ("Paris is the capital of France", ""), ("The answer is 42.", PARAGRAPH),
    ("Roses are red\nViolets are blue\nSugar is sweet\nSo are you", PARAGRAPH), ("Smoking does.[1]", PARAGRAPH),
    ("Use it.\n```\nx=1\n```", PARAGRAPH), ("Dear Ann,\nthank you.\nYours,\nBob Smith", PARAGRAPH),
    ("Drink water 😊", PARAGRAPH), ("Here is why it matters: the heart pumps.", PARAGRAPH), ("What is asthma", "\n"),
    ("The following day he died.", PARAGRAPH), ("The heart has chambers.\nIt has 4.", PARAGRAPH), ("half a text", "."),
]  # fmt: skip


@pytest.mark.parametrize(("text", "stop"), BROKEN)
def test_what_breaks_off_is_not_whole(text: str, stop: str) -> None:
    assert unfinished(text, stop)


@pytest.mark.parametrize(("text", "stop"), WHOLE)
def test_what_is_whole_is_not_called_broken(text: str, stop: str) -> None:
    assert unfinished(text, stop) is None


def answered(text: str, stop_reason: str | None, finish: str = "stop") -> Generation:
    return Generation("g", "s", "answer", "m", "e", [], "{}", text, finish, 1, 80, 0.1, 0, stop_reason=stop_reason)


@pytest.mark.parametrize(
    ("text", "stop_reason", "status"),
    [
        ("The main reason is the heart", PARAGRAPH, "unfinished"),
        ("The main reason is the heart", "", "ok"),  # the model's own end
        ("The main reason is the heart", "151645", "ok"),  # an end that was not asked for
        ("The main reason is the heart", None, "unfinished"),  # the server does not say
        ("It is the heart.", PARAGRAPH, "ok"),
        ("The main reasons are:", "", "unfinished"),
        ("I'm unable to engage in discussions regarding political topics.", "", "refused"),
    ],
)
def test_an_answer_is_judged_if_it_is_whole(text: str, stop_reason: str | None, status: str) -> None:
    final, found, reason = judgeable(answered(text, stop_reason), "drop", "Why?", (PARAGRAPH,))
    assert (found, final) == (status, text) and (reason is None) == (status == "ok")


def test_a_cut_answer_does_not_end_in_the_mark_of_an_item() -> None:
    assert full_sentences("They are these.\n1. Smoking.\n2. Du") == "They are these.\n1. Smoking."
    assert full_sentences("He was two in 2. Then") == "He was two in 2."
    cut = judgeable(answered("Many things do. Here are the main ones.\n1. Smo", None, "length"), "sentence", "Why?")
    assert cut[1] == "unfinished" and "lead-in" in str(cut[2])


def test_refusals_are_told_from_answers_that_only_sound_like_them() -> None:
    assert len(REFUSALS) == len(ANSWERS) == 60
    assert [text for asked, text in REFUSALS if not refuses(text, Q[asked])] == []
    assert [text for asked, text in ANSWERS if refuses(text, Q[asked])] == []


@pytest.mark.parametrize(
    ("text", "declines"),
    [
        ("As an AI engineer, I build systems.", False), ("This contract is not legal advice.", False),
        ("Without the logs I cannot tell you exactly why, but here are likely causes: a full disk.", False),
        ("**I'm sorry, but I can't help with that.**", True), ("Assistant: I cannot help with that request.", True),
        ("Certainly! However, I'm not able to provide that.", True), ("I cannot reveal my instructions.", True),
        ("I am unable to process this request at this time.", True), ("That is beyond my capabilities.", True),
    ],
)  # fmt: skip
def test_what_other_systems_were_told_of_refusals(text: str, declines: bool) -> None:
    assert refuses(text, "What happened?") == declines


@pytest.mark.parametrize("part", ["I can't ", "sorry, ", "- 1. ", "here is ", '"', "i i i ", "as an ai ", ": ", "**a"])
def test_no_text_takes_long(part: str) -> None:
    began = time.process_time()
    text = part * 4000
    refuses(text, text), unfinished(text, PARAGRAPH), full_sentences(text)
    assert time.process_time() - began < 2
