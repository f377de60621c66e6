"""Propose: the model reads a document, writes a self-contained problem and a reference answer (paper section 3.1)."""

import asyncio
from functools import partial
from typing import Any

from prefect import task

from schemas.ids import content_id
from schemas.outputs import ProposedProblem
from tasks.asking import Asked, Asker, Bad
from tasks.engine.protocol import Engine
from tasks.parse import Malformed, format_instructions
from tasks.plan import Plan
from tasks.prompts import data
from tasks.stage import TASK_OPTIONS, Round, run_shard
from tasks.text import first_words, overlap, points_at_source, repeats_itself, shares_a_word

Row = dict[str, Any]
LEAK_SHARE = 0.5  # of the reference's 5-grams found in the problem


async def propose(plan: Plan, documents: list[Row], engine: Engine) -> list[Row]:
    """One problem row for each document that is to be trained on."""
    chosen = [row for row in documents if row["status"] == "ok" and row["split"] == "train"]
    return list(await asyncio.gather(*(_one(plan, row, engine) for row in chosen)))


async def _one(plan: Plan, document: Row, engine: Engine) -> Row:
    problem_id = content_id("problem", plan.keys["propose"], document["document_id"], 0)
    asker = Asker(plan, "propose", engine)
    write = _structured if plan.config.task.dialect == "structured" else _stepwise
    asked, used_words = await write(asker, problem_id, document)
    reason = asked.reason
    if asked.status == "ok" and used_words < document["words"]:
        reason = f"the document was cut to its first {used_words} words to fit the context"
    return {
        "problem_id": problem_id, "document_id": document["document_id"], "task": plan.config.task.type,
        "problem": asked.value.problem if asked.value else None,
        "reference_answer": asked.value.reference_answer if asked.value else None,
        "status": asked.status, "reason": reason,
        "generation_id": asked.generation.generation_id if asked.generation else None,
    }  # fmt: skip


def check(proposed: ProposedProblem) -> ProposedProblem:
    """Refuse a problem that cannot stand on its own or that gives its answer away."""
    if phrase := points_at_source(proposed.problem):
        raise Bad("leaky", f"the problem points at its source: {phrase!r}")
    if (share := overlap(proposed.reference_answer, proposed.problem)) >= LEAK_SHARE:
        raise Bad("leaky", f"{share:.0%} of the reference answer's 5-grams stand in the problem")
    return proposed


async def _structured(asker: Asker, problem_id: str, document: Row) -> tuple[Asked[ProposedProblem], int]:
    output_format = asker.plan.config.models[asker.plan.model_of("propose")].output_format
    values = {"title": data(document["title"] or "untitled").replace('"', "'")}
    values |= {"topic": values["title"], "format": format_instructions(ProposedProblem, output_format)}

    def render(words: int) -> str:
        return asker.plan.prompts.render("propose", values | {"document": data(first_words(document["text"], words))})

    prompt, words = await asker.fitting(render, document["words"])
    return await asker.output(problem_id, "problem", prompt, ProposedProblem, check), words


async def _stepwise(asker: Asker, problem_id: str, document: Row) -> tuple[Asked[ProposedProblem], int]:
    """A call for the problem, then one for its reference answer."""
    values = {"title": data(document["title"] or "untitled"), "topic": topic(document)}

    def render(words: int) -> str:
        return asker.plan.prompts.render(
            "problem_step", values | {"document": data(first_words(document["text"], words))}
        )

    prompt, words = await asker.fitting(render, document["words"])
    read = partial(_question, title=document["title"])
    asked = await asker.text(problem_id, "problem", prompt, read, stop=("\n",), max_tokens=80)
    if asked.value is None:
        return Asked(None, asked.generation, asked.status, asked.reason), words
    problem = asker.plan.prompts.render("problem_frame", {"problem": data(asked.value)})
    values |= {"problem": problem}

    def render_reference(words: int) -> str:
        return asker.plan.prompts.render(
            "reference_step", values | {"document": data(first_words(document["text"], words))}
        )

    reference_prompt, words = await asker.fitting(render_reference, words)  # longer than the first by the problem
    return await asker.text(
        problem_id, "reference", reference_prompt, partial(_with_reference, problem), stop=("\n\n",)
    ), words  # fmt: skip


def topic(document: Row) -> str:
    """What the problem is to be about: the title, where the document has one."""
    return data(document["title"]) if document["title"] else "its main subject"


def _question(text: str, title: str | None) -> str:
    """The first line, without quotes and labels before it; it must name what it asks about."""
    line = text.strip().splitlines()[0]
    label, sep, rest = line.partition(":")
    line = rest if sep and label.strip(" *#").lower() in ("question", "problem", "task") else line
    line = line.strip(' \t"“”*#')
    if len(line.split()) < 4:
        raise Malformed(f"not a problem: {line[:60]!r}")
    if phrase := points_at_source(line):
        raise Bad("leaky", f"the problem points at its source: {phrase!r}")
    if title and line.endswith("?") and not shares_a_word(line, title):
        raise Malformed(f"the question does not name its subject, {title}")
    return line


def _with_reference(problem: str, text: str) -> ProposedProblem:
    text = text.strip()
    for label in ("Answer:", "**Answer:**"):
        text = text.removeprefix(label).strip()
    if len(text.split()) < 5:
        raise Malformed("the reference answer has fewer than five words")
    if repeats_itself(text):
        raise Malformed("the reference answer repeats itself")
    return check(ProposedProblem(problem=problem, reference_answer=text[:16000]))


@task(name="propose", task_run_name="propose {shard}", **TASK_OPTIONS)
async def propose_task(round_: Round, shard: str) -> Any:
    """documents → problems."""
    return await run_shard(round_, "propose", shard, ("documents",), propose)
