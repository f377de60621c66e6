"""Logprob: one constrained choice of 0, 1 or 2 a criterion, and the expected rating from the three probabilities.

Example: the judge would say "2" with probability 0.50, " 2" with 0.10, "1" with 0.30 and "0" with 0.10. The tokens that
mean 2 add up to 0.60, and the expected rating is (0·0.10 + 1·0.30 + 2·0.60) / 1.00 = 1.5. Of a server that cannot be
constrained, only tokens that are one of the digits count, and what other listed tokens hold is divided out.

Finer than a written mark, and one token a criterion; a judge that hesitates says so.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

from tasks.asking.asker import Asked, Asker
from tasks.asking.parse import Malformed
from tasks.engine.capabilities import LEAST_SHARE
from tasks.engine.turns import together
from tasks.judging.case import Case, Marks, Row, criterion_text, one_by_one
from tasks.prompts import data

DIGITS = ("0", "1", "2")
MOST_DOUBT = 0.1  # by which what is not listed may change the expected rating
ROUNDING = 1e-3  # a log-probability of about 0 may come out a little above it
MOST_LISTED = 1.05  # the listed probabilities' sum: in bfloat16 each is off by up to a hundredth
SPELLINGS = 4  # tokens that mean one digit: "2", " 2", "\n2" and the full-width "２"
_WIDE = str.maketrans("０１２", "012")


async def rate(asker: Asker, rating_id: str, case: Case, answer: Row) -> Asked[Marks]:
    """All criteria of one answer. One that could not be rated makes the rating malformed: the answers of a problem
    must be rated by the same criteria."""
    values = {"problem": data(case.problem), "answer": data(answer["final"])}

    async def mark(number: int, criterion: Row) -> Asked[Row]:
        prompt = asker.plan.prompts.render("judge_digit", values | {"criterion": criterion_text(criterion)})
        asked = await asker.choose(rating_id, f"digit-{number}", prompt, DIGITS, logprobs=True)
        if asked.value is None:
            return Asked(None, asked.generation, asked.status, asked.reason)
        try:
            rating, shares = expected_rating(json.loads(asked.value)["logprobs"])
        except Malformed as why:
            return Asked(None, asked.generation, "malformed", f"{criterion['name']!r}: {why}")
        said = ", ".join(f"p({digit}) = {share:.3f}" for digit, share in zip(DIGITS, shares, strict=True))
        return Asked({"name": criterion["name"], "rating": rating, "thoughts": said}, asked.generation)

    asked = await together(mark(n, criterion) for n, criterion in enumerate(case.rubric["criteria"]))
    for one in asked:
        if one.value is None:
            return Asked(None, one.generation, one.status, one.reason)
    return Asked([one.value for one in asked if one.value], asked[-1].generation)


logprob = one_by_one(rate)


def expected_rating(listed: Sequence[tuple[str, Any]]) -> tuple[float, tuple[float, ...]]:
    """The expected rating, in [0, 2], and the probabilities of 0, 1 and 2 among themselves.

    A server lists some tokens with their log-probabilities, not all. Let L be the sum of the listed probabilities, D
    that of the tokens among them that mean a digit, and E = Σ digit·p / D the expected rating by the list. Tokens that
    are not listed and mean a digit hold together some u, and are worth r in [0, 2] on average, so the truth is

        E' = (E·D + r·u) / (D + u),    |E' - E| = u·|r - E| / (D + u) <= U·max(E, 2 - E) / (D + U)

    for every bound U on u, since u / (D + u) grows with u. There are two: what is left of the probability, 1 - L; and,
    since the likeliest are listed, the least listed probability times the number of tokens that could mean a digit
    (`SPELLINGS` each) and are not listed. The rating holds if the right side, with the smaller of the two, is at most
    `MOST_DOUBT`, and D at least `LEAST_SHARE`.

    Example: only "0" is listed, with 0.51: E = 0, U = 0.49, and the rating may be off by 0.49·2 / 1.00 = 0.98. Listed
    are "2" with 0.70, "1" with 0.25 and "0" with 0.04: U = 0.01, off by 0.01·1.67 / 1.00 = 0.02 at most.

    Raises:
        Malformed: the list does not tell it, with the figures; or what it has is no probability.
    """
    if not listed:
        raise Malformed("the server listed no log-probabilities")
    for token, nats in listed:
        if (
            isinstance(nats, bool)
            or not isinstance(nats, int | float)
            or not (math.isfinite(nats) and nats <= ROUNDING)
        ):
            raise Malformed(f"{nats!r} for {token!r} is no log-probability")
    likely = [(digit_of(token), math.exp(nats)) for token, nats in listed]
    whole = math.fsum(share for _, share in likely)
    if whole > MOST_LISTED:
        raise Malformed(f"the listed probabilities add up to {whole:.2f}")
    sums = [math.fsum(share for meant, share in likely if meant == digit) for digit in DIGITS]
    digits = math.fsum(sums)
    if digits < LEAST_SHARE:
        raise Malformed(f"0, 1 and 2 hold {digits:.2g} of the probability, and at least {LEAST_SHARE:g} is needed")
    rating = math.fsum(n * share for n, share in enumerate(sums)) / digits
    hidden = max(0, SPELLINGS * len(DIGITS) - sum(meant is not None for meant, _ in likely))
    unlisted = min(max(0.0, 1.0 - whole), hidden * min(share for _, share in likely))
    doubt = unlisted * max(rating, 2.0 - rating) / (digits + unlisted)
    if doubt > MOST_DOUBT:
        raise Malformed(
            f"what is not listed may hold {unlisted:.2g} of the probability and change the rating by {doubt:.2g} "
            f"(at most {MOST_DOUBT:g})"
        )
    return min(2.0, rating), tuple(share / digits for share in sums)


def digit_of(token: str) -> str | None:
    """The digit that a token means, without the marks that vocabularies have for white space; None where none."""
    said = token.strip(" \n\t▁ĠĊ").translate(_WIDE)
    return said if said in DIGITS else None
