"""Rate: the same model marks every answer by the rubric (paper section 3.4), in one of the ways of `tasks.judging`."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from prefect import task

from tasks.asking.asker import Asker
from tasks.engine.protocol import Engine, Likelihood
from tasks.engine.turns import together
from tasks.judging import MODES
from tasks.judging.case import COMPARING, Case, Judgement, Verdict, rated_by, rating_id, says_nothing, weighted
from tasks.prompts import OWN, data
from tasks.staging.plan import Plan
from tasks.staging.stage import TASK_OPTIONS, Round, run_stage

Row = dict[str, Any]


async def rate(plan: Plan, problems: list[Row], answers: list[Row], rubrics: list[Row], engine: Engine) -> list[Row]:
    """One rating row for each answer that is ok and has a rubric that is ok; references included."""
    return (await judged(plan, problems, answers, rubrics, engine, zero_line=False))["ratings"]


async def judged(
    plan: Plan, problems: list[Row], answers: list[Row], rubrics: list[Row], engine: Engine, zero_line: bool = True
) -> dict[str, list[Row]]:  # fmt: skip
    """The rows of `ratings`, and of `comparisons` where answers are compared with each other.

    Args:
        zero_line: whether each answer's own likelihood is asked for, too.
    """
    asker = Asker(plan, "rate", engine)
    found = cases(problems, answers, rubrics)
    judgements: list[Judgement] = await together(_judge(asker, case) for case in found)
    pairs = list(zip(found, judgements, strict=True))
    every = [(case, verdict) for case, judgement in pairs for verdict in judgement.verdicts]
    own = await own_likelihoods(asker, every) if zero_line else {}
    return {
        "ratings": [_row(asker, case, verdict) | own.get(verdict.answer["answer_id"], {}) for case, verdict in every],
        "comparisons": [row for _, judgement in pairs for row in judgement.comparisons],
    }


async def _judge(asker: Asker, case: Case) -> Judgement:
    """The judge's verdicts; an answer that says nothing is worth 0 whatever the judge would say, and is not shown."""
    nothing = {row["answer_id"]: why for row in case.answers if (why := says_nothing(row, case.problem))}
    left = [row for row in case.answers if row["answer_id"] not in nothing]
    mode = asker.plan.config.rating.mode
    said = await MODES[mode](asker, replace(case, answers=left)) if left else Judgement([])
    told = {"told": 0.0, "against": 0.0} if mode == "likelihood" else {}
    names = [] if mode in COMPARING else [criterion["name"] for criterion in case.rubric["criteria"]]
    zeros = [{"name": name, "rating": 0.0, "thoughts": None} | told for name in names] or None
    verdicts = {verdict.answer["answer_id"]: verdict for verdict in said.verdicts} | {
        row["answer_id"]: Verdict(row, (0.0,), zeros, reason=nothing[row["answer_id"]])
        for row in case.answers if row["answer_id"] in nothing
    }  # fmt: skip
    return Judgement([verdicts[row["answer_id"]] for row in case.answers], said.comparisons)


async def own_likelihoods(asker: Asker, every: Sequence[tuple[Case, Verdict]]) -> dict[str, Row]:
    """The zero line, by answer: how likely the judge's model finds it with the problem alone, in nats a token, and its
    tokens. A judge is worth asking as far as it says more than that. Nothing where the server cannot say it."""
    if not asker.plan.config.rating.own_likelihood or not asker.engine.scores_prompts:
        return {}

    async def own(case: Case, verdict: Verdict) -> tuple[str, Row]:
        context = asker.plan.prompts.render(OWN, {"problem": data(case.problem)})
        text, subject = data(verdict.answer["final"] or "").strip(), rating_id(asker, case, verdict.answer)
        if not text:
            return verdict.answer["answer_id"], {}
        said = await asker.engine.likelihood(Likelihood("judge", subject, context, (text,), "own"))
        (score,) = json.loads(said.text) if said.failure is None else ({"logprob": None},)
        if score["logprob"] is None:
            return verdict.answer["answer_id"], {}
        each = {"own_likelihood": score["logprob"] / score["tokens"], "own_tokens": score["tokens"]}
        return verdict.answer["answer_id"], each

    return dict(await together(own(case, verdict) for case, verdict in every))


def cases(problems: list[Row], answers: list[Row], rubrics: list[Row]) -> list[Case]:
    """A case for each rubric that is ok, with the answers that are ok, and the criteria that hold: by those that the
    document does not support nothing is rated."""
    texts = {row["problem_id"]: row["problem"] for row in problems}
    by_problem: dict[str, list[Row]] = {}
    for row in answers:
        if row["status"] == "ok":
            by_problem.setdefault(row["problem_id"], []).append(row)
    usable = [row for row in rubrics if row["status"] == "ok" and row["problem_id"] in by_problem]
    held = [rubric for row in usable if (rubric := rated_by(row))["criteria"]]
    return [Case(texts[row["problem_id"]], row, by_problem[row["problem_id"]]) for row in held]


def _row(asker: Asker, case: Case, verdict: Verdict) -> Row:
    return {
        "rating_id": rating_id(asker, case, verdict.answer), "answer_id": verdict.answer["answer_id"],
        "rubric_id": case.rubric["rubric_id"], "problem_id": verdict.answer["problem_id"],
        "mode": asker.plan.config.rating.mode, "ratings": verdict.marks, "score": verdict.score,
        "sample_scores": list(verdict.scores) or None, "spread": verdict.spread, "status": verdict.status,
        "reason": verdict.reason, "generation_id": verdict.generation_id,
        "own_likelihood": None, "own_tokens": None, "told": weighted(verdict.marks, case.rubric["criteria"], "told"),
        "against": weighted(verdict.marks, case.rubric["criteria"], "against"),
    }  # fmt: skip


@task(name="rate", task_run_name="rate {shard}", **TASK_OPTIONS)
async def rate_task(round_: Round, shard: str) -> Any:
    """problems, answers, rubrics → ratings and comparisons."""
    return await run_stage(round_, "rate", shard, ("problems", "answers", "rubrics"), judged)
