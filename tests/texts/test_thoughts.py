"""Thoughts of every common mark are told from the answer, and what only quotes a mark is left."""

import pytest

from schemas.outputs import MarkSheet
from tasks.asking.parse import parse
from tasks.texts.thoughts import final_answer, split

HARMONY = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>{}<|message|>Yes."


@pytest.mark.parametrize(
    "text",
    [
        "Yes.",
        "<think>Hm.</think>Yes.",
        "Hm.\n</think>\n\nYes.",
        "<THINK>Hm.</THINK> Yes.",
        "<thinking>Hm</thinking>Yes.",
        "<thought>Hm</thought>\nYes.",
        "<reasoning>Hm</reasoning>Yes.",
        "<mm:think>Hm</mm:think>Yes.",
        "<seed:think>Hm</seed:think>Yes.",
        "[THINK]Hm[/THINK]Yes.",
        "◁think▷Hm◁/think▷Yes.",
        "<|START_THINKING|>Hm<|END_THINKING|><|START_RESPONSE|>Yes.<|END_RESPONSE|>",
        "<|begin_of_thought|>Hm<|end_of_thought|>\n<|begin_of_solution|>Yes.<|end_of_solution|>",
        "<|channel>thought\nHm<channel|>Yes.",
        "<unused94>thought Hm<unused95>Yes.",
        "<think>Hm</think><answer>Yes.</answer>",
        "Here is my thought process: Hm.\nHere is my response: Yes.",
        "<think>a</think> b </think>\nYes.",
        HARMONY.format("final"),
        HARMONY.format("final") + "<|return|>",
        HARMONY.format("final <|constrain|>json"),
        "Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.",
        "analysisWe think.assistantfinalYes.",
    ],
)
def test_what_follows_the_thoughts_is_the_answer(text: str) -> None:
    assert final_answer(text) == "Yes."
    assert "".join(split(text)).startswith(text[:4]) or split(text)[0] == ""


@pytest.mark.parametrize(
    "text",
    [
        "<think>Hm. Yes.",
        "[THINK]Hm",
        "<think>a</think>\n<think>b",
        "Well.\n<think>Hm",
        "<|channel|>analysis<|message|>Yes.",
        "<|START_THINKING|>Hm",
        "analysisWe need to say yes.",
        "Here is my thought process: Hm",
        "<think>Hm.</think>",
        HARMONY.format("commentary"),
    ],
)
def test_thoughts_that_do_not_end_have_no_answer_after_them(text: str) -> None:
    assert final_answer(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "An analysis of it.",
        "analysis is hard",
        "Write <b>bold</b>.",
        "The tag <think> opens it.",
        "<thoughts>a</thoughts>b",
        "<answer>Yes.</answer>",
        "[1] A source.",
        "a <|channel|> b",
    ],
)
def test_what_is_no_mark_of_thoughts_is_the_answer(text: str) -> None:
    assert split(text) == ("", text)


def test_a_sheet_that_quotes_a_mark_is_read_and_one_in_thoughts_is_not() -> None:
    sheet = '{"marks": [{"name": "Cause", "thoughts": "It has a </think> in it.", "rating": %d}]}'
    assert parse(MarkSheet, sheet % 1, "json_schema").marks[0].rating == 1
    assert (
        parse(MarkSheet, f"{sheet % 2}</think>{sheet.replace('</think>', '') % 0}", "json_schema").marks[0].rating == 0
    )
