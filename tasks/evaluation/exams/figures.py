"""What an exam says: means with 95 % intervals over prompts, per category too, and the length beside every win rate."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from schemas.exams import Kind
from schemas.gating import EvaluationConfig
from tasks.evaluation.bench import Measure
from tasks.evaluation.exams.formats import Paper
from tasks.evaluation.exams.scoring import clipped_mean
from tasks.evaluation.shares import Marks, gap_measures, share_measures
from tasks.evaluation.statistics import bootstrap, difference_interval, length_controlled, mean_interval, wilson
from tasks.evaluation.winrate import blind

Estimate = tuple[float | None, float | None, float | None]
MAIN: dict[Kind, str] = {"rubric": "score", "baseline": "rate", "gold": "normalised", "parent": "rate"}
WINS: tuple[Kind, ...] = ("baseline", "parent")


@dataclass(frozen=True)
class Result:
    """What a model has got in an exam, by the prompts' ids.

    Attributes:
        marks: score or win of every answer asked for, None where it has none.
        words: of the answers that are there.
        gaps: by how many words each answer is longer than the one that it was compared with.
        others: further shares, by their name.
        unrated: why answers have no mark, counted.
    """

    marks: Marks
    words: Mapping[str, list[float]]
    gaps: Mapping[str, list[float | None]] = field(default_factory=dict)
    others: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    unrated: Counter[str] = field(default_factory=Counter)

    def games(self) -> list[tuple[float, float]]:
        """Of each prompt with a win: its mean, and the mean gap in words."""
        found = []
        for prompt, scores in sorted(self.marks.scores.items()):
            wins = [win for win in scores if win is not None]
            gaps = [gap for gap in self.gaps[prompt] if gap is not None]
            found += [(fmean(wins), fmean(gaps) if gaps else 0.0)] if wins else []
        return found


@dataclass(frozen=True)
class Figures:
    """Makes the measures of one exam."""

    paper: Paper
    settings: EvaluationConfig

    def of_model(self, model_id: str, result: Result) -> list[Measure]:
        """The exam's own figure, over all and by category; words; and the shares that say what it rests on."""
        kind, name, means = self.paper.kind, MAIN[self.paper.kind], result.marks.means()
        found = [self._measure(model_id, name, means)]
        found += [self._measure(model_id, f"{name}[{key}]", part) for key, part in self._by_category(means)]
        if kind in WINS:
            found.append(self._at_equal_length(model_id, result))
            found = self._unless_blind(found, result)
        for other, values in result.others.items():
            share = wilson(sum(values.values()), len(values))
            found += [Measure(model_id, other, *share, n=len(values))] if values else []
        shares = share_measures(model_id, result.marks)
        if kind == "parent":  # what is rated is a comparison, of both models
            shares = [replace(one, metric="compared_share") if one.metric == "rated_share" else one for one in shares]
        return [*found, self.words(model_id, "words", result.words), *shares, self._unrated(model_id, result)]

    def against(self, model_id: str, ours: Result, theirs: Result) -> list[Measure]:
        """How the candidate differs from its parent on the same prompts, by Student's interval; never clipped."""
        mine, other = ours.marks.means(), theirs.marks.means()
        gaps = {prompt: mine[prompt] - other[prompt] for prompt in sorted(mine.keys() & other.keys())}
        found = [self._difference(model_id, "difference", gaps)]
        found += [self._difference(model_id, f"difference[{key}]", part) for key, part in self._by_category(gaps)]
        if self.paper.kind in WINS:
            found = self._unless_blind(self._unless_blind(found, ours), theirs)
        return [*found, *gap_measures(model_id, ours.marks, theirs.marks)]

    def from_half(self, model_id: str, result: Result, parent: Marks) -> list[Measure]:
        """The win rate against the parent as a difference from one half, also at its worst and best for comparisons
        that cannot be had, and at equal length; and how much oftener the candidate finishes."""
        half = {prompt: win - 0.5 for prompt, win in result.marks.means().items()}
        found = [self._difference(model_id, "difference", half)]
        found += [self._difference(model_id, f"difference[{key}]", part) for key, part in self._by_category(half)]
        fair = self._at_equal_length(model_id, result)
        value, low, high = (None if end is None else end - 0.5 for end in (fair.value, fair.low, fair.high))
        found.append(replace(fair, metric="length_controlled_difference", value=value, low=low, high=high))
        found = self._unless_blind(found, result)
        for name, missing in (("worst_difference", 0.0), ("best_difference", 1.0)):
            filled = [fmean(missing if s is None else s for s in row) - 0.5 for row in result.marks.scores.values()]
            found.append(Measure(model_id, name, *difference_interval(filled), n=len(filled)))
        ends, before = result.marks.shares()["finished_share"], parent.shares()["finished_share"]
        found.append(self._difference(
            model_id, "finished_share_difference", {prompt: ends[prompt] - before[prompt] for prompt in ends}
        ))  # fmt: skip
        return found

    def words(self, model_id: str, name: str, words: Mapping[str, Sequence[float]]) -> Measure:
        """Mean words of an answer."""
        values = [fmean(found) for _, found in sorted(words.items()) if found]
        found = mean_interval(values, self.settings.bootstrap_samples, self.settings.seed)
        return Measure(model_id, name, *found, n=len(values), status="ok" if values else "not_run")

    def _measure(self, model_id: str, name: str, means: Mapping[str, float]) -> Measure:
        found = self._estimate(list(means.values()))
        return Measure(
            model_id, name, *found, n=len(means), status="ok" if means else "not_run", reason=self._of(means)
        )

    def _estimate(self, values: list[float]) -> Estimate:
        if self.paper.kind == "gold":
            return wilson(sum(values), len(values))
        mean = clipped_mean if self.paper.kind == "rubric" else _mean
        return self._resampled(values, mean)

    def _resampled(self, values: list[float], mean: Callable[[Sequence[float]], float | None]) -> Estimate:
        return mean(values), *bootstrap(values, mean, self.settings.bootstrap_samples, self.settings.seed)

    def _difference(self, model_id: str, name: str, gaps: Mapping[str, float]) -> Measure:
        status = "ok" if gaps else "not_run"
        return Measure(model_id, name, *difference_interval(list(gaps.values())), n=len(gaps), status=status,
                       reason=self._of(gaps))  # fmt: skip

    def _at_equal_length(self, model_id: str, result: Result) -> Measure:
        games = result.games()
        interval = bootstrap(games, length_controlled, self.settings.bootstrap_samples, self.settings.seed)
        status = "ok" if games else "not_run"
        return Measure(model_id, "length_controlled", length_controlled(games), *interval, n=len(games), status=status)

    def _unrated(self, model_id: str, result: Result) -> Measure:
        """The share of the prompts of which no answer has a mark, and why answers have none."""
        lacking = sum(all(score is None for score in scores) for scores in result.marks.scores.values())
        why = ", ".join(f"{count} {status}" for status, count in sorted(result.unrated.items()))
        share = wilson(lacking, len(result.marks.scores))
        return Measure(model_id, "unrated_share", *share, n=len(result.marks.scores), reason=why or None)

    def _unless_blind(self, measures: list[Measure], result: Result) -> list[Measure]:
        wins = [win for scores in result.marks.scores.values() for win in scores if win is not None]
        if (why := blind(wins)) is None:
            return measures
        return [replace(one, value=None, low=None, high=None, status="uninformative", reason=why) for one in measures]

    def _by_category(self, values: Mapping[str, float]) -> list[tuple[str, dict[str, float]]]:
        """The values of each category; none where the exam has no two."""
        of = {prompt.problem_id: prompt.category for prompt in self.paper.prompts}
        names = sorted({category for category in of.values() if category})
        if len(names) < 2:
            return []
        return [(name, {key: value for key, value in values.items() if of[key] == name}) for name in names]

    def _of(self, values: Mapping[str, float]) -> str | None:
        asked = len(self.paper.prompts)
        return None if values else f"none of {asked} prompts has a mark"


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
