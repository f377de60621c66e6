"""Rubric: the same model, with document and reference in view, writes weighted criteria (paper section 3.3).

Seeing the document makes verifying easier than generating: that gap is the signal.
"""

import re
from functools import partial
from typing import Any

from prefect import task

from schemas.ids import content_id
from schemas.outputs import Criterion, Rubric
from schemas.tables import REFERENCE
from tasks.asking.asker import Asked, Asker
from tasks.asking.parse import Malformed, format_instructions
from tasks.engine.protocol import Engine
from tasks.engine.turns import together
from tasks.prompts import data
from tasks.propose import topic
from tasks.staging.plan import Plan, shown_answers
from tasks.staging.stage import TASK_OPTIONS, Round, run_stage
from tasks.texts.length import WORD, first_words, length
from tasks.texts.measures import overlap, points_at_source, sentences
from tasks.texts.scripts import ends_as_question, is_latin, language_of

Row = dict[str, Any]
# neither "2.5 mg" nor "-5 °C" loses a part
_BULLET = re.compile(r"^\s*(?:-(?!\d)|[*•・●]|[(（]?\d{1,2}[.)）](?!\d)|\d{1,2}[、．]|[①-⑳])\s*")


async def rubric(
    plan: Plan, documents: list[Row], problems: list[Row], answers: list[Row], engine: Engine
) -> list[Row]:  # fmt: skip
    """One rubric row for each problem that is ok."""
    by_id = {row["document_id"]: row for row in documents if row["status"] == "ok"}
    candidates: dict[str, list[Row]] = {}
    for row in answers:
        if row["status"] == "ok" and row["rollout"] != REFERENCE:
            candidates.setdefault(row["problem_id"], []).append(row)
    usable = [row for row in problems if row["status"] == "ok"]
    return await together(
        _one(plan, by_id[p["document_id"]], p, candidates.get(p["problem_id"], []), engine) for p in usable
    )


async def _one(plan: Plan, document: Row, problem: Row, answers: list[Row], engine: Engine) -> Row:
    shown = by_length_rank(answers, shown_answers(plan.config))
    asker = Asker(plan, "rubric", engine)
    rubric_id = content_id("rubric", plan.keys["rubric"], problem["problem_id"], [row["answer_id"] for row in shown])
    write = _fixed if plan.config.rubric.criteria else _WRITE[plan.config.task.dialect]
    asked, shown, note = await write(asker, rubric_id, document, problem, shown)
    return {
        "rubric_id": rubric_id, "problem_id": problem["problem_id"], "document_id": problem["document_id"],
        "criteria": [criterion.model_dump() for criterion in asked.value.criteria] if asked.value else None,
        "shown_answer_ids": [row["answer_id"] for row in shown], "status": asked.status,
        "reason": asked.reason or note, "generation_id": asked.generation.generation_id if asked.generation else None,
    }  # fmt: skip


def by_length_rank(answers: list[Row], count: int) -> list[Row]:
    """`count` answers at even steps of the length ranking, so that short, middling and long ones are in view."""
    ranked = sorted(answers, key=lambda row: (row["words"], row["answer_id"]))
    if count >= len(ranked):
        return ranked
    if count <= 1:
        return ranked[len(ranked) // 2 :][:count]
    return [ranked[round(i * (len(ranked) - 1) / (count - 1))] for i in range(count)]


Written = tuple[Asked[Rubric], list[Row], str | None]


async def _structured(asker: Asker, rubric_id: str, document: Row, problem: Row, shown: list[Row]) -> Written:
    config = asker.plan.config
    output_format = config.model_of("rubric").output_format
    values = {
        "problem": data(problem["problem"]), "max_criteria": str(config.rubric.max_criteria),
        "format": format_instructions(Rubric, output_format),
    }  # fmt: skip

    language = language_of(document["text"])

    def render(answers: list[Row], words: int) -> str:
        material = _material(document, problem, words) if config.rubric.show_document else ""
        some = _shown(answers, config.rubric.shown_answer_max_words)
        return asker.plan.prompts.render("rubric", values | {"material": material, "answers": some}, language)

    note = None
    asked_for = len(shown)
    while len(shown) > 1 and not (await _fits(asker, render(shown, document["words"]))):
        shown = by_length_rank(shown, len(shown) - 2 if len(shown) > 3 else 1)
    if len(shown) < asked_for:
        note = f"{len(shown)} instead of {asked_for} answers in view, to fit the context"
    prompt, words = await asker.fitting(lambda n: render(shown, n), document["words"])
    if words < document["words"]:
        note = f"{note + '; ' if note else ''}{_cut_to(words)}"
    most = config.rubric.max_criteria
    asked = await asker.output(rubric_id, "rubric", prompt, Rubric, partial(usable, max_criteria=most), most)
    return asked, shown, note


def usable(rubric: Rubric, max_criteria: int) -> Rubric:
    """Refuse what a server without structured output lets through.

    Raises:
        Malformed: too many criteria, or two that the judge could not tell apart.
    """
    if len(rubric.criteria) > max_criteria:
        raise Malformed(f"{len(rubric.criteria)} criteria; at most {max_criteria} were asked for")
    if len({data(criterion.name) for criterion in rubric.criteria}) < len(rubric.criteria):
        raise Malformed("two criteria have the same name")
    return rubric


def _cut_to(words: int) -> str:
    return f"the document was cut to its first {words} words"


async def _fits(asker: Asker, prompt: str) -> bool:
    budget = await asker.engine.budget(
        [{"role": "user", "content": prompt}], asker.plan.config.sampling.rubric.max_tokens
    )  # fmt: skip
    return budget.fits


def _material(document: Row, problem: Row, words: int) -> str:
    return (
        f"\n<document>\n{data(first_words(document['text'], words))}\n</document>\n"
        f"\n<reference_answer>\n{data(problem['reference_answer'])}\n</reference_answer>\n"
    )


def _shown(answers: list[Row], max_words: int) -> str:
    if not answers:
        return ""
    blocks = [f"<answer>\n{data(first_words(row['final'], max_words))}\n</answer>" for row in answers]
    return "\nSome of the answers:\n" + "\n".join(blocks) + "\n"


async def _stepwise(asker: Asker, rubric_id: str, document: Row, problem: Row, _: list[Row]) -> Written:
    """One call for the gold facts; every fact is a criterion of weight 1.

    Neither answers nor the reference are in view: a small model would copy the reference, and a reference that is
    measured by itself says nothing.
    """
    config = asker.plan.config
    most = config.rubric.max_criteria
    values = {"problem": data(problem["problem"]), "topic": topic(document), "max_criteria": str(most)}

    def render(words: int) -> str:
        material = f'Text:\n"""\n{data(first_words(document["text"], words))}\n"""\n\n'
        seen = values | {"material": material if config.rubric.show_document else ""}
        return asker.plan.prompts.render("facts_step", seen, language_of(document["text"]))

    prompt, words = await asker.fitting(render, document["words"])
    asked = await asker.text(rubric_id, "facts", prompt, lambda text: facts_rubric(text, problem["problem"], most))
    return asked, [], _cut_to(words) if words < document["words"] else None


async def _fixed(asker: Asker, *_: Any) -> Written:
    """The user's own criteria; no model is asked."""
    return Asked(Rubric(criteria=list(asker.plan.config.rubric.criteria)), None), [], None


_WRITE = {"structured": _structured, "stepwise": _stepwise}


def facts_rubric(text: str, problem: str, max_criteria: int) -> Rubric:
    """Criteria from sentences that state facts, numbered lines or not. A fact that only says the problem again would
    count for every answer: left out, as are repetitions."""
    lines = [_BULLET.sub("", line).strip(' *"“”') for line in text.splitlines()]
    stated = [fact for line in lines for fact in (sentences(line) or [line])]
    facts: list[str] = []
    for fact in stated:
        if len(facts) == max_criteria:
            break
        if not _stated(fact) or fact.endswith((":", "：")) or ends_as_question(fact) or points_at_source(fact):
            continue
        if overlap(fact, problem, 3) >= 0.6 or any(overlap(fact, other, 3) >= 0.6 for other in facts):
            continue
        facts.append(fact)
    if not facts:
        raise Malformed("no line that states a fact")
    return Rubric(criteria=[_criterion(n, fact) for n, fact in enumerate(facts, 1)])


def _stated(fact: str) -> bool:
    """Whether a line is as long as a statement. Four words in Latin letters; where others write articles and
    prepositions as part of a word, as Arabic, Hebrew, Korean and Russian do, three."""
    return WORD * (4 if is_latin(fact) else 3) <= length(fact) <= 60 * WORD


def _criterion(number: int, fact: str) -> Criterion:
    label = " ".join(first_words(fact, 5).split())[:60]
    description = f"The answer says: {fact}"[:900]
    return Criterion(name=f"{number} {label}", gold=fact[:600], description=description, weight=1.0)


@task(name="rubric", task_run_name="rubric {shard}", **TASK_OPTIONS)
async def rubric_task(round_: Round, shard: str) -> Any:
    """documents, problems, answers → rubrics."""
    return await run_stage(round_, "rubric", shard, ("documents", "problems", "answers"), rubric)
