"""Logprob: one constrained choice of 0, 1 or 2 a criterion, and the expected rating from the three probabilities.

Example: the judge would say "2" with probability 0.50, " 2" with 0.10, "1" with 0.30 and "0" with 0.10. The tokens that
mean 2 add up to 0.60, and the expected rating is (0·0.10 + 1·0.30 + 2·0.60) / 1.00 = 1.5. Of a server that cannot be
constrained, only tokens that are one of the digits count, and what they leave of the probability is divided out.

Finer than a written mark, and one token a criterion; a judge that hesitates says so.
"""

import asyncio
import json
import math

from tasks.asking.asker import Asked, Asker
from tasks.judging.case import Case, Marks, Row, criterion_text, one_by_one
from tasks.prompts import data

DIGITS = ("0", "1", "2")
TOP_LOGPROBS = 20  # a list this long may have been cut
ROUNDING = 1e-3  # a log-probability of about 0 may come out a little above it
MOST_DOUBT = 0.1  # of the expected rating, where a digit is not among the tokens that the server lists


async def rate(asker: Asker, rating_id: str, case: Case, answer: Row) -> Asked[Marks]:
    """All criteria of one answer. One that could not be rated makes the rating malformed: the answers of a problem
    must be rated by the same criteria."""
    values = {"problem": data(case.problem), "answer": data(answer["final"])}

    async def mark(number: int, criterion: Row) -> Asked[Row]:
        prompt = asker.plan.prompts.render("judge_digit", values | {"criterion": criterion_text(criterion)})
        asked = await asker.choose(rating_id, f"digit-{number}", prompt, DIGITS, logprobs=True)
        if asked.value is None:
            return Asked(None, asked.generation, asked.status, asked.reason)
        shares = digit_shares(json.loads(asked.value)["logprobs"])
        if shares is None:
            return Asked(
                None, asked.generation, "malformed", f"no probabilities of 0, 1 and 2 for {criterion['name']!r}"
            )
        said = ", ".join(f"p({digit}) = {share:.3f}" for digit, share in zip(DIGITS, shares, strict=True))
        return Asked({"name": criterion["name"], "rating": expected(shares), "thoughts": said}, asked.generation)

    asked = await asyncio.gather(*(mark(n, criterion) for n, criterion in enumerate(case.rubric["criteria"])))
    for one in asked:
        if one.value is None:
            return Asked(None, one.generation, one.status, one.reason)
    return Asked([one.value for one in asked if one.value], asked[-1].generation)


logprob = one_by_one(rate)


def expected(shares: tuple[float, ...]) -> float:
    """The expected rating, within [0, 2]."""
    return min(2.0, math.fsum(digit * share for digit, share in enumerate(shares)))


def digit_shares(logprobs: list[tuple[str, float]]) -> tuple[float, ...] | None:
    """Probabilities of 0, 1 and 2 among themselves, summed over the tokens that mean each.

    None where none is listed, where a value is no log-probability, or where what is not listed could matter.
    """
    if not all(math.isfinite(nats) and nats <= ROUNDING for _, nats in logprobs):
        return None
    sums = dict.fromkeys(DIGITS, 0.0)
    for token, nats in logprobs:
        if (digit := token.strip(" \n▁Ġ")) in sums:
            sums[digit] += math.exp(nats)
    total = math.fsum(sums.values())
    if total <= 0:
        return None
    missing = sum(value == 0 for value in sums.values()) if len(logprobs) >= TOP_LOGPROBS else 0
    if 2 * missing * math.exp(min(nats for _, nats in logprobs)) > MOST_DOUBT * total:
        return None
    return tuple(sums[digit] / total for digit in DIGITS)
