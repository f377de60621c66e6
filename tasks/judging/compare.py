"""One comparison of two answers in one order, as a row of `comparisons`: what `pairwise` and `anchor` are made of."""

from collections.abc import Iterable
from typing import Literal

from schemas.ids import content_id
from schemas.outputs import Duel, Output, TwoMarks
from tasks.asking.asker import Asked, Asker
from tasks.asking.parse import format_instructions
from tasks.engine.turns import together
from tasks.judging.case import Case, Row, rubric_text
from tasks.prompts import data

Kind = Literal["pairwise", "anchor", "exam"]  # exam: which answer is better, without a rubric
Marks = tuple[float, float, str | None]  # of the first and of the second answer, and thoughts
WORDS: dict[str, tuple[float, float]] = {"first": (2.0, 0.0), "second": (0.0, 2.0), "tie": (1.0, 1.0)}
TENTHS = tuple(str(mark) for mark in range(11))


async def both_orders(asker: Asker, case: Case, kind: Kind, couples: Iterable[tuple[Row, Row]]) -> list[Row]:
    """Two rows a couple, (a, b) and (b, a), one after the other; an answer with itself is asked about once."""
    orders = [order for a, b in couples for order in ((a, b), (b, a))]
    return await together(_ordered(asker, case, kind, first, second) for first, second in orders)


async def _ordered(asker: Asker, case: Case, kind: Kind, first: Row, second: Row) -> Row:
    rubric_id = case.rubric["rubric_id"]
    ids = (first["answer_id"], second["answer_id"])
    subject = content_id("comparison", asker.plan.keys["rate"], rubric_id, *ids)
    ask = _structured if asker.plan.config.dialect_of("judge") == "structured" else _stepwise
    asked = await ask(asker, subject, case, kind, first["final"], second["final"])
    marks = asked.value or (None, None, None)
    return {
        "comparison_id": subject, "problem_id": case.rubric["problem_id"], "rubric_id": rubric_id,
        "first_answer_id": ids[0], "second_answer_id": ids[1], "first_mark": marks[0], "second_mark": marks[1],
        "thoughts": marks[2], "status": asked.status, "reason": asked.reason,
        "generation_id": asked.generation.generation_id if asked.generation else None,
    }  # fmt: skip


def _values(case: Case, first: str, second: str) -> dict[str, str]:
    return {
        "problem": data(case.problem), "rubric": rubric_text(case.rubric["criteria"]), "first": data(first),
        "second": data(second),
    }  # fmt: skip


async def _structured(asker: Asker, subject: str, case: Case, kind: Kind, first: str, second: str) -> Asked[Marks]:
    model: type[Output] = TwoMarks if kind == "anchor" else Duel
    form = format_instructions(model, asker.plan.config.model_of("judge").output_format)
    prompt = asker.plan.prompts.render(f"judge_{kind}", _values(case, first, second) | {"format": form})
    return await asker.output(subject, "comparison", prompt, model, _marks_of)


def _marks_of(output: Output) -> Marks:
    if isinstance(output, Duel):
        return (*WORDS[output.better], output.thoughts)
    assert isinstance(output, TwoMarks)
    return float(output.first_mark), float(output.second_mark), output.thoughts


async def _stepwise(asker: Asker, subject: str, case: Case, kind: Kind, first: str, second: str) -> Asked[Marks]:
    """One word, or a number for each of the two."""
    values = _values(case, first, second)
    if kind != "anchor":
        prompt = asker.plan.prompts.render(f"judge_{kind}_step", values)
        word = await asker.choose(subject, "better", prompt, tuple(WORDS))
        marks = (*WORDS[word.value], None) if word.value else None
        return Asked(marks, word.generation, word.status, word.reason)
    found: list[float] = []
    for which in ("first", "second"):
        prompt = asker.plan.prompts.render("judge_anchor_step", values | {"which": which})
        mark = await asker.choose(subject, which, prompt, TENTHS)
        if mark.value is None:
            return Asked(None, mark.generation, mark.status, mark.reason)
        found.append(float(mark.value))
    return Asked((found[0], found[1], None), mark.generation)
