"""What a server lets through is neither judged nor trained on; marks that only end a text are taken off."""

import time

import pytest

from tasks.answer import judgeable
from tasks.engine.protocol import Generation
from tasks.texts.leaks import leak, without_end

Q, A = "What causes scurvy?", "A lack of vitamin C causes it."
ENDS = ("<|im_end|>", "<|eot_id|>", "</s>", "<|endoftext|>\n", "<end_of_turn>", "<pad><pad>", "<｜end▁of▁sentence｜>")
LEAKS = [
    (f"{A}<|im_end|>\n<|im_start|>user\nAnd rickets?", "chat template"),
    (f"<|im_start|>assistant\n{A}", "chat template"),
    (f"assistant\n\n{A}", "chat template"), (f"[/INST] {A}", "chat template"), (f"<s> {A}", "chat template"),
    (f"{A}\n\nUser: And rickets?\nAssistant: Vitamin D.", "turn of the user"),
    (f"{A}\n### Human: And rickets?\n### Assistant: Vitamin D.", "turn of the user"),
    (A.replace(" ", "Ġ"), "marks of a tokenizer"), (A.replace(" ", "▁"), "marks of a tokenizer"),
    ("<unk><unk>", "<unk>"),
    ("It is \ufffd\ufffd\ufffd.", "could not be decoded"), ("!" * 200, "no word"), ("\u200b\u200b", "no word"),
    ('<tool_call>\n{"name": "search"}\n</tool_call>', "call of a tool"),
    ("<html><h1>502 Bad Gateway</h1></html>", "error of a server"), ("Error: upstream timed out.", "error of a server"),
    (Q, "only says the question again"),
]  # fmt: skip
NONE = [
    (Q, A), (Q, "No! Error bars show it."), ("Write a dialogue.", "User: Hi.\nAssistant: Hello."), (Q, "🎉"), (Q, "42"),
    ("What does <|im_end|> do?", "<|im_end|> ends a turn, and a server stops there."), (Q, "Ħaġa oħra hi l-Ġħajn."),
    (Q, "He wrote <s>no</s> yes."), ("What is a rate limit?", "Error 429 means a rate limit."), (Q, "C\ufffd"),
]  # fmt: skip


def said(text: str, asked: str) -> tuple[str | None, str, str | None]:
    return judgeable(Generation("g", "s", "answer", "m", "e", [], "{}", text, "stop", 1, 1, 0.1, 0), "drop", asked)


@pytest.mark.parametrize("end", ENDS)
def test_a_mark_that_ends_an_answer_is_taken_off(end: str) -> None:
    assert said(A + end, Q) == (A, "ok", None)


@pytest.mark.parametrize(("text", "why"), LEAKS)
def test_what_is_no_answer_is_malformed_and_says_why(text: str, why: str) -> None:
    _, status, reason = said(text, Q)
    assert status == "malformed" and why in (reason or "")


@pytest.mark.parametrize(("asked", "text"), NONE)
def test_what_only_looks_like_it_is_an_answer(asked: str, text: str) -> None:
    assert without_end(text) == text and leak(text, asked) is None


@pytest.mark.parametrize("text", [" " * 300_000, "</s> " * 60_000, "\nUser:" * 50_000, "Ġa" * 100_000, "<" * 300_000])
def test_no_text_takes_long(text: str) -> None:
    before = time.thread_time()
    leak(without_end(text), Q)
    assert time.thread_time() - before < 2.0
