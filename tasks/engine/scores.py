"""Log-probabilities out of a server's JSON: those that can be, and why others cannot."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.engine.dialects import word_logprobs

_RULED_OUT = -1000.0  # nats; vLLM says -9999 of a token that a constraint rules out
_ROUNDING = 1e-3  # a log-probability of about 0 may come out a little above it


def first_token(text: str, tokens: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Token and log-probability of what could have stood where the word of `text` begins, without what was ruled out.

    What is no number is left for the judge to refuse; empty where the server tells nothing.
    """
    listed = word_logprobs(text, tokens)
    return [[token, nats] for token, nats in listed if not _number(nats) or nats > _RULED_OUT]


def target_logprob(choice: Mapping[str, Any], target: Sequence[int]) -> tuple[float | None, str]:
    """Sum of the target tokens' log-probabilities from vLLM's `prompt_logprobs`; or None, and why there is none.

    The entries are looked up by the target's token ids, so that those of another text count for nothing.
    """
    entries = choice.get("prompt_logprobs")
    last = entries[-len(target) :] if isinstance(entries, list) and target else []
    told = [entry.get(str(token)) if isinstance(entry, dict) else None
            for entry, token in zip(last, target, strict=False)]  # fmt: skip
    values = [float(one["logprob"]) for one in told if isinstance(one, dict) and _number(one.get("logprob"))]
    if len(values) != len(target) or not values or not all(map(math.isfinite, values)):
        return None, "the server gave no log-probabilities"
    odd = max(values) if max(values) > _ROUNDING else min(values)
    if odd > 0 or odd < _RULED_OUT:
        return None, f"the server gave {odd:+g} nats, which is no log-probability"
    if not any(values):
        return None, "the server gave 0 nats for every token, as if all were certain"
    return min(math.fsum(values), 0.0), ""


def mean_logprob(tokens: Sequence[Mapping[str, Any]]) -> float | None:
    """Mean log-probability, in nats a token, of the tokens that were written; None where one has none that can be."""
    values = [float(one["logprob"]) for one in tokens if _number(one.get("logprob"))]
    if not values or len(values) != len(tokens) or not all(_RULED_OUT < nats <= _ROUNDING for nats in values):
        return None
    return min(math.fsum(values) / len(values), 0.0)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
