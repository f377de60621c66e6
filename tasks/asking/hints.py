"""Hints: a share of the rollouts sees one sentence of the document (`sampling.hints`; beyond the paper).

Where the model cannot find the better answer among its blind ones, a hinted one may be it. It is rated like the others
and may be chosen, and is trained on behind the plain problem; what is rejected is always the model's own blind word.
"""

import math
import random
import re
from collections.abc import Mapping
from typing import Any

from schemas.ids import content_id, seed_of
from tasks.engine.protocol import Message
from tasks.prompts import HINT, data
from tasks.staging.plan import Plan
from tasks.texts.length import WORD, length
from tasks.texts.measures import points_at_source, sentences

Row = dict[str, Any]
_LEAST = 5 * WORD  # what is shorter is a heading, or says nothing by itself
_POINTING = re.compile(
    r"\b(?:(?:the|this|that|your) (?:\w+ )?(?:hint|sentence|statement|line|message)"
    r"|(?:given|provided|above) (?:hint|fact|sentence|information))\b",
    re.IGNORECASE,
)


def is_hinted(share: float, rollout: int) -> bool:
    """Whether a rollout is one of the share: spread evenly; more answers change none that there are.

    Example: by a share of 0.4, of rollouts 0 to 4 the third and the fifth.
    """
    return math.floor((rollout + 1) * share + 1e-9) > math.floor(rollout * share + 1e-9)


def hint_of(plan: Plan, problem: Row, documents: Mapping[str, Row], rollout: int) -> str | None:
    """A sentence of the problem's document, drawn by `sampling.seed`; None for a blind rollout, or if none is fit."""
    document = documents.get(problem["document_id"])
    if document is None or not is_hinted(plan.config.sampling.hints, rollout):
        return None
    usable = [one for one in sentences(document["text"]) if length(one) >= _LEAST]
    lot = seed_of(content_id("hint", plan.config.sampling.seed, problem["problem_id"], rollout))
    return random.Random(lot).choice(usable) if usable else None


def speaks_of_hint(final: str) -> str | None:
    """The phrase by which an answer points at its hint, which stands in no prompt that it would be trained on."""
    match = _POINTING.search(final)
    return match.group(0) if match else points_at_source(final)


def hinted_messages(plan: Plan, problem: str, hint: str) -> tuple[Message, ...]:
    """What the model sees where it is helped: a sentence, and then the plain prompt."""
    values = {"problem": problem, "hint": data(hint)}
    return ({"role": "user", "content": plan.prompts.render(HINT, values)},)
