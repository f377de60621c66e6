"""What a training has done to a model, in figures, and which of them are out of bounds (`gate.health`).

A check of weights alone passes a model that answers "Yes Yes Yes". So the steps are looked at, the weights, what the
model thinks of held-out text, and a dozen of its answers beside its parent's to the same prompts by the same sampling.
A figure that was not measured is null, and out of no bound.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from schemas.gating import Bounds, HealthConfig
from schemas.tables import HEALTH

Row = dict[str, Any]
Figures = dict[str, float | None]
PROMPTS, TEXTS, ANSWER_TOKENS = 12, 8, 256  # what a check asks: minutes for a large model, seconds for a small one
RUN = 4  # tokens in a row; one that came before in the answer counts as a repetition


@dataclass(frozen=True)
class Trial:
    """What a trained model is asked, beside the one prompt that it must answer.

    Attributes:
        prompts: chat messages of problems, of the round's pairs.
        texts: documents that no round trains on.
        sampling: of the role that answers.
    """

    prompts: tuple[list[dict[str, str]], ...] = ()
    texts: tuple[str, ...] = ()
    sampling: Mapping[str, Any] | None = None
    seed: int = 0
    bounds: HealthConfig = field(default_factory=HealthConfig)

    def asked(self) -> Row:
        """What check.py reads."""
        drawn: Row = {"temperature": 1.0, "top_p": 1.0, "max_tokens": ANSWER_TOKENS, "stop": []}
        drawn |= dict(self.sampling or {})
        drawn["max_tokens"] = min(drawn["max_tokens"], ANSWER_TOKENS)
        prompts, texts = list(self.prompts[:PROMPTS]), list(self.texts[:TEXTS])
        return drawn | {"prompts": prompts, "texts": texts, "seed": self.seed}


@dataclass(frozen=True)
class Health:
    """The figures of a trained model by their columns in `models`, and what is out of bounds, in words."""

    figures: Figures
    warnings: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


def health(verdict: Mapping[str, Any], steps: Sequence[Row], bounds: HealthConfig) -> Health:
    """Judge a training by check.py's verdict and its steps' metrics."""
    figures = figures_of(verdict, steps)
    found: dict[str, list[str]] = {"warn": [], "broken": []}
    for name, value, at_most, text in _judged(figures):
        limits: Bounds = getattr(bounds, name)
        for level in ("broken", "warn"):
            bound = getattr(limits, level)
            if value is not None and bound is not None and (value > bound if at_most else value < bound):
                found[level].append(f"{text.format(value)} (gate.health.{name}.{level} = {bound:g})")
                break
    return Health(figures, tuple(found["warn"]), tuple(found["broken"]))


def lost(steps: Sequence[Row]) -> str | None:
    """Where the training lost its numbers: the first step whose loss is none."""
    at = min((row["step"] for row in steps if row.get("loss") is None), default=None)
    return None if at is None else f"the loss of step {at} is no finite number: the training came apart there"


def figures_of(verdict: Mapping[str, Any], steps: Sequence[Row]) -> Figures:
    """Every column of `HEALTH`."""
    losses = _numbers(steps, "loss")
    texts, tokens = verdict.get("texts") or [], sum(text["tokens"] for text in verdict.get("texts") or [])
    per_token = {name: sum(text[name] for text in texts) / tokens if tokens else None
                 for name in ("kl", "nats", "parent_nats")}  # fmt: skip
    found: Figures = {
        "largest_loss": max(losses, default=None), "last_loss": losses[-1] if losses else None,
        "largest_grad_norm": max(_numbers(steps, "grad_norm"), default=None),
        "changed_share": _ratio(verdict.get("weights_changed"), verdict.get("weights_compared")),
        "weight_change": _ratio(verdict.get("change_norm"), verdict.get("parent_norm")),
        "kl_from_parent": per_token["kl"], "heldout_nats": per_token["nats"],
        "parent_heldout_nats": per_token["parent_nats"],
    }  # fmt: skip
    for prefix, answers in (("", verdict.get("answers")), ("parent_", verdict.get("parent_answers"))):
        found |= {f"{prefix}{name}": value for name, value in of_answers(answers or []).items()}
    return {name: found[name] if _finite(found[name]) else None for name in HEALTH}


def of_answers(answers: Sequence[Row]) -> Figures:
    """Means over answers: tokens, different tokens that the prompt lacks, repetition, and the share that ended.

    Tokens, because they are counted alike in every language.
    """
    runs = [share for row in answers if (share := repetition(row["ids"])) is not None]
    return {
        "answer_tokens": _mean([len(row["ids"]) for row in answers]),
        "new_tokens": _mean([len(set(row["ids"]) - set(row["prompt_ids"])) for row in answers]),
        "repetition": _mean(runs), "ended_share": _mean([float(row["ended"]) for row in answers]),
    }  # fmt: skip


def repetition(ids: Sequence[int]) -> float | None:
    """Share of an answer's runs of four tokens that stood in it before; None where it is shorter than two runs."""
    runs = [tuple(ids[at : at + RUN]) for at in range(len(ids) - RUN + 1)]
    return 1 - len(set(runs)) / len(runs) if len(runs) > 1 else None


def _judged(figures: Figures) -> list[tuple[str, float | None, bool, str]]:
    """Name in `gate.health`, value, whether it must be at most (else at least) its bound, and what is said of it."""
    f = figures
    shorter = _ratio(f["answer_tokens"], f["parent_answer_tokens"])
    rise = _minus(f["heldout_nats"], f["parent_heldout_nats"])
    return [
        ("loss", f["largest_loss"], True, "the loss of a step was {:.4g}"),
        ("grad_norm", f["largest_grad_norm"], True, "the gradient norm of a step was {:.4g}"),
        ("changed_share", f["changed_share"], False, "only {:.3g} of the weights changed"),
        ("weight_change", f["weight_change"], True, "the weights moved by {:.3g} of their own length"),
        ("kl_from_parent", f["kl_from_parent"], True, "on held-out text it is {:.3g} nats a token from its parent"),
        ("heldout_rise", rise, True, "its loss on held-out text is {:.3g} nats a token above its parent's"),
        ("shorter", shorter, False, "its answers have {:.2f} of the tokens of its parent's"),
        ("longer", shorter, True, "its answers have {:.2f} times the tokens of its parent's"),
        ("new_tokens", _ratio(f["new_tokens"], f["parent_new_tokens"]), False,
         "its answers have {:.2f} of the new tokens of its parent's"),
        ("repetition", _minus(f["repetition"], f["parent_repetition"]), True,
         "the share of its answers that repeats itself is {:.2f} above its parent's"),
        ("ended", _minus(f["parent_ended_share"], f["ended_share"]), True,
         "the share of its answers that end by themselves is {:.2f} below its parent's"),
    ]  # fmt: skip


def _numbers(steps: Sequence[Row], name: str) -> list[float]:
    return [row[name] for row in steps if row.get(name) is not None]


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
