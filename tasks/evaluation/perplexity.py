"""Perplexity of held-out documents: the alarm for a model that training has broken.

Each document's first words are given, and the log-probability of what follows is read from the server; nothing is
generated. Difference: parent's minus candidate's nats a token, so that above 0 is better, as everywhere.
"""

import asyncio
import json
import math

from tasks.engine.protocol import Engine, Likelihood
from tasks.evaluation.bench import Bench, Measure, Subject, Tables
from tasks.evaluation.heldout import NotRun
from tasks.evaluation.statistics import difference_interval, mean_interval
from tasks.texts.length import first_words

GIVEN_WORDS = 12


def given_and_scored(text: str, most_words: int) -> tuple[str, str]:
    """The first words of a text, and what follows them up to `most_words`; nothing where it is too short."""
    start = first_words(" ".join(text.split()), most_words)
    given = first_words(start, GIVEN_WORDS)
    return given, start[len(given) :].strip()


async def nats_of(bench: Bench, subject: Subject) -> dict[str, float]:
    """Nats a token by document, of those that could be scored."""
    most = bench.config.evaluation.perplexity_words
    halves = ((row["document_id"], *given_and_scored(row["text"], most)) for row in bench.documents)
    asked = [Likelihood("evaluate", document_id, given, (scored,)) for document_id, given, scored in halves if scored]
    found: dict[str, float] = {}

    async def work(engine: Engine) -> Tables:
        await asyncio.gather(*(score(one, engine) for one in asked))
        return {}

    async def score(one: Likelihood, engine: Engine) -> None:
        generation = await engine.likelihood(one)
        if generation.failure is None and (value := nats(generation.text)) is not None:
            found[one.subject_id] = value

    settings = [[one.generation_id(subject.plan.models[subject.name]) for one in asked]]
    await bench.kept("perplexity", subject.file, settings, subject.name, work)
    if not found:  # made before: its calls are in `generations`
        for row in bench.store.read("generations", 0, f"perplexity.{subject.file}"):
            if row["finish_reason"] == "scored" and (value := nats(row["completion"])) is not None:
                found[row["subject_id"]] = value
    return dict(sorted(found.items()))  # answers come in any order, and a bootstrap depends on it


def nats(completion: str) -> float | None:
    """Of `Engine.likelihood`'s completion: minus the mean log-probability of a token; None where it has none."""
    (target,) = json.loads(completion)
    if target["logprob"] is None or not target["tokens"] or not math.isfinite(target["logprob"]):
        return None
    return -float(target["logprob"]) / int(target["tokens"])


async def perplexity(bench: Bench) -> list[Measure]:
    """`nats_per_token` of each model, and the paired `difference`.

    Raises:
        NotRun: there are no held-out documents, or the server tells no log-probabilities.
    """
    if not bench.documents:
        raise NotRun("the run has no held-out documents (corpus.heldout_documents, corpus.heldout_share)")
    settings = bench.config.evaluation
    measures, by_model = [], []
    for subject in bench.subjects:
        values = await nats_of(bench, subject)
        if not values:
            raise NotRun(f"the server of the {subject.name} gave no log-probabilities")
        by_model.append(values)
        mean, low, high = mean_interval(list(values.values()), settings.bootstrap_samples, settings.seed)
        details = json.dumps({"perplexity": math.exp(min(mean or 0.0, 700.0))})
        measures.append(Measure(subject.model_id, "nats_per_token", mean, low, high, len(values), details=details))
    if bench.parent:
        both = sorted(by_model[0].keys() & by_model[1].keys())
        gaps = [by_model[1][document] - by_model[0][document] for document in both]
        found = difference_interval(gaps)
        measures.append(Measure(bench.candidate.model_id, "difference", *found, n=len(both)))
    return measures
