"""Answer: the same model answers a problem `n` times without the document (paper section 3.2)."""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import task

from schemas.ids import content_id
from schemas.tables import REFERENCE
from tasks.asking.hints import hint_of, hinted_messages, speaks_of_hint
from tasks.engine.protocol import Engine, Generation, Message, Request
from tasks.engine.turns import together
from tasks.prompts import HINT, NAMES, data
from tasks.staging.plan import Plan
from tasks.staging.stage import TASK_OPTIONS, Round, run_stage
from tasks.texts.leaks import leak, without_end
from tasks.texts.length import word_count
from tasks.texts.measures import full_sentences
from tasks.texts.refusals import refuses
from tasks.texts.thoughts import final_answer, opened_by_template, split
from tasks.texts.wholeness import unfinished

Row = dict[str, Any]
CUT = "`final` ends with the last full sentence"


async def answer(plan: Plan, problems: list[Row], engine: Engine, documents: Sequence[Row] = ()) -> list[Row]:
    """The reference (rollout -1) and `sampling.answers` rollouts for each problem that is ok.

    Args:
        documents: what hints are drawn from (`sampling.hints`); without any, as in an evaluation, all are blind.
    """
    usable = [row for row in problems if row["status"] == "ok"]
    read = {row["document_id"]: row for row in documents if row["status"] == "ok"}
    rows = [row for rows in await together(_problem(plan, row, read, engine) for row in usable) for row in rows]
    if any(opened_by_template(row["text"] or "") for row in rows if row["rollout"] != REFERENCE):
        rows = [row | _IN_THOUGHTS if _is_cut_thought(row) else row for row in rows]
    return rows


def prompt_messages(plan: Plan, problem: str) -> tuple[Message, ...]:
    """What the answering model sees; the trainer gets the same messages."""
    (name,) = NAMES["answer"][plan.config.dialect_of("answer")]
    return ({"role": "user", "content": plan.prompts.render(name, {"problem": data(problem)})},)


async def with_hints(plan: Plan, problems: list[Row], documents: list[Row], engine: Engine) -> list[Row]:
    """The same, where some rollouts see a sentence of the document."""
    return await answer(plan, problems, engine, documents)


async def _problem(plan: Plan, problem: Row, documents: Mapping[str, Row], engine: Engine) -> list[Row]:
    rollouts = range(plan.config.sampling.answers)
    hints = [hint_of(plan, problem, documents, rollout) for rollout in rollouts]
    answers = await together(_rollout(plan, problem, hint, n, engine) for n, hint in enumerate(hints))
    return [_reference(plan, problem), *answers]


def _row(plan: Plan, problem: Row, rollout: int, hint: str | None = None) -> Row:
    seen = [] if hint is None else [HINT, hint]
    return {
        "answer_id": content_id("answer", plan.keys["answer"], problem["problem_id"], rollout, *seen),
        "problem_id": problem["problem_id"], "document_id": problem["document_id"], "rollout": rollout, "hint": hint,
    }  # fmt: skip


def _reference(plan: Plan, problem: Row) -> Row:
    text = problem["reference_answer"]
    return _row(plan, problem, REFERENCE) | {
        "text": text, "final": text, "words": word_count(text), "tokens": None, "status": "ok", "reason": None,
        "generation_id": problem["generation_id"], "own_logprob": None,
    }  # fmt: skip


async def _rollout(plan: Plan, problem: Row, hint: str | None, rollout: int, engine: Engine) -> Row:
    row, messages = _row(plan, problem, rollout, hint), prompt_messages(plan, problem["problem"])
    if hint is not None:
        messages = hinted_messages(plan, messages[0]["content"], hint)
    sampling = plan.config.sampling
    generation = await engine.chat(
        Request(
            "answer", row["answer_id"], "answer", messages, sampling.answer, 0, sampling.seed,
            logprobs=sampling.own_likelihood,
        )
    )  # fmt: skip
    final, status, reason = judgeable(generation, sampling.cut_answers, problem["problem"], sampling.answer.stop)
    if hint is not None and status == "ok" and (phrase := speaks_of_hint(final or "")):
        status, reason = "leaky", f"it speaks of its hint: {phrase!r}"
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
    final, failure, note = without_end(final_answer(generation.text)), generation.failure, None
    if failure and failure[0] == "truncated" and cut_answers == "sentence" and (kept := full_sentences(final)):
        note = f"{failure[1]}; {CUT}"
        final, failure = kept, None
    if failure is not None:
        return None, failure[0], failure[1]
    if not final:
        where = f"the stop text {cut!r} ended it in its thoughts" if (cut := generation.stopped_at(stop)) else None
        return None, "empty", where or "nothing is left after the thoughts"
    if why := leak(final, problem):
        return final, "malformed", why
    if final.casefold() == problem.strip().casefold():
        return final, "malformed", "it only says the question again"
    if refuses(final, problem):
        return final, "refused", "the model declined to answer"
    if why := unfinished(final, "" if note else generation.stopped_at(stop)):
        return final, "unfinished", why
    return final, "ok", note


# a thinking model's template may open the thoughts, so that one that is cut has no mark at all
_IN_THOUGHTS = {"final": None, "words": None, "status": "truncated", "reason": "cut in its thoughts (max_tokens)"}


def _is_cut_thought(row: Row) -> bool:
    return str(row["reason"] or "").endswith(CUT) and split(row["text"] or "")[1] == (row["text"] or "").strip()


def ended(row: Row) -> bool:
    """Whether an answer ended by itself and says something; one that was used up to where it was cut did not."""
    return row["status"] in ("ok", "refused") and not str(row["reason"] or "").endswith(CUT)


@task(name="answer", task_run_name="answer {shard}", **TASK_OPTIONS)
async def answer_task(round_: Round, shard: str) -> Any:
    """problems → answers; with the documents where hints are drawn from them."""
    if round_.plan.config.sampling.hints:
        return await run_stage(round_, "answer", shard, ("problems", "documents"), with_hints)
    return await run_stage(round_, "answer", shard, ("problems",), answer)
