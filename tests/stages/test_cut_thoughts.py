"""A thought that is cut is never judged as an answer, whatever marks the model puts around its thoughts."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from tasks.answer import answer
from tasks.engine.protocol import Budget, Generation, Request
from tasks.texts.thoughts import opened_by_template
from tests.samples import config, plan_of, problem

WHOLE = "It is blue. Air scatters light."


@dataclass
class Says:
    """A model that says one thing after the other: text and finish reason."""

    texts: list[tuple[str, str]]
    model: str = "m"

    async def chat(self, request: Request) -> Generation:
        text, finish = self.texts.pop(0)
        return Generation("g", request.subject_id, "answer", "m", "u", [], "{}", text, finish, 1, 9, 0.1, 0)

    async def budget(self, *_: Any) -> Budget:
        return Budget(1, 9999)


def answered(*texts: tuple[str, str], cut: str = "sentence") -> list[tuple[str, str | None]]:
    """Status and what is judged of each of these answers."""
    settings = config(sampling={"answers": len(texts), "cut_answers": cut})
    engine: Any = Says(list(texts))
    rows = asyncio.run(answer(plan_of(settings), [problem()], engine))[1:]
    return [(row["status"], row["final"]) for row in rows]


@pytest.mark.parametrize(
    ("text", "finish", "found"),
    [
        ("<think>Hm. I should weigh it. First", "length", ("truncated", None)),
        ("<think>Hm. I should weigh it.", "stop", ("empty", None)),  # never closed, though it says that it ended
        ("<think>Hm.</think>", "length", ("truncated", None)),  # cut where the answer begins
        ("<think>Hm.</think>\n\nIt is blue. Air sca", "length", ("ok", "It is blue.")),
        ("Hm. I weigh it.</think>It is blue. Air sca", "length", ("ok", "It is blue.")),  # closed, not opened
        ("Hm.</think>It is blue.\n<think>Or is it? Let me", "length", ("truncated", None)),  # thinks again, and is cut
        ("It is blue. Air sca", "length", ("ok", "It is blue.")),
        ("[THINK]Hm. I weigh it. Fir", "length", ("truncated", None)),
        ("<|channel|>analysis<|message|>Hm. I weigh it. Fir", "length", ("truncated", None)),
    ],
)
def test_by_its_marks(text: str, finish: str, found: tuple[str, str | None]) -> None:
    assert answered((text, finish)) == [found]


def test_without_a_mark_where_other_answers_show_that_the_template_opens_the_thoughts() -> None:
    cut, other = ("Okay, the user asks. I should weigh it. Fir", "length"), (f"Hm.</think>{WHOLE}", "stop")
    assert answered(cut, other) == [("truncated", None), ("ok", WHOLE)]
    assert answered(cut, (f"<think>Hm.</think>{WHOLE}", "stop"))[0] == ("ok", "Okay, the user asks. I should weigh it.")
    assert answered(cut, (WHOLE, "stop"))[0][0] == "ok"
    assert answered((WHOLE, "stop"), other) == [("ok", WHOLE), ("ok", WHOLE)]  # a whole one needs no thoughts


@pytest.mark.parametrize(
    ("text", "opened"),
    [
        ("a</think>b", True),
        ("<think>a</think>b", False),
        ("a", False),
        ("a</think>b<think>c", True),
        ("<think>a", False),
    ],
)
def test_thoughts_that_a_template_opens_are_closed_only(text: str, opened: bool) -> None:
    assert opened_by_template(text) is opened
