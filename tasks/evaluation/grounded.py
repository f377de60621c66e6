"""Grounded: how much of a held-out document an answer has that was written without it. No model is asked, so that a
judge which deceives itself, or is begged by the answers, shows as a gap between its scores and these.

Let T(x) be the content words of a text (`tasks.texts.measures.content_words`: in every language), P the problem, D the
document, A the answer, and w(t) = ln((N + 1) / df(t)) the weight of a word that stands in df of the N documents of the
exam, so that words of every text weigh little without a list of them. Of an answer

    words     = Σ w(t), t in T(A) ∩ D'    /  Σ w(t), t in D',             D' = T(D) \\ T(P)
    facts     = mean over the rubric's gold facts g of the same with g' = (T(g) ∩ T(D)) \\ T(P) for D'
    precision = Σ w(t), t in A' ∩ T(D)    /  Σ w(t), t in A',             A' = T(A) \\ T(P)
    score     = mean of words and facts; words alone where no fact has a word of the document's own

each from 0 to 1; a problem's figure is the mean over its answers, intervals are over problems. What a fact says beyond
the document counts for nothing, nor does a word that the problem gives away. An answer that is not there has no figure,
and the shares say how many are (as in `heldout`). Where that suite rates the same answers, `agreement` is the
correlation (Pearson, over answers) of the judge's scores with these: a judge whose scores rise from round to round
while it falls praises something else than what it was told to.

Example: the document has "retina" and "vision" beyond the problem, each in this document alone. An answer with "vision"
has words = 1/2; a fact "it harms the retina" has facts = 0.

Limits: it counts words, not truth: "does not harm the retina" has its words too. Another word for the same, or another
form of it in languages that bend their words, counts as absent, for both models alike. A longer answer has more words:
so look at `precision` beside it, which a longer answer that wanders off loses. It says how two models differ, not how
good one is; the reference's own score, written with the document in view, is the scale.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import StatisticsError, fmean
from statistics import correlation as pearson

from schemas.tables import REFERENCE
from tasks.answer import ended
from tasks.evaluation.bench import Bench, Measure
from tasks.evaluation.heldout import answers_of, exam, scores_of
from tasks.evaluation.shares import Marks, gap_measures, share_measures
from tasks.evaluation.statistics import bootstrap, difference_interval, mean_interval
from tasks.storage.store import Row
from tasks.texts.measures import content_words

FIGURES = ("score", "words", "facts", "precision")
Found = Mapping[str, float | None]  # figure to value; None where there is nothing to find


@dataclass(frozen=True)
class Known:
    """What there is to find for one problem."""

    words: frozenset[str]  # of the document, beyond the problem
    facts: tuple[frozenset[str], ...]  # of each gold fact that has some of these
    problem: frozenset[str]


def weights_of(documents: Sequence[str]) -> Callable[[Collection[str]], float]:
    """The weight of a set of words: its sum of ln((N + 1) / df), where a word that no document has counts as in one."""
    seen = Counter(word for text in documents for word in content_words(text))
    return lambda words: math.fsum(math.log((len(documents) + 1) / max(1, seen[word])) for word in words)


def known_of(problem: str, document: str, golds: Sequence[str]) -> Known:
    """The words of a document and of its facts that the problem does not give away."""
    asked = content_words(problem)
    words = frozenset(content_words(document) - asked)
    facts = (frozenset(content_words(gold) & words) for gold in golds)
    return Known(words, tuple(fact for fact in facts if fact), frozenset(asked))


def found_in(answer: str, known: Known, weight: Callable[[Collection[str]], float]) -> Found:
    """The figures of one answer; see the module."""
    said = content_words(answer) - known.problem

    def share(part: Collection[str], whole: Collection[str]) -> float | None:
        return weight(part) / weight(whole) if whole else None

    words = share(said & known.words, known.words)
    facts = [share(said & fact, fact) or 0.0 for fact in known.facts]
    both = [value for value in (words, fmean(facts) if facts else None) if value is not None]
    return {
        "score": fmean(both) if both else None, "words": words, "facts": fmean(facts) if facts else None,
        "precision": share(said & known.words, said),
    }  # fmt: skip


async def grounded(bench: Bench) -> list[Measure]:
    """Each figure of each model, the reference's score, and of the candidate every figure's difference to the parent:
    `difference` is that of the score."""
    test, settings = await exam(bench), bench.config.evaluation
    draws = (settings.bootstrap_samples, settings.seed)
    texts = {row["document_id"]: row["text"] for row in bench.documents}
    golds = {row["problem_id"]: [c["gold"] for c in row["criteria"] if c["gold"]] for row in test.rubrics}
    known = {
        row["problem_id"]: known_of(row["problem"], texts[row["document_id"]], golds[row["problem_id"]])
        for row in test.problems
    }
    weight = weights_of([texts[one] for one in {row["document_id"] for row in test.problems}])
    problems = [row["problem_id"] for row in test.problems]
    measures: list[Measure] = []
    marks: list[dict[str, Marks]] = []
    for subject in bench.subjects:
        answers = await answers_of(bench, test, subject)
        found = {row["answer_id"]: found_in(row["final"], known[row["problem_id"]], weight)
                 for row in answers if row["status"] == "ok"}  # fmt: skip
        marks.append({figure: _marks(problems, answers, found, figure, settings.answers) for figure in FIGURES})
        references = [found[row["answer_id"]] for row in answers if row["rollout"] == REFERENCE]
        values = {figure: list(marks[-1][figure].means().values()) for figure in FIGURES}
        values["reference_score"] = [one["score"] for one in references if one["score"] is not None]
        measures += [_measure(subject.model_id, name, mean_interval(v, *draws), len(v)) for name, v in values.items()]
        measures += share_measures(subject.model_id, marks[-1]["score"])
        if "heldout" in settings.suites:
            judged = (await scores_of(bench, test, subject))[0]
            measures.append(_agreement(subject.model_id, judged, marks[-1]["score"], draws))
    if bench.parent:
        ours, theirs = marks
        measures += gap_measures(bench.candidate.model_id, ours["score"], theirs["score"])
        for figure in FIGURES:
            before = theirs[figure].means()
            gaps = [mean - before[problem] for problem, mean in ours[figure].means().items() if problem in before]
            name = "difference" if figure == "score" else f"{figure}_difference"
            measures.append(_measure(bench.candidate.model_id, name, difference_interval(gaps), len(gaps)))
    return measures


def _marks(
    problems: Sequence[str], answers: Sequence[Row], found: Mapping[str, Found], figure: str, asked: int
) -> Marks:
    """One figure of every answer that was asked for, missing ones included."""
    rows = {(row["problem_id"], row["rollout"]): row for row in answers}
    of = {problem: [rows.get((problem, rollout)) for rollout in range(asked)] for problem in problems}
    scores = {
        problem: [found[row["answer_id"]][figure] if row and row["answer_id"] in found else None for row in mine]
        for problem, mine in of.items()
    }
    return Marks(scores, {p: [row is not None and ended(row) for row in mine] for p, mine in of.items()})


Points = list[tuple[float, float]]  # of the answers to one problem: the judge's score, and the one of this suite


def _agreement(model_id: str, judged: Marks, counted: Marks, draws: tuple[int, int]) -> Measure:
    pairs = ((zip(judged.scores[problem], counted.scores[problem], strict=True)) for problem in sorted(judged.scores))
    found: list[Points] = [[(a, b) for a, b in of if a is not None and b is not None] for of in pairs]
    found = [points for points in found if points]
    value = correlation(found)
    why = None if value is not None else "no two answers differ in both scores"
    status = "ok" if value is not None else "not_run"
    return Measure(model_id, "agreement", value, *bootstrap(found, correlation, *draws), len(found), status, why)


def correlation(found: Sequence[Points]) -> float | None:
    """Pearson's, over all answers; None where one of the two is the same for all."""
    points = [point for of in found for point in of]
    if len({a for a, _ in points}) < 2 or len({b for _, b in points}) < 2:
        return None
    with contextlib.suppress(StatisticsError):
        return pearson([a for a, _ in points], [b for _, b in points])
    return None


def _measure(
    model_id: str, metric: str, found: tuple[float | None, float | None, float | None], n: int
) -> Measure:  # fmt: skip
    why = None if n else "no problem has this figure: no answer of it is ok, or there is nothing in it to be found"
    return Measure(model_id, metric, *found, n=n, status="ok" if n else "not_run", reason=why)
