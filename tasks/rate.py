"""Rate: the same model marks every answer by the rubric (paper section 3.4); score = Σ weight·rating / Σ weight.

`pointwise`: the judge sees problem, rubric and one answer, and writes thoughts, then 0, 1 or 2, for every criterion.

`likelihood`: nothing is written. A criterion's gold fact g is worth its gain in nats a token,
    gain = [log p(g | problem, answer) - log p(g | problem, no answer)] / tokens of g,
mapped by rating = 2·σ(gain / scale): 1 says that the answer told nothing of the fact, 2 that it made it certain, 0 that
it spoke against it. Strictly monotone, so ranks are those of the gains. Example: log p(g) over 8 tokens rises from -24
to -16, gain = 1 nat a token, rating = 2·σ(1/0.5) = 1.76.
"""

import asyncio
import json
import math
from typing import Any

from prefect import task

from schemas.ids import content_id
from schemas.outputs import MarkSheet
from tasks.asking import Asked, Asker
from tasks.engine.protocol import Engine, Likelihood
from tasks.parse import Malformed, format_instructions
from tasks.plan import Plan
from tasks.prompts import data
from tasks.stage import TASK_OPTIONS, Round, run_shard

Row = dict[str, Any]
Marks = list[dict[str, Any]]


async def rate(plan: Plan, problems: list[Row], answers: list[Row], rubrics: list[Row], engine: Engine) -> list[Row]:
    """One rating row for each answer that is ok and has a rubric that is ok; references included."""
    texts = {row["problem_id"]: row["problem"] for row in problems}
    by_problem = {row["problem_id"]: row for row in rubrics if row["status"] == "ok"}
    jobs = [
        _one(plan, texts[a["problem_id"]], a, by_problem[a["problem_id"]], engine)
        for a in answers
        if a["status"] == "ok" and a["problem_id"] in by_problem
    ]
    return list(await asyncio.gather(*jobs))


async def _one(plan: Plan, problem: str, answer: Row, rubric: Row, engine: Engine) -> Row:
    mode = plan.config.rating.mode
    rating_id = content_id("rating", plan.keys["rate"], answer["answer_id"], rubric["rubric_id"])
    judge = _pointwise if mode == "pointwise" else _likelihood
    asked = await judge(Asker(plan, "rate", engine), rating_id, problem, answer["final"], rubric)
    value = score(asked.value, rubric["criteria"]) if asked.value else None
    return {
        "rating_id": rating_id, "answer_id": answer["answer_id"], "rubric_id": rubric["rubric_id"],
        "problem_id": answer["problem_id"], "mode": mode, "ratings": asked.value, "score": value,
        "status": asked.status, "reason": asked.reason,
        "generation_id": asked.generation.generation_id if asked.generation else None,
    }  # fmt: skip


def score(marks: Marks, criteria: list[Row]) -> float | None:
    """Weighted mean of the ratings, 0 to 2, over the criteria that could be rated; None where none could."""
    weights = {criterion["name"]: criterion["weight"] for criterion in criteria}
    rated = [(weights[mark["name"]], mark["rating"]) for mark in marks if mark["rating"] is not None]
    if not rated:
        return None
    # fsum: the order of the criteria must not change the last digit
    return math.fsum(w * r for w, r in rated) / math.fsum(w for w, _ in rated)


def rubric_text(criteria: list[Row]) -> str:
    """The rubric as the judge reads it: one block a criterion."""
    blocks = []
    for criterion in criteria:
        lines = [f"{data(criterion['name'])} (weight {criterion['weight']:g})"]
        lines += data(criterion["description"]).splitlines()
        lines += f"A good answer has: {data(criterion['gold'])}".splitlines() if criterion["gold"] else []
        blocks.append("- " + "\n  ".join(lines))  # indented: a line of a description does not look like a criterion
    return "\n".join(blocks)


async def _pointwise(asker: Asker, rating_id: str, problem: str, answer: str, rubric: Row) -> Asked[Marks]:
    output_format = asker.plan.config.models[asker.plan.model_of("rate")].output_format
    # the judge gives the names back as it read them
    shown = {data(criterion["name"]): criterion["name"] for criterion in rubric["criteria"]}
    prompt = asker.plan.prompts.render("judge", {
        "problem": data(problem), "rubric": rubric_text(rubric["criteria"]), "answer": data(answer),
        "format": format_instructions(MarkSheet, output_format),
    })  # fmt: skip
    return await asker.output(
        rating_id, "marks", prompt, MarkSheet, lambda sheet: complete(sheet, shown), len(shown), list(shown)
    )


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


async def _likelihood(asker: Asker, rating_id: str, problem: str, answer: str, rubric: Row) -> Asked[Marks]:
    golds = {c["name"]: c["gold"] for c in rubric["criteria"] if c["gold"]}
    if not golds:
        return Asked(None, None, "unrateable", "no criterion has a gold fact")
    facts = tuple(data(gold) for gold in golds.values())

    def asking(subject_id: str, text: str) -> Likelihood:
        context = asker.plan.prompts.render("likelihood", {"problem": data(problem), "answer": data(text)})
        return Likelihood("judge", subject_id, context, facts)

    # the baseline belongs to the rubric: every answer's rating asks for the same call
    told = await asker.engine.likelihood(asking(rating_id, answer))
    untold = await asker.engine.likelihood(asking(rubric["rubric_id"], ""))
    for generation in (told, untold):
        if generation.failure:
            return Asked(None, generation, generation.failure[0], generation.failure[1])
    gains = dict(zip(golds, gains_of(told.text, untold.text), strict=True))
    if all(gain is None for gain in gains.values()):
        return Asked(None, told, "unrateable", "the server gave no log-probabilities")
    scale = asker.plan.config.rating.likelihood_scale_nats
    by_criterion = [(c["name"], gains.get(c["name"])) for c in rubric["criteria"]]
    return Asked([
        {"name": name, "rating": rating_of(gain, scale), "thoughts": _gain_text(gain)} for name, gain in by_criterion
    ], told)  # fmt: skip


def gains_of(told: str, untold: str) -> list[float | None]:
    """Gain of each gold fact in nats a token, from two `Engine.likelihood` completions.

    None where a log-probability is missing or is no finite number.
    """
    gains: list[float | None] = []
    for with_answer, without in zip(json.loads(told), json.loads(untold), strict=True):
        values = (with_answer["logprob"], without["logprob"])
        if any(value is None or not math.isfinite(value) for value in values):
            gains.append(None)
        else:
            gains.append((values[0] - values[1]) / with_answer["tokens"])
    return gains


def rating_of(gain: float | None, scale: float) -> float | None:
    """2·σ(gain / scale), in (0, 2); None where the gain is not known."""
    if gain is None or math.isnan(gain):
        return None
    bounded = max(-30.0, min(30.0, gain / scale))
    return 2.0 / (1.0 + math.exp(-bounded))


def _gain_text(gain: float | None) -> str | None:
    return None if gain is None else f"gain {gain:+.3f} nats a token"


@task(name="rate", task_run_name="rate {shard}", **TASK_OPTIONS)
async def rate_task(round_: Round, shard: str) -> Any:
    """problems, answers, rubrics → ratings."""
    return await run_shard(round_, "rate", shard, ("problems", "answers", "rubrics"), rate)
