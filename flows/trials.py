"""A trial of the ways of judging, for `rating.mode = "auto"`: each on the same first problems of the run, before its
first round. They are small rounds in the run's folder `trials/`, a root of their own (`pop sql --all --root
data/runs/demo/trials "from judges"`), of which all but the first take over its answers and rubrics."""

from collections.abc import Awaitable, Callable
from typing import Any

from flows.views.display import Display
from schemas.config import Config
from schemas.errors import DependencyError, PopError, UserError
from schemas.preferences import ReuseConfig
from tasks.engine.tries import TooManyFailures
from tasks.staging.chosen import TRIED, Trial, choose, chosen, settled, with_mode
from tasks.storage.db import connect, rows_of
from tasks.storage.store import Store

DOCUMENTS, ANSWERS = 24, 8
Round = Callable[[Config, Store, int, Display, str | None], Awaitable[dict[str, Any]]]


async def with_chosen_mode(config: Config, store: Store, display: Display, run_round: Round) -> Config:
    """The configuration with a concrete rating mode: as it says, as the run has chosen, or by a trial now.

    Raises:
        UserError: no mode works, or none orders the answers.
    """
    if config.rating.mode != "auto" or chosen(store):
        return settled(config, store)
    display.say(f"rating.mode=auto: trying {', '.join(TRIED)} on the first problems")
    trials: list[Trial] = []
    first: str | None = None
    for mode in TRIED:
        there = Store(f"{store.base}/trials" if store.local else f"{store.root}/{store.run}/trials", mode)
        try:
            await run_round(_small(config, mode, first), there, 0, display, None)
        except PopError as error:
            if isinstance(error, DependencyError) and not isinstance(error, TooManyFailures):
                raise  # an outage says nothing of the mode
            trials.append(Trial(mode, failed=" ".join(str(error).split())[:200]))
        else:
            first = first or mode
            trials.append(_found(there, mode))
        display.say(f"rating.mode=auto: {trials[-1].said}")
    if (mode_ := choose(store, trials)) is None:
        raise UserError(f"rating.mode=auto: no way of judging orders the answers; {'; '.join(t.said for t in trials)}")
    display.say(f"rating.mode=auto: {mode_}; {(chosen(store) or {}).get('why')}")
    return with_mode(config, mode_)


def _small(config: Config, mode: str, first: str | None) -> Config:
    """A round that only rates: few documents and answers, nothing trained, no probes."""
    reuse = ReuseConfig(rubrics=f"{first}/0") if first else ReuseConfig()
    return with_mode(config, mode).model_copy(update={
        "corpus": config.corpus.model_copy(update={"documents": min(config.corpus.documents, DOCUMENTS)}),
        "sampling": config.sampling.model_copy(update={"answers": min(config.sampling.answers, ANSWERS)}),
        "training": config.training.model_copy(update={"enabled": False}),
        "gate": config.gate.model_copy(update={"audits": "off"}),
        "evaluation": config.evaluation.model_copy(update={"probes": 0}), "reuse": reuse,
    })  # fmt: skip


def _found(store: Store, mode: str) -> Trial:
    con = connect(store)
    own = rows_of(con, "SELECT * FROM judges WHERE judge = ? AND NOT reference AND round = 0", [mode])
    cost = con.execute(
        """SELECT sum(prompt_tokens + completion_tokens) / (SELECT count(*) FROM ratings WHERE round = 0)
           FROM generations WHERE role = 'judge' AND round = 0 AND reused_from IS NULL"""
    ).fetchone()
    if not own:
        return Trial(mode, failed="no answer was rated")
    row = own[0]
    return Trial(mode, row["beyond"], row["beyond_pm"], row["problems"], cost[0] if cost else None)
