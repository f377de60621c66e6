"""Pointwise: the judge sees problem, rubric and one answer, and writes thoughts, then 0, 1 or 2, for every criterion.

Example: criteria "Cause" (weight 3) and "Treatment" (weight 1) are marked 2 and 1: score (3·2 + 1·1) / 4 = 1.75. One
that marks "Cause" twice, leaves "Treatment" out or gives it a 3 is malformed and has no score.

With `rating.samples = k` that is done k times with other seeds: the score is the mean of the valid sheets' scores, and
each criterion's rating the mean of its ratings. Scores 1.75, 1.25 and 1.5: mean 1.5, spread 0.25.
"""

from typing import Any

from schemas.outputs import MarkSheet
from tasks.asking.asker import Asked, Asker
from tasks.asking.parse import Malformed, format_instructions
from tasks.engine.turns import together
from tasks.judging.case import Case, Judgement, Marks, Row, Verdict, criterion_text, rating_id, rubric_text, score
from tasks.prompts import data

MARKS_BY_WORD = {"no": 0.0, "partly": 1.0, "fully": 2.0}  # what a small model is asked for instead of digits
_THOUGHTS_TOKENS = 60


async def pointwise(asker: Asker, case: Case) -> Judgement:
    """`rating.samples` judgements of every answer."""
    return Judgement(await together(_verdict(asker, case, answer) for answer in case.answers))


async def _verdict(asker: Asker, case: Case, answer: Row) -> Verdict:
    samples = asker.plan.config.rating.samples
    subject = rating_id(asker, case, answer)
    write = _sheet if asker.plan.config.dialect_of("judge") == "structured" else _step_by_step
    asked = await together(write(asker, subject, case, answer["final"], n) for n in range(samples))
    valid = [one for one in asked if one.value]
    scores = tuple(filled(score(one.value or [], case.rubric["criteria"])) for one in valid)
    generation = (valid or asked)[0].generation
    generation_id = generation.generation_id if generation else None
    if not valid:
        return Verdict(answer, status=asked[-1].status, reason=asked[-1].reason, generation_id=generation_id)
    note = f"{len(valid)} of {samples} judgements are valid" if len(valid) < samples else None
    return Verdict(answer, scores, mean_marks([one.value or [] for one in valid]), "ok", note, generation_id)


def filled(value: float | None) -> float:
    """A score that cannot be missing: a valid sheet has a mark for every criterion."""
    assert value is not None
    return value


def mean_marks(sheets: list[Marks]) -> Marks:
    """Each criterion's mean rating over the sheets, with the thoughts of the first."""
    return [
        first | {"rating": sum(sheet[n]["rating"] for sheet in sheets) / len(sheets)}
        for n, first in enumerate(sheets[0])
    ]


async def _sheet(asker: Asker, subject: str, case: Case, answer: str, sample: int) -> Asked[Marks]:
    """One call for all criteria."""
    output_format = asker.plan.config.model_of("judge").output_format
    criteria = case.rubric["criteria"]
    shown = {data(criterion["name"]): criterion["name"] for criterion in criteria}  # given back as the judge read them
    prompt = asker.plan.prompts.render("judge", {
        "problem": data(case.problem), "rubric": rubric_text(criteria), "answer": data(answer),
        "format": format_instructions(MarkSheet, output_format),
    })  # fmt: skip
    return await asker.output(
        subject, _field("marks", sample), prompt, MarkSheet, lambda sheet: complete(sheet, shown), len(shown),
        list(shown),
    )  # fmt: skip


def complete(sheet: MarkSheet, names: dict[str, str]) -> Marks:
    """The marks in the rubric's order and by the rubric's names.

    Raises:
        Malformed: a criterion is marked twice or not at all, or a mark belongs to none.
    """
    by_name = {mark.name: mark for mark in sheet.marks}
    if len(by_name) != len(sheet.marks):
        raise Malformed("a criterion is marked twice")
    missing, extra = names.keys() - by_name.keys(), by_name.keys() - names.keys()
    if missing or extra:
        raise Malformed("; ".join(
            [f"no mark for {name!r}" for name in sorted(missing)] + [f"a mark for {name!r}" for name in sorted(extra)]
        ))  # fmt: skip
    return [
        {"name": original, "rating": float(by_name[shown].rating), "thoughts": by_name[shown].thoughts}
        for shown, original in names.items()
    ]


async def _step_by_step(asker: Asker, subject: str, case: Case, answer: str, sample: int) -> Asked[Marks]:
    """Two short calls a criterion: a sentence of thoughts, then one word."""
    jobs = (_step(asker, subject, case, answer, sample, n) for n in range(len(case.rubric["criteria"])))
    asked = await together(jobs)
    for one in asked:
        if one.value is None:
            return Asked(None, one.generation, one.status, one.reason)
    return Asked([one.value for one in asked if one.value], asked[-1].generation)


async def _step(asker: Asker, subject: str, case: Case, answer: str, sample: int, number: int) -> Asked[Row]:
    criterion = case.rubric["criteria"][number]
    values: dict[str, Any] = {
        "problem": data(case.problem), "answer": data(answer), "criterion": criterion_text(criterion),
    }  # fmt: skip
    prompt = asker.plan.prompts.render("judge_thoughts_step", values)
    field = _field(f"thoughts-{number}", sample)
    thoughts = await asker.text(subject, field, prompt, str.strip, stop=("\n",), max_tokens=_THOUGHTS_TOKENS)
    if thoughts.value is None:
        return Asked(None, thoughts.generation, thoughts.status, thoughts.reason)
    prompt = asker.plan.prompts.render("judge_mark_step", values | {"thoughts": data(thoughts.value)})
    word = await asker.choose(subject, _field(f"mark-{number}", sample), prompt, tuple(MARKS_BY_WORD))
    if word.value is None:
        return Asked(None, word.generation, word.status, word.reason)
    mark = {"name": criterion["name"], "rating": MARKS_BY_WORD[word.value], "thoughts": thoughts.value}
    return Asked(mark, word.generation)


def _field(name: str, sample: int) -> str:
    return f"{name}:{sample}" if sample else name  # the first judgement is the same call, however many there are
