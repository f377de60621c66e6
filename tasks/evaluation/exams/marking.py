"""How answers to an exam are marked: criterion by criterion, by comparison in both orders, or by matching.

Every verdict is a row with the judge's thoughts; one that could not be had is null and says why, never "not met".
"""

from collections.abc import Sequence

from schemas.ids import content_id
from schemas.outputs import Met
from schemas.version import package_version
from tasks.asking.asker import Asked, Asker
from tasks.asking.parse import format_instructions
from tasks.engine.protocol import Engine
from tasks.engine.turns import together
from tasks.evaluation.bench import Bench, Subject, Tables
from tasks.evaluation.exams.formats import Item, Paper, Prompt
from tasks.evaluation.exams.scoring import contains, exact, matches, points_score
from tasks.judging.case import Case
from tasks.judging.compare import both_orders
from tasks.prompts import EXAMS, data
from tasks.storage.store import Row

Couple = tuple[Prompt, Row, Row]  # a prompt, and two answers that say something
_THOUGHTS_TOKENS = 60
NOTHING = "says nothing"


def _asked_with(bench: Bench, what: str) -> list[object]:
    """What a verdict depends on beside the texts: the judge, how it is asked, and the prompt files."""
    plan = bench.examiner
    return [plan.keys["rate"], plan.prompts.hash(*EXAMS[what][plan.config.dialect_of("judge")])]


async def marked(bench: Bench, paper: Paper, subject: Subject, answers: Sequence[Row]) -> list[Row]:
    """A row of `ratings` an answer, with a yes (1) or no (0) for each criterion of its prompt's rubric."""
    plan, key = bench.examiner, _asked_with(bench, "met")
    prompts = {prompt.problem_id: prompt for prompt in paper.prompts}

    async def work(engine: Engine) -> Tables:
        asker = Asker(plan, "rate", engine)
        return {"ratings": await together(_marks(asker, key, prompts[a["problem_id"]], a) for a in answers)}

    settings = [paper.identity, key, [[a["answer_id"], a["final"]] for a in answers]]
    name = f"{paper.settings.name}-{subject.file}"
    return (await bench.kept("exam_rate", name, settings, plan.model_of("rate"), work, again=True))["ratings"]


async def _marks(asker: Asker, key: list[object], prompt: Prompt, answer: Row) -> Row:
    subject = content_id("exam_rating", *key, answer["answer_id"])
    row = _rating(subject, answer, "exam")
    if not answer["final"]:
        return row if answer["final"] is None else row | _zeros(prompt, answer)
    asked = await together(_verdict(asker, subject, prompt, answer["final"], item) for item in prompt.criteria)
    met = [one.value[0] if one.value else None for one in asked]
    lacking = [one for one in asked if one.value is None]
    marks = [
        {"name": item.name, "rating": None if one.value is None else float(one.value[0]),
         "thoughts": one.value[1] if one.value else None}
        for item, one in zip(prompt.criteria, asked, strict=True)
    ]  # fmt: skip
    reason = f"{len(lacking)} of {len(asked)} criteria have no verdict: {lacking[0].reason}" if lacking else None
    first = asked[0].generation
    return row | {
        "ratings": marks, "score": points_score([item.points for item in prompt.criteria], met),
        "status": lacking[0].status if lacking else "ok", "reason": reason,
        "generation_id": first.generation_id if first else None,
    }  # fmt: skip


def _rating(subject: str, answer: Row, mode: str) -> Row:
    """A rating that is not there: of an answer that is not there."""
    return {
        "rating_id": subject, "answer_id": answer["answer_id"], "rubric_id": None, "problem_id": answer["problem_id"],
        "mode": mode, "ratings": None, "score": None, "sample_scores": None, "spread": None,
        "status": answer["status"], "reason": answer["reason"], "generation_id": None,
    }  # fmt: skip


def _zeros(prompt: Prompt, answer: Row) -> Row:
    """An answer that says nothing meets no criterion, be it one for a fault or not; nobody is asked."""
    marks = [{"name": item.name, "rating": 0.0, "thoughts": None} for item in prompt.criteria]
    return {"ratings": marks, "score": 0.0, "status": "ok", "reason": f"{NOTHING}: {answer['reason']}"}


async def _verdict(asker: Asker, subject: str, prompt: Prompt, answer: str, item: Item) -> Asked[tuple[bool, str]]:
    """Whether one criterion is met, and the judge's thoughts; a call a criterion, as published."""
    values = {"problem": data(prompt.text), "answer": data(answer), "criterion": data(item.description)}
    if asker.plan.config.dialect_of("judge") == "structured":
        form = format_instructions(Met, asker.plan.config.model_of("judge").output_format)
        text = asker.plan.prompts.render("judge_met", values | {"format": form})
        return await asker.output(subject, item.name, text, Met, lambda said: (said.met == "yes", said.thoughts))
    text = asker.plan.prompts.render("judge_met_thoughts_step", values)
    thoughts = await asker.text(
        subject, f"thoughts-{item.name}", text, str.strip, stop=("\n",), max_tokens=_THOUGHTS_TOKENS, whole=False
    )
    if thoughts.value is None:
        return Asked(None, thoughts.generation, thoughts.status, thoughts.reason)
    text = asker.plan.prompts.render("judge_met_step", values | {"thoughts": data(thoughts.value)})
    word = await asker.choose(subject, item.name, text, ("yes", "no"))
    value = (word.value == "yes", thoughts.value) if word.value else None
    return Asked(value, word.generation, word.status, word.reason)


async def compared(bench: Bench, paper: Paper, name: str, couples: Sequence[Couple]) -> list[Row]:
    """Two rows of `comparisons` a couple, one an order."""
    plan, key = bench.examiner, _asked_with(bench, "versus")

    async def one(asker: Asker, prompt: Prompt, a: Row, b: Row) -> list[Row]:
        case = Case(prompt.text, {"rubric_id": None, "problem_id": prompt.problem_id, "criteria": []}, [a, b])
        return await both_orders(asker, case, "exam", [(a, b)])

    async def work(engine: Engine) -> Tables:
        asker = Asker(plan, "rate", engine)
        rows = await together(one(asker, *couple) for couple in couples)
        return {"comparisons": [row for both in rows for row in both]}

    texts = [[a["answer_id"], a["final"], b["answer_id"], b["final"]] for _, a, b in couples]
    settings, name = [paper.identity, key, texts], f"{paper.settings.name}-{name}"
    return (await bench.kept("exam_compare", name, settings, plan.model_of("rate"), work, again=True))["comparisons"]


def matched(bench: Bench, paper: Paper, subject: Subject, answers: Sequence[Row]) -> list[Row]:
    """A row of `ratings` an answer: whether it is a right one exactly, normalised (its score), and in a longer text."""
    golds = {prompt.problem_id: prompt.golds for prompt in paper.prompts}
    rows = []
    for answer in answers:
        row = _rating(content_id("exam_match", answer["answer_id"]), answer, "gold")
        if (final := answer["final"]) is not None:
            right = golds[answer["problem_id"]]
            found = {"exact": exact(final, right), "normalised": matches(final, right),
                     "contains": contains(final, right)}  # fmt: skip
            marks = [{"name": name, "rating": float(is_so), "thoughts": None} for name, is_so in found.items()]
            row |= {"ratings": marks, "score": float(found["normalised"]), "status": "ok", "reason": None}
        rows.append(row)
    footer = {"stage": "evaluate.exam_match", "fingerprint": paper.identity, "version": package_version()}
    bench.store.write("ratings", 0, f"exam_match.{paper.settings.name}-{subject.file}", rows, footer)
    return rows
