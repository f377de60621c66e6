"""Rate: the same model marks every answer by the rubric (paper section 3.4), in one of the ways of `tasks.judging`."""

from typing import Any

from prefect import task

from tasks.asking.asker import Asker
from tasks.engine.protocol import Engine
from tasks.engine.turns import together
from tasks.judging import MODES
from tasks.judging.case import Case, Judgement, Verdict, rating_id
from tasks.staging.plan import Plan
from tasks.staging.stage import TASK_OPTIONS, Round, run_stage

Row = dict[str, Any]


async def rate(plan: Plan, problems: list[Row], answers: list[Row], rubrics: list[Row], engine: Engine) -> list[Row]:
    """One rating row for each answer that is ok and has a rubric that is ok; references included."""
    return (await judged(plan, problems, answers, rubrics, engine))["ratings"]


async def judged(
    plan: Plan, problems: list[Row], answers: list[Row], rubrics: list[Row], engine: Engine
) -> dict[str, list[Row]]:  # fmt: skip
    """The rows of `ratings`, and of `comparisons` where answers are compared with each other."""
    asker = Asker(plan, "rate", engine)
    found = cases(problems, answers, rubrics)
    judgements: list[Judgement] = await together(MODES[plan.config.rating.mode](asker, case) for case in found)
    pairs = list(zip(found, judgements, strict=True))
    return {
        "ratings": [_row(asker, case, verdict) for case, judgement in pairs for verdict in judgement.verdicts],
        "comparisons": [row for _, judgement in pairs for row in judgement.comparisons],
    }


def cases(problems: list[Row], answers: list[Row], rubrics: list[Row]) -> list[Case]:
    """A case for each rubric that is ok, with the answers that are ok."""
    texts = {row["problem_id"]: row["problem"] for row in problems}
    by_problem: dict[str, list[Row]] = {}
    for row in answers:
        if row["status"] == "ok":
            by_problem.setdefault(row["problem_id"], []).append(row)
    usable = [row for row in rubrics if row["status"] == "ok" and row["problem_id"] in by_problem]
    return [Case(texts[row["problem_id"]], row, by_problem[row["problem_id"]]) for row in usable]


def _row(asker: Asker, case: Case, verdict: Verdict) -> Row:
    return {
        "rating_id": rating_id(asker, case, verdict.answer), "answer_id": verdict.answer["answer_id"],
        "rubric_id": case.rubric["rubric_id"], "problem_id": verdict.answer["problem_id"],
        "mode": asker.plan.config.rating.mode, "ratings": verdict.marks, "score": verdict.score,
        "sample_scores": list(verdict.scores) or None, "spread": verdict.spread, "status": verdict.status,
        "reason": verdict.reason, "generation_id": verdict.generation_id,
    }  # fmt: skip


@task(name="rate", task_run_name="rate {shard}", **TASK_OPTIONS)
async def rate_task(round_: Round, shard: str) -> Any:
    """problems, answers, rubrics → ratings and comparisons."""
    return await run_stage(round_, "rate", shard, ("problems", "answers", "rubrics"), judged)
