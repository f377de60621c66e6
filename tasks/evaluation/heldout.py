"""Held-out problems: made once a run from documents that no round trains on, answered by both models, rated by a judge.

What is compared is the mean score of each problem's answers; problems are what was drawn, so they are resampled.
"""

from dataclasses import dataclass
from statistics import fmean

from schemas.ids import content_id
from schemas.tables import REFERENCE
from tasks.answer import answer
from tasks.engine.protocol import Engine
from tasks.evaluation.bench import Bench, Measure, Subject, Tables
from tasks.evaluation.shares import Marks, gap_measures, marks_of, share_measures
from tasks.evaluation.statistics import difference_interval, mean_interval
from tasks.propose import propose
from tasks.rate import judged
from tasks.rubric import rubric
from tasks.staging.plan import shown_answers
from tasks.storage.store import Row


class NotRun(Exception):
    """A suite has nothing to measure; the text says why."""


@dataclass(frozen=True)
class Exam:
    """The problems and rubrics by which every model of a run is measured."""

    identity: str
    problems: list[Row]
    rubrics: list[Row]


async def exam(bench: Bench) -> Exam:
    """The run's problems and rubrics, made where they are not there yet.

    Raises:
        NotRun: no held-out documents, or no usable problem came of them.
    """
    plan, wanted = bench.examiner, bench.config.evaluation.problems
    if not bench.documents:
        raise NotRun("the run has no held-out documents (corpus.heldout_documents, corpus.heldout_share)")
    documents = [row | {"split": "train"} for row in bench.documents[:wanted]]  # propose leaves held-out ones alone

    async def work(engine: Engine) -> Tables:
        problems = await propose(plan, documents, engine)
        answers = await answer(plan, problems, engine) if shown_answers(plan.config) else []
        rubrics = await rubric(plan, documents, problems, answers, engine)
        return {"documents": bench.documents[:wanted], "problems": problems, "answers": answers, "rubrics": rubrics}

    keys = [plan.keys[stage] for stage in ("propose", "answer", "rubric")]
    settings = [*keys, [row["document_id"] for row in documents], plan.config.task.problems_per_document]
    made = await bench.kept("exam", "all", settings, plan.model_of("propose"), work)
    rubrics = [row for row in made["rubrics"] if row["status"] == "ok"]
    asked = {row["problem_id"] for row in rubrics}
    problems = [row for row in made["problems"] if row["status"] == "ok" and row["problem_id"] in asked][:wanted]
    if not problems:
        raise NotRun(f"no usable problem with a rubric came of {len(documents)} held-out documents")
    kept = {row["problem_id"] for row in problems}
    return Exam(
        content_id("exam", settings, len(problems)), problems, [row for row in rubrics if row["problem_id"] in kept]
    )


async def answers_of(bench: Bench, test: Exam, subject: Subject) -> list[Row]:
    """A model's answers to the exam, references (rollout -1) included."""

    async def work(engine: Engine) -> Tables:
        return {"answers": await answer(subject.plan, test.problems, engine)}

    settings = [test.identity, subject.plan.keys["answer"], bench.config.evaluation.answers]
    return (await bench.kept("answer", subject.file, settings, subject.name, work))["answers"]


async def scores_of(bench: Bench, test: Exam, subject: Subject) -> tuple[Marks, dict[str, float]]:
    """The marks of the model's own answers, and the reference's score by problem."""
    plan, answers = bench.examiner, await answers_of(bench, test, subject)

    async def work(engine: Engine) -> Tables:
        return await judged(plan, test.problems, answers, test.rubrics, engine, zero_line=False)

    settings = [test.identity, subject.plan.keys["answer"], bench.config.evaluation.answers, plan.keys["rate"]]
    ratings = (await bench.kept("rate", subject.file, settings, plan.model_of("rate"), work))["ratings"]
    references = {row["answer_id"] for row in answers if row["rollout"] == REFERENCE}
    rated = [row for row in ratings if row["status"] == "ok" and row["score"] is not None]
    own = marks_of(test.problems, answers, ratings, bench.config.evaluation.answers)
    return own, _by_problem([row for row in rated if row["answer_id"] in references])


def _by_problem(ratings: list[Row]) -> dict[str, float]:
    scores: dict[str, list[float]] = {}
    for row in ratings:
        scores.setdefault(row["problem_id"], []).append(row["score"])
    return {problem: fmean(values) for problem, values in sorted(scores.items())}


async def heldout(bench: Bench) -> list[Measure]:
    """`score` of each model and the paired `difference`; and, because that rests on what both have, the shares of the
    answers that are `finished` and `rated`, how they differ, and the difference at its `worst` and `best`."""
    test, settings = await exam(bench), bench.config.evaluation
    draws = (settings.bootstrap_samples, settings.seed)
    measures, marks = [], []
    for subject in bench.subjects:
        own, reference = await scores_of(bench, test, subject)
        marks.append(own)
        for metric, values in (("score", own.means()), ("reference_score", reference)):
            value, low, high = mean_interval(list(values.values()), *draws)
            measures.append(_measure(subject.model_id, metric, (value, low, high), len(values), len(test.problems)))
        measures += share_measures(subject.model_id, own)
    if bench.parent:
        measures += gap_measures(bench.candidate.model_id, marks[0], marks[1])
        scores = [own.means() for own in marks]
        both = sorted(scores[0].keys() & scores[1].keys())
        gaps = [scores[0][problem] - scores[1][problem] for problem in both]
        found = difference_interval(gaps)
        measures.append(_measure(bench.candidate.model_id, "difference", found, len(both), len(test.problems)))
    return measures


def _measure(
    model_id: str, metric: str, found: tuple[float | None, float | None, float | None], n: int, asked: int
) -> Measure:  # fmt: skip
    """A figure, and how many of the problems it rests on; without any, it was not run."""
    note = f"{n} of {asked} problems have rated answers" if n < asked else None
    return Measure(model_id, metric, *found, n=n, status="ok" if n else "not_run", reason=note)
