"""How much of an exam a model has answered, and what the missing answers could change.

A mean over what was rated is a mean over the survivors: a model that finishes one answer in five is measured on the
problems that it finds easy. So every answer that was asked for is counted, and a difference between two models is also
given as it would be with the missing ones at the worst, and at the best, that the parent was rated: bounds, whatever
the reason why they are missing (C. F. Manski, Partial Identification of Probability Distributions, 2003).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from schemas.tables import REFERENCE
from tasks.answer import ended
from tasks.evaluation.bench import Measure
from tasks.evaluation.statistics import difference_interval, wilson
from tasks.storage.store import Row

Scores = Mapping[str, Sequence[float | None]]  # of each problem, of each answer asked for; None where it has no score
Finished = Mapping[str, Sequence[bool]]


@dataclass(frozen=True)
class Marks:
    """A model's exam: every answer asked for, whether it is there or not."""

    scores: Scores
    finished: Finished

    def means(self) -> dict[str, float]:
        """Mean score of each problem that has a rated answer."""
        rated = {problem: [score for score in scores if score is not None] for problem, scores in self.scores.items()}
        return {problem: fmean(scores) for problem, scores in sorted(rated.items()) if scores}

    def shares(self) -> dict[str, dict[str, float]]:
        """By figure and problem: the share of its answers that ended by themselves, and that have a score."""
        return {
            "finished_share": {problem: fmean(ends) for problem, ends in sorted(self.finished.items())},
            "rated_share": {p: fmean(s is not None for s in scores) for p, scores in sorted(self.scores.items())},
        }


def marks_of(problems: Sequence[Row], answers: Sequence[Row], ratings: Sequence[Row], asked: int) -> Marks:
    """The marks of `asked` answers to each problem; one without a row is missing like one without a score."""
    score = {row["answer_id"]: row["score"] for row in ratings if row["status"] == "ok"}
    rows = {(row["problem_id"], row["rollout"]): row for row in answers if row["rollout"] != REFERENCE}
    scores: dict[str, list[float | None]] = {}
    finished: dict[str, list[bool]] = {}
    for problem in (row["problem_id"] for row in problems):
        of_problem = [rows.get((problem, rollout)) for rollout in range(asked)]
        scores[problem] = [score.get(row["answer_id"]) if row else None for row in of_problem]
        finished[problem] = [row is not None and ended(row) for row in of_problem]
    return Marks(scores, finished)


def bounded(ours: Scores, theirs: Scores) -> dict[str, list[float]] | None:
    """Differences by problem with the missing answers at their worst and at their best for us.

    Worst: ours where they are missing have the parent's lowest score, its own missing ones its highest. None where the
    parent has no score at all.
    """
    known = [score for scores in theirs.values() for score in scores if score is not None]
    if not known:
        return None

    def gaps(our: float, their: float) -> list[float]:
        return [_filled(ours[problem], our) - _filled(theirs[problem], their) for problem in sorted(ours)]

    low, high = min(known), max(known)
    return {"worst_difference": gaps(low, high), "best_difference": gaps(high, low)}


def _filled(scores: Sequence[float | None], missing: float) -> float:
    return fmean(missing if score is None else score for score in scores)


def share_measures(model_id: str, marks: Marks) -> list[Measure]:
    """Both shares of one model, by Wilson's interval over problems: the answers to one are no independent draws."""
    found = []
    for metric, shares in marks.shares().items():
        value, low, high = wilson(sum(shares.values()), len(shares))
        found.append(Measure(model_id, metric, value, low, high, n=len(shares)))
    return found


def gap_measures(model_id: str, ours: Marks, theirs: Marks) -> list[Measure]:
    """Of the candidate: how its shares differ from the parent's, and the bounds of the difference of scores."""
    found = []
    before = theirs.shares()
    for metric, shares in ours.shares().items():
        gaps = [share - before[metric][problem] for problem, share in shares.items()]
        found.append(Measure(model_id, f"{metric}_difference", *difference_interval(gaps), n=len(gaps)))
    for metric, gaps in (bounded(ours.scores, theirs.scores) or {}).items():
        found.append(Measure(model_id, metric, *difference_interval(gaps), n=len(gaps)))
    return found
