"""`rating.mode = "auto"`: which way of judging a run keeps, and why; chosen once a run, from a trial of each."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from schemas.config import Config
from tasks.storage.manifests import publish
from tasks.storage.store import Store

TRIED = ("likelihood", "logprob", "pointwise", "pairwise")  # `anchor` is a cheaper `pairwise`
LEAST = 0.05  # what a judge must know beyond the zero line, as in the audit judge_adds_nothing


@dataclass(frozen=True)
class Trial:
    """How a mode did: what it orders beyond the zero line with half its interval, and tokens an answer; or why not."""

    mode: str
    beyond: float | None = None
    beyond_pm: float | None = None
    problems: int = 0
    tokens: float | None = None
    failed: str | None = None

    @property
    def said(self) -> str:
        """In words."""
        if self.beyond is None or self.beyond_pm is None:
            return f"{self.mode}: {self.failed or 'it orders nothing'}"
        figures = f"{self.beyond:+.2f} ± {self.beyond_pm:.2f} beyond the zero line"
        return f"{self.mode}: {figures}, {self.tokens or 0:.0f} tokens an answer"


def best(trials: Sequence[Trial]) -> tuple[Trial, str] | None:
    """The cheapest mode of those that order as well as the best one does, by its interval; None where none orders."""
    able = [trial for trial in trials if trial.beyond is not None and trial.beyond_pm is not None]
    if not able:
        return None
    top = max(able, key=lambda trial: trial.beyond or 0.0)
    least = (top.beyond or 0.0) - (top.beyond_pm or 0.0)
    alike = [trial for trial in able if (trial.beyond or 0.0) >= least]
    cheapest = min(alike, key=lambda trial: (trial.tokens or 0.0, trials.index(trial)))
    why = "it orders best" if cheapest is top else f"it is the cheapest of those within the interval of {top.mode}"
    known = (cheapest.beyond or 0.0) - (cheapest.beyond_pm or 0.0) >= LEAST
    doubt = "" if known else f"; {cheapest.problems} problems do not tell whether it knows more than the zero line"
    return cheapest, f"{why}{doubt} ({'; '.join(trial.said for trial in trials)})"


def _path(store: Store) -> str:
    return f"{store.base}/manifests/rating.json"


def chosen(store: Store) -> dict[str, Any] | None:
    """What the run's trial came to: `mode`, `why` and the `trials`; None where there was none."""
    found = store.manifest(_path(store))
    return found if found and found.get("mode") in TRIED else None


def choose(store: Store, trials: Sequence[Trial]) -> str | None:
    """Keep the best one's name in the run; None where none orders."""
    if (found := best(trials)) is None:
        return None
    trial, why = found
    publish(store, _path(store), {"mode": trial.mode, "why": why, "trials": [asdict(one) for one in trials]})
    return trial.mode


def settled(config: Config, store: Store) -> Config:
    """The configuration with the mode that the run has chosen; until it has, as a run of `pointwise` would be."""
    if config.rating.mode != "auto":
        return config
    return with_mode(config, (chosen(store) or {"mode": "pointwise"})["mode"])


def with_mode(config: Config, mode: str) -> Config:
    """The configuration with another rating mode."""
    return config.model_copy(update={"rating": config.rating.model_copy(update={"mode": mode})})
