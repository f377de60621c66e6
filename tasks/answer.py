"""Answer: the same model answers a problem `n` times without the document (paper section 3.2)."""

from collections.abc import Sequence
from typing import Any

from prefect import task

from schemas.ids import content_id
from schemas.tables import REFERENCE
from tasks.engine.protocol import Engine, Generation, Message, Request
from tasks.engine.turns import together
from tasks.prompts import NAMES, data
from tasks.staging.plan import Plan
from tasks.staging.stage import TASK_OPTIONS, Round, run_stage
from tasks.texts.length import word_count
from tasks.texts.measures import full_sentences
from tasks.texts.refusals import refuses
from tasks.texts.thoughts import final_answer
from tasks.texts.wholeness import unfinished

Row = dict[str, Any]
CUT = "`final` ends with the last full sentence"


async def answer(plan: Plan, problems: list[Row], engine: Engine) -> list[Row]:
    """The reference (rollout -1) and `sampling.answers` rollouts for each problem that is ok."""
    usable = [row for row in problems if row["status"] == "ok"]
    per_problem = await together(_problem(plan, row, engine) for row in usable)
    return [row for rows in per_problem for row in rows]


def prompt_messages(plan: Plan, problem: str) -> tuple[Message, ...]:
    """What the answering model sees; the trainer gets the same messages."""
    (name,) = NAMES["answer"][plan.config.dialect_of("answer")]
    return ({"role": "user", "content": plan.prompts.render(name, {"problem": data(problem)})},)


async def _problem(plan: Plan, problem: Row, engine: Engine) -> list[Row]:
    messages = prompt_messages(plan, problem["problem"])
    rollouts = range(plan.config.sampling.answers)
    answers = await together(_rollout(plan, problem, messages, n, engine) for n in rollouts)
    return [_reference(plan, problem), *answers]


def _row(plan: Plan, problem: Row, rollout: int) -> Row:
    return {
        "answer_id": content_id("answer", plan.keys["answer"], problem["problem_id"], rollout),
        "problem_id": problem["problem_id"], "document_id": problem["document_id"], "rollout": rollout,
    }  # fmt: skip


def _reference(plan: Plan, problem: Row) -> Row:
    text = problem["reference_answer"]
    return _row(plan, problem, REFERENCE) | {
        "text": text, "final": text, "words": word_count(text), "tokens": None, "status": "ok", "reason": None,
        "generation_id": problem["generation_id"], "own_logprob": None,
    }  # fmt: skip


async def _rollout(plan: Plan, problem: Row, messages: tuple[Message, ...], rollout: int, engine: Engine) -> Row:
    row = _row(plan, problem, rollout)
    sampling = plan.config.sampling
    generation = await engine.chat(
        Request(
            "answer", row["answer_id"], "answer", messages, sampling.answer, 0, sampling.seed,
            logprobs=sampling.own_likelihood,
        )
    )  # fmt: skip
    final, status, reason = judgeable(generation, sampling.cut_answers, problem["problem"], sampling.answer.stop)
    return row | {
        "text": generation.completion, "final": final, "words": word_count(final) if final else None,
        "tokens": generation.completion_tokens, "status": status, "reason": reason,
        "generation_id": generation.generation_id, "own_logprob": generation.mean_logprob,
    }  # fmt: skip


def judgeable(
    generation: Generation, cut_answers: str, problem: str = "", stop: Sequence[str] = ()
) -> tuple[str | None, str, str | None]:  # fmt: skip
    """`final`, status and reason of an answer: what is cut, empty, a refusal or not whole is not judged.

    Args:
        problem: what was asked; to say it again is no answer.
        stop: the stop texts that were asked for; see `unfinished`.
    """
    final, failure, note = final_answer(generation.text), generation.failure, None
    if failure and failure[0] == "truncated" and cut_answers == "sentence" and (kept := full_sentences(final)):
        note = f"{failure[1]}; {CUT}"
        final, failure = kept, None
    if failure is not None:
        return None, failure[0], failure[1]
    if not final:
        where = f"the stop text {cut!r} ended it in its thoughts" if (cut := generation.stopped_at(stop)) else None
        return None, "empty", where or "nothing is left after the thoughts"
    if refuses(final, problem):
        return final, "refused", "the model declined to answer"
    if why := unfinished(final, "" if note else generation.stopped_at(stop)):
        return final, "unfinished", why
    return final, "ok", note


def ended(row: Row) -> bool:
    """Whether an answer ended by itself and says something; one that was used up to where it was cut did not."""
    return row["status"] in ("ok", "refused") and not str(row["reason"] or "").endswith(CUT)


@task(name="answer", task_run_name="answer {shard}", **TASK_OPTIONS)
async def answer_task(round_: Round, shard: str) -> Any:
    """problems → answers."""
    return await run_stage(round_, "answer", shard, ("problems",), answer)
