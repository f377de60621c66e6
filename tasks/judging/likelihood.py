"""Likelihood: nothing is written. How much likelier does an answer make each gold fact of the rubric?

A criterion's gold fact g follows the prompt file `likelihood` (question, answer, "The facts are:") and a space, each
fact for itself. Its gain in nats a token is
    gain = [log p(g | problem, answer) - log p(g | problem, empty answer)] / tokens of g,
which is two figures: what the answer *tells* of the fact, max(0, gain), and what it says *against* it, max(0, -gain).
Each is mapped by 2·tanh(x / 2·scale), so that 0 is "not met", as in the paper, and 2 is a fact made certain; the rating
is that of what is told, and an answer that tells nothing, an empty one first of all, has 0. The score is

    max(0, Σ weight·(mapped told - contradiction_weight · mapped against) / Σ weight).

Example: log p(g) over 8 tokens rises from -24 to -16: told is 1 nat a token, rating 2·tanh(1 / (2 · 0.5)) = 1.52.

Until this was so the rating was 2·σ(gain / scale), 1 for an answer that tells nothing: two answers in three of a 135M
model were worth less than an empty one, and a pair could teach to say nothing. By ranks both order alike: 0.19 ± 0.07
against 0.17 ± 0.06, with the answers' share of words that stand in the document (150 problems, 10 answers each).
`contradiction_weight` is 0 until a measurement speaks for another value.

A criterion without a gold fact has no rating (null), and the weights of the others are renormalised; so has one whose
fact stands in the problem already, since repeating the problem would count as knowing. No such fact at all: the answer
is `unrateable`. Source of the idea: measured against ratings in words on a 135M model, where it is the only judge above
chance.
"""

import json
import math
from functools import lru_cache

from tasks.asking.asker import Asked, Asker
from tasks.engine.protocol import Likelihood
from tasks.judging.case import Case, Marks, Row, one_by_one, score
from tasks.prompts import Prompts, data
from tasks.texts.measures import gram_size, overlap

COPIED_SHARE = 0.6  # of a fact's word 3-grams that stand in the problem
_RUBRICS = 512  # whose baseline is remembered: all answers of a rubric are rated at about the same time


async def rate(asker: Asker, rating_id: str, case: Case, answer: Row) -> Asked[Marks]:
    """All criteria of one answer by two calls: with the answer, and (shared by all answers of the rubric) without."""
    golds = {c["name"]: c["gold"] for c in case.rubric["criteria"] if c["gold"] and not copied(c["gold"], case.problem)}
    if not golds:
        return Asked(None, None, "unrateable", "no criterion has a gold fact that is not in the problem already")
    facts, prompts = tuple(data(gold) for gold in golds.values()), asker.plan.prompts
    # the baseline belongs to the rubric: every answer's rating asks for the same call
    told = await asker.engine.likelihood(_asking(prompts, rating_id, case.problem, facts, answer["final"]))
    untold = await asker.engine.likelihood(_untold(prompts, case.rubric["rubric_id"], case.problem, facts))
    for generation in (told, untold):
        if generation.failure:
            return Asked(None, generation, generation.failure[0], generation.failure[1])
    gains = dict(zip(golds, gains_of(told.text, untold.text), strict=True))
    # a baseline that is missing is missing for all answers; one answer's gap would make its score another measure
    measurable = [name for name, fact in zip(golds, json.loads(untold.text), strict=True) if _known(fact)]
    if lost := [name for name in measurable if gains[name] is None]:
        return Asked(None, told, "malformed", f"the server gave no log-probability of the fact of {lost[0]!r}")
    if all(gain is None for gain in gains.values()):
        return Asked(None, told, "unrateable", "the server gave no log-probabilities")
    scale = asker.plan.config.rating.likelihood_scale_nats
    by_criterion = [(c["name"], gains.get(c["name"])) for c in case.rubric["criteria"]]
    return Asked([
        {"name": name, "rating": rating_of(gain, scale), "thoughts": _gain_text(gain), "told": told_of(gain),
         "against": told_of(None if gain is None else -gain)} for name, gain in by_criterion
    ], told)  # fmt: skip


def _asking(prompts: Prompts, subject_id: str, problem: str, facts: tuple[str, ...], text: str) -> Likelihood:
    values = {"problem": data(problem), "answer": data(text)}
    return Likelihood("judge", subject_id, prompts.render("likelihood", values), facts)


@lru_cache(_RUBRICS)
def _untold(prompts: Prompts, rubric_id: str, problem: str, facts: tuple[str, ...]) -> Likelihood:
    return _asking(prompts, rubric_id, problem, facts, "")


def score_of(asker: Asker, marks: Marks, criteria: list[Row]) -> float | None:
    """What is told, less what is said against the facts by `rating.contradiction_weight`; never below 0."""
    told, rating = score(marks, criteria), asker.plan.config.rating
    if told is None or not rating.contradiction_weight:
        return told
    mapped = [mark | {"rating": rating_of(mark["against"], rating.likelihood_scale_nats)} for mark in marks]
    against = score(mapped, criteria)
    return None if against is None else max(0.0, told - rating.contradiction_weight * against)


likelihood = one_by_one(rate, score_of)


@lru_cache(4 * _RUBRICS)
def copied(gold: str, problem: str) -> bool:
    """Whether a fact stands in the problem already. Facts of one or two words are looked for as they are."""
    return overlap(gold, problem, gram_size(gold, 3)) >= COPIED_SHARE


def gains_of(told: str, untold: str) -> list[float | None]:
    """Gain of each gold fact in nats a token, from two `Engine.likelihood` completions.

    None where a log-probability is missing or is no finite number.
    """
    gains: list[float | None] = []
    for with_answer, without in zip(json.loads(told), json.loads(untold), strict=True):
        known = _known(with_answer) and _known(without)
        gains.append((with_answer["logprob"] - without["logprob"]) / with_answer["tokens"] if known else None)
    return gains


def _known(fact: Row) -> bool:
    return fact["logprob"] is not None and math.isfinite(fact["logprob"])


def rating_of(gain: float | None, scale: float) -> float | None:
    """2·tanh(told / 2·scale), in [0, 2]; None where the gain is not known."""
    told = told_of(gain)
    return None if told is None else 2.0 * math.tanh(min(30.0, told / (2.0 * scale)))


def told_of(gain: float | None) -> float | None:
    """What is told of a fact, in nats a token: a gain above 0, else nothing; None where it is not known."""
    return None if gain is None or math.isnan(gain) else max(0.0, gain)


def _gain_text(gain: float | None) -> str | None:
    return None if gain is None else f"gain {gain:+.3f} nats a token"
