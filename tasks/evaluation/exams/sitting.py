"""A model sits an exam: its answers, each a row, and the exam's prompts beside them.

An answer that was cut is used as it stands, as in the published exams, and says so; the shares of answers that ended by
themselves are figures. `final` is empty where the model said nothing, and null where there is no answer to judge.
"""

from schemas.ids import content_id
from schemas.roles import Sampling
from schemas.tables import REFERENCE
from schemas.version import package_version
from tasks.engine.protocol import Engine, Generation, Request
from tasks.engine.turns import together
from tasks.evaluation.bench import Bench, Subject, Tables
from tasks.evaluation.exams.formats import Paper, Prompt
from tasks.storage.store import Row
from tasks.texts.leaks import without_end
from tasks.texts.length import word_count
from tasks.texts.thoughts import final_answer

SAID = ("truncated", "empty")  # failures after which what there is is the model's answer


def sampling_of(bench: Bench, paper: Paper) -> Sampling:
    """How answers to an exam are drawn: as in the rounds, but for what the exam sets, and to their own end."""
    own, settings = bench.config.sampling.answer, paper.settings
    changed = {"temperature": settings.temperature, "max_tokens": settings.max_tokens or own.max_tokens, "stop": ()}
    return own.model_copy(update=changed)


async def answers_of(bench: Bench, paper: Paper, subject: Subject) -> list[Row]:
    """The model's answers to every prompt of the exam, in order; rollouts count from 0."""
    sampling = sampling_of(bench, paper)
    key = [subject.plan.keys["answer"], sampling.identity(), bench.config.evaluation.seed]

    async def one(engine: Engine, prompt: Prompt, rollout: int) -> Row:
        answer_id = content_id("answer", *key, prompt.problem_id, rollout)
        seed = bench.config.evaluation.seed
        call = await engine.chat(Request("answer", answer_id, "answer", prompt.messages, sampling, 0, seed))
        return _row(answer_id, prompt, rollout, call)

    async def work(engine: Engine) -> Tables:
        wanted = [(prompt, n) for prompt in paper.prompts for n in range(paper.settings.answers)]
        return {"answers": await together(one(engine, prompt, n) for prompt, n in wanted)}

    name = f"{paper.settings.name}-{subject.file}"
    return (await bench.kept("exam_answer", name, [paper.identity, key], subject.name, work, again=True))["answers"]


def _row(answer_id: str, prompt: Prompt, rollout: int, call: Generation) -> Row:
    status, reason = call.failure or ("ok", None)
    final = (
        without_end(final_answer(call.text)).strip() if status in ("ok", *SAID) else "" if status == "refused" else None
    )
    if status == "ok" and not final:
        status, reason = "empty", "nothing is left after the thoughts"
    return {
        "answer_id": answer_id, "problem_id": prompt.problem_id, "document_id": None, "rollout": rollout,
        "text": call.completion, "final": final, "words": None if final is None else word_count(final),
        "tokens": call.completion_tokens, "status": status, "reason": reason, "generation_id": call.generation_id,
    }  # fmt: skip


def baseline_row(prompt: Prompt) -> Row:
    """The baseline's answer, beside the models' own."""
    text = prompt.baseline or ""
    return {
        "answer_id": content_id("baseline", prompt.problem_id, text), "problem_id": prompt.problem_id,
        "document_id": None, "rollout": REFERENCE, "text": text, "final": text, "words": word_count(text),
        "tokens": None, "status": "ok", "reason": None, "generation_id": None,
    }  # fmt: skip


def keep_prompts(bench: Bench, paper: Paper) -> None:
    """The exam's prompts as rows of `exam_prompts`, and a baseline's answers as rows of `answers`."""
    rows = [
        {
            "problem_id": prompt.problem_id, "exam": paper.settings.name, "kind": paper.kind, "place": prompt.place,
            "category": prompt.category, "prompt": list(prompt.messages), "problem": prompt.text,
            "criteria": [vars(item) | {"tags": list(item.tags)} for item in prompt.criteria] or None,
            "golds": list(prompt.golds) or None,
        }
        for prompt in paper.prompts
    ]  # fmt: skip
    footer = {"stage": "evaluate.exam", "fingerprint": paper.identity, "version": package_version()}
    name = f"exam.{paper.settings.name}"
    bench.store.write("exam_prompts", 0, name, rows, footer)
    if paper.kind == "baseline":
        bench.store.write("answers", 0, name, [baseline_row(prompt) for prompt in paper.prompts], footer)
