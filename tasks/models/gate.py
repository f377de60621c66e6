"""The gate: numbers in, a decision and its words out. No clock, no file, no model."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from schemas.config import Config
from schemas.errors import UserError
from schemas.gating import EXAM, GateConfig
from tasks.models.student import t_quantile

Row = dict[str, Any]
Verdict = Literal["promote", "hold", "roll_back"]
SHARES = ("finished_share", "rated_share")


@dataclass(frozen=True)
class Guard:
    """A metric that may fall by at most `max_fall`; `broken` is None where it was not measured."""

    metric: str
    value: float | None
    max_fall: float
    broken: bool | None


@dataclass(frozen=True)
class Decision:
    """What is done with a candidate, why, and the numbers that it rests on."""

    decision: Verdict
    reason: str
    metric: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    threshold: float | None = None
    guards: tuple[Guard, ...] = ()


def decide(gate: GateConfig, model_id: str, rows: Sequence[Row], asked: int = 1) -> Decision:
    """Promote, hold or roll back a candidate by its rows of `evaluations`; it is the `asked`th of the same parent.

    Rolled back: a guard fell by more than its bound. Held: the metric or a guard was not measured, rests on too few
    problems, its interval does not clear the threshold, or it clears it only among the survivors (see `_survivors`).
    Promoted: all else. A number that is not finite counts as not measured.
    """
    known = {f"{row['suite']}.{row['metric']}": row for row in rows if row["model_id"] == model_id}
    guards = tuple(_guard(known, metric, most) for metric, most in sorted(gate.guards.items()))
    row = known.get(gate.metric, {})
    value, low, high = (_finite(row, end) for end in ("value", "low", "high"))

    def decided(decision: Verdict, reason: str) -> Decision:
        return Decision(decision, reason, gate.metric, value, low, high, row.get("n"), gate.threshold, guards)

    if broken := [guard for guard in guards if guard.broken]:
        said = "; ".join(f"{g.metric} fell by {-(g.value or 0):.4g}, allowed is {g.max_fall:g}" for g in broken)
        return decided("roll_back", f"a guard broke: {said}")
    if missing := [guard.metric for guard in guards if guard.broken is None]:
        return decided("hold", f"the guard {missing[0]} was not measured: {_why(known, rows, missing[0])}")
    if value is None or low is None or high is None:
        return decided("hold", f"{gate.metric} was not measured: {_why(known, rows, gate.metric)}")
    said = f"{gate.metric} {value:+.4g} (95 %: {low:+.4g} to {high:+.4g}, n = {row['n']})"
    if row["n"] is None or row["n"] < gate.min_problems:
        return decided("hold", f"{said} rests on fewer than {gate.min_problems} problems (gate.min_problems)")
    if (end := _corrected(gate, value, low, asked, row["n"])) != low:
        said += f", from {end:+.4g} on as candidate {asked} of the same parent (gate.correct_rounds),"
    if end <= gate.threshold:
        return decided("hold", f"{said} does not clear {gate.threshold:g}")
    missing_too, bounded = _survivors(gate, known, asked)
    return decided("promote" if missing_too else "hold", f"{said} clears {gate.threshold:g}{bounded}")


def _corrected(gate: GateConfig, value: float, low: float, asked: int, n: int) -> float:
    """The low end of the interval for the `asked`th question about one parent.

    Asked often enough, the same problems let any candidate through. The kth question may err in 2.5 % / (k (k + 1)) of
    cases, which over all of them add up to 2.5 %; the interval's lower half is widened as Student's would be.
    """
    if not gate.correct_rounds or n < 2:
        return low
    freedom = n - 1
    wider = t_quantile(1 - 0.025 / (asked * (asked + 1)), freedom) / t_quantile(0.975, freedom)
    return value - (value - low) * wider


def _survivors(gate: GateConfig, known: Mapping[str, Row], asked: int) -> tuple[bool, str]:
    """Whether the difference is also one of the answers that are missing, and what is said of them.

    Where the candidate's answers are finished and rated as often as the parent's (within `gate.share_tolerance`; more
    often is no harm), what is missing is no news of the candidate. Else the difference must clear the threshold with
    the missing answers at their worst. Suites that measure no such shares have nothing missing to tell of.
    """
    suite, most = suite_of(gate.metric), gate.share_tolerance
    fell = [share for share in SHARES if _of(known, suite, f"{share}_difference", 0.0) < -most]
    compared = _of(known, suite, "compared_share", 1.0)
    if not fell and compared >= 1 - most:
        return True, ""
    told = [f"only {compared:.0%} of the comparisons can be read"] if compared < 1 - most else []
    for share in fell:
        ours, change = _of(known, suite, share, math.nan), _of(known, suite, f"{share}_difference", math.nan)
        told.append(f"{ours:.0%} of its answers are {share.removesuffix('_share')} (the parent's: {ours - change:.0%})")
    row = known.get(f"{suite}.worst_difference", {})
    value, low, high = (_finite(row, end) for end in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return False, f" among the answers that are there; but {', '.join(told)}, and the worst case is not known"
    worst = f"with the missing ones at their worst it is {value:+.4g} (95 %: {low:+.4g} to {high:+.4g}, n = {row['n']})"
    clears = _corrected(gate, value, low, asked, row["n"]) > gate.threshold
    ends = "which clears it too" if clears else f"which does not (gate.share_tolerance = {most:g})"
    return clears, f" among the answers that are there; but {', '.join(told)}, and {worst}, {ends}"


def _of(known: Mapping[str, Row], suite: str, metric: str, otherwise: float) -> float:
    value = _finite(known.get(f"{suite}.{metric}", {}), "value")
    return otherwise if value is None else value


def _guard(known: Mapping[str, Row], metric: str, max_fall: float) -> Guard:
    value = _finite(known.get(metric, {}), "value")
    return Guard(metric, value, max_fall, None if value is None else value < -max_fall)


def _finite(row: Row, name: str) -> float | None:
    value = row.get(name)
    return float(value) if row.get("status") == "ok" and value is not None and math.isfinite(value) else None


def _why(known: Mapping[str, Row], rows: Sequence[Row], metric: str) -> str:
    """The reason of the metric's own row, or else of a row of its suite that was not run."""
    suite = suite_of(metric)
    of_suite = [known[metric]] if metric in known else []
    of_suite += [row for row in rows if row["suite"] == suite and row["status"] != "ok"]
    reasons = [str(row["reason"]) for row in of_suite if row.get("reason")]
    return reasons[0] if reasons else f"the suite {suite} gave no such figure"


def suite_of(metric: str) -> str:
    """The suite of a metric, `heldout` of `heldout.difference`; each exam is one, `exam.NAME`."""
    return metric.rpartition(".")[0]


def unfit(gate: GateConfig, reason: str, broken: bool) -> Decision:
    """Of a round without a model to measure: rolled back if training broke it, held if there was nothing to train."""
    return Decision("roll_back" if broken else "hold", reason, gate.metric, threshold=gate.threshold)


def refuse_unmeasured(config: Config) -> None:
    """The gate must not look at what is not measured.

    Raises:
        UserError: names the setting.
    """
    for metric in (config.gate.metric, *config.gate.guards):
        if (suite := suite_of(metric)) not in config.evaluation.measured:
            if suite.startswith(f"{EXAM}."):
                name = suite.removeprefix(f"{EXAM}.")
                raise UserError(
                    f"the gate looks at {metric}: name an exam {name!r} in evaluation.exams and add 'exam' to "
                    "evaluation.suites, or change gate.metric or gate.guards"
                )
            raise UserError(
                f"the gate looks at {metric}: add {suite!r} to evaluation.suites, or change gate.metric or gate.guards"
            )


# Of a problem's difference between two models, two answers each: measured (benchmarks/RESULTS.md), in points of 0 to 2.
DEVIATION = 0.12
WORTH_SEEING = 0.1  # a gain above the threshold that an evaluation should not miss


def gain_seen(problems: int, deviation: float = DEVIATION) -> float:
    """The gain above the threshold that is promoted four times in five, by as many problems."""
    half, chance = (t_quantile(share, max(1, problems - 1)) for share in (0.975, 0.8))  # of the interval; of 4 in 5
    return (half + chance) * deviation / math.sqrt(problems)


def too_few(config: Config) -> str | None:
    """What to say where the held-out problems are too few for the gate; None where they will do."""
    heldout = config.corpus.heldout_documents * config.task.problems_per_document
    problems, threshold = min(config.evaluation.problems, heldout), config.gate.threshold
    if config.gate.metric != "heldout.difference" or not problems or gain_seen(problems) <= WORTH_SEEING:
        return None
    enough = next(n for n in itertools.count(2) if gain_seen(n) <= WORTH_SEEING)
    named = "evaluation.problems" if problems == config.evaluation.problems else "corpus.heldout_documents"
    seen, wanted = threshold + gain_seen(problems), threshold + WORTH_SEEING
    return (
        f"{problems} held-out problems ({named}) are few for gate.threshold = {threshold:g}: to be promoted four times "
        f"in five, a candidate must be better by about {seen:.2f}; for {wanted:g} it takes {enough} problems or more"
    )
