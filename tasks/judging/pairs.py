"""Which two of a problem's rated answers become a pair, or why none do: strategies, filters, and controls."""

import heapq
import math
import random
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from schemas.preferences import PairingConfig

LEAST_MARGIN = 1e-12  # what floating point may make of equal scores


@dataclass(frozen=True)
class Rated:
    """An answer with its score."""

    answer_id: str
    final: str
    words: int
    score: float
    own_logprob: float | None = None
    spread: float | None = None  # of the judge's own judgements of it
    reference: bool = False
    hinted: bool = False

    @property
    def blind(self) -> bool:
        """Whether it is the model's own word without the document."""
        return not (self.reference or self.hinted)


@dataclass(frozen=True)
class Beside:
    """What an answer's score is measured by: the reference's, and the judge's usual spread."""

    reference: float | None = None
    usual: float | None = None

    def place(self, rated: list[Rated]) -> float | None:
        """Where the answers lie between nothing and the reference; None where that is not known or tells nothing."""
        own = [answer.score for answer in rated if answer.blind]
        return math.fsum(own) / len(own) / self.reference if own and self.reference else None

    def spreads(self, two: "Two") -> float | None:
        """The margin in units of the judge's own spread; None where it has none."""
        known = [answer.spread for answer in two if answer.spread is not None]
        own = math.sqrt(math.fsum(value**2 for value in known) / 2) if len(known) == len(two) else 0.0
        spread = own or self.usual
        return (two[0].score - two[1].score) / spread if spread else None


Two = tuple[Rated, Rated]  # better one first


@dataclass(frozen=True)
class Outcome:
    """A pair, or why there is none; `two` may be named also where it is refused."""

    two: Two | None
    status: str
    reason: str | None


def usual_spread(rated: list[Rated]) -> float | None:
    """Standard deviation of the answers' scores; None where there are not two."""
    own = [answer.score for answer in rated if answer.blind]
    if len(own) < 2:
        return None
    return math.dist(own, [math.fsum(own) / len(own)] * len(own)) / math.sqrt(len(own) - 1)


MEASURES: dict[str, Callable[[Rated], float | None]] = {
    "own_likelihood": lambda answer: answer.own_logprob, "length": lambda answer: float(answer.words),
}  # fmt: skip


def by_measure(
    rated: list[Rated], judged: list[Outcome], config: PairingConfig, measure: Callable[[Rated], float | None]
) -> list[Outcome]:
    """As many pairs as the judge has made of this problem, the widest by a measure that is not its word."""
    wanted = sum(outcome.status == "ok" for outcome in judged)
    if not wanted:
        return judged
    known = {one.answer_id: one for one in rated if one.blind}  # others are not likely or long by themselves
    found = [replace(one, score=value) for one in known.values() if (value := measure(one)) is not None]
    if len(found) < len(known):
        reason = (
            f"{len(found)} of {len(known)} answers have own_logprob (sampling.own_likelihood, and a server that tells)"
        )
        return [Outcome(None, "no_likelihood", reason)]
    # what is in the judge's points bounds no other measure
    config = config.model_copy(update={"min_margin": 0.0, "min_chosen_score": -math.inf, "min_margin_spreads": 0.0})
    tried = [(two, _fault(two, config)) for two in by_margin(found)]
    if not tried:
        return [Outcome(None, "few_answers", f"{len(found)} rated answers beside the reference; 2 are needed")]
    kept = [Outcome((known[a.answer_id], known[b.answer_id]), "ok", None) for (a, b), fault in tried if fault is None]
    first = tried[0][1] or ("tie", "no two answers differ in the measure of the control")
    return kept[:wanted] or [Outcome(None, *first)]


def choose(
    rated: list[Rated], config: PairingConfig, lot: int = 0, cutoff: float | None = None, beside: Beside = Beside()
) -> list[Outcome]:  # fmt: skip
    """The pairs of one problem by the configured strategy, or the one reason why there are none."""
    if len(rated) < config.min_answers:
        return [Outcome(None, "few_answers", f"{len(rated)} rated answers; {config.min_answers} are needed")]
    if outside := _outside(beside.place(rated), config):
        return [outside]
    scores = [answer.score for answer in rated]
    deviation = math.dist(scores, [math.fsum(scores) / len(scores)] * len(scores)) / math.sqrt(len(scores))
    if deviation < config.min_deviation or max(scores) - min(scores) < LEAST_MARGIN:
        reason = f"the scores' deviation {deviation:.4f} is below {config.min_deviation}, or none at all"
        return [Outcome(None, "tie", reason)]
    if config.control == "random":
        return [_random(rated, config, lot, beside)]
    if config.strategy == "all_above_margin":
        return _all(rated, config, beside)
    best = _widest(rated, config, beside)
    if config.strategy == "top_fraction" and best.status == "ok" and best.two and cutoff is not None:
        margin = best.two[0].score - best.two[1].score
        if margin < cutoff:
            kept = f"is not among the top {config.top_fraction:.0%} of the round (from {cutoff:.3f})"
            return [Outcome(best.two, "low_margin", f"the margin {margin:.3f} {kept}")]
    return [best]


def _outside(place: float | None, config: PairingConfig) -> Outcome | None:
    """Why a problem is left out whose answers lie outside `pairing.window`."""
    if config.window is None or place is None or config.window[0] <= place <= config.window[1]:
        return None
    low, high = config.window
    if place < low:
        why = (
            f"the answers lie at {place:.2f} between nothing and the reference, below {low:g}: the model cannot know it"
        )
        return Outcome(None, "too_far", why)
    why = (
        f"the answers lie at {place:.2f} between nothing and the reference, above {high:g}: the model knows it already"
    )
    return Outcome(None, "known", why)


def _fault(two: Two, config: PairingConfig, beside: Beside = Beside()) -> tuple[str, str] | None:
    """Status and reason of two answers that make no pair."""
    if two[1].reference:
        return "reference", "the reference is never rejected"
    if two[1].hinted:
        return "hinted", "an answer with a hint is never rejected"
    if two[0].score < config.min_chosen_score:
        return "low_score", f"the better answer scores {two[0].score:.3f}, below {config.min_chosen_score:g}"
    spreads = beside.spreads(two) if config.min_margin_spreads else None
    if spreads is not None and spreads < config.min_margin_spreads:
        wanted = f"below {config.min_margin_spreads:g}"
        return "low_margin", f"the widest margin is {spreads:.2f} of the judge's own spread, {wanted}"
    margin = two[0].score - two[1].score
    if margin < max(config.min_margin, LEAST_MARGIN):
        return "low_margin", f"the widest margin {margin:.3f} is below {config.min_margin}"
    if _letters(two[0].final) == _letters(two[1].final):
        return "duplicate", "the answers that differ in score have the same text"
    gap, most = abs(two[0].words - two[1].words), config.max_length_gap_words
    if gap > most:
        return "length_gap", f"no two answers within {most} words; the widest pair differs by {gap}"
    characters, bound = abs(len(two[0].final) - len(two[1].final)), config.max_length_gap_characters
    if bound is not None and characters > bound:
        return "length_gap", f"no two answers within {bound} characters; the widest pair differs by {characters}"
    return None


def _letters(text: str) -> str:
    """A text without what nobody reads: its white space, capitals and Unicode form."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _widest(rated: list[Rated], config: PairingConfig, beside: Beside) -> Outcome:
    """The widest pair without a fault; its reason counts the wider ones that had one."""
    first: Outcome | None = None
    skipped: Counter[str] = Counter()
    for two in by_margin(rated):
        fault = _fault(two, config, beside)
        if fault is None:
            wider = ", ".join(f"{count} {status}" for status, count in sorted(skipped.items()))
            return Outcome(two, "ok", f"wider pairs left out: {wider}" if wider else None)
        if first is None or first.status == "hinted":  # what keeps blind ones apart says more
            first = Outcome(two, *fault)
        if two[0].score - two[1].score < max(config.min_margin, LEAST_MARGIN):
            break  # what follows is closer still; in the judge's spreads it need not be
        skipped[fault[0]] += 1
    assert first is not None
    return first


def _all(rated: list[Rated], config: PairingConfig, beside: Beside) -> list[Outcome]:
    """Every two answers without a fault, widest first, and a line for each kind of fault with its count."""
    kept: list[Outcome] = []
    left: Counter[str] = Counter()
    for two in by_margin(rated):
        fault = _fault(two, config, beside)
        if fault is None and len(kept) < config.max_pairs_per_problem:
            kept.append(Outcome(two, "ok", None))
        else:
            left[fault[0] if fault else "surplus"] += 1
    most = f"beside the {config.max_pairs_per_problem} widest (pairing.max_pairs_per_problem)"
    close = f"closer than {config.min_margin:g} or {config.min_margin_spreads:g} spreads"
    close = close if config.min_margin_spreads else f"closer than {config.min_margin}"
    why = {"low_margin": close, "duplicate": "of the same text", "surplus": most,
           "length_gap": "too different in length", "low_score": f"chosen below {config.min_chosen_score:g}",
           "reference": "that would reject the reference", "hinted": "that would reject a hinted answer"}  # fmt: skip
    return kept + [Outcome(None, kind, f"{count} pairs {why[kind]}") for kind, count in sorted(left.items())]


def _random(rated: list[Rated], config: PairingConfig, lot: int, beside: Beside) -> Outcome:
    """Two answers drawn by lot among those that differ in score, by however little: the better one is chosen."""
    config = config.model_copy(update={"min_margin": 0.0, "min_margin_spreads": 0.0})
    ranked = sorted(rated, key=lambda answer: (-answer.score, answer.answer_id))
    possible = [two for two in combinations(ranked, 2) if _fault(two, config) is None]
    return Outcome(random.Random(lot).choice(possible), "ok", None) if possible else _widest(rated, config, beside)


def by_margin(rated: list[Rated]) -> Iterator[Two]:
    """Every two answers, better one first, widest margin first; ties in margin by length gap, then by id.

    Of the hundreds that there are mostly the first is wanted, so they are not all sorted: a heap has the widest that is
    left of each better answer, which follow each other from the worst answer upwards.
    """

    def order(two: Two) -> tuple[int, str, str]:
        best, worst = two
        return abs(best.words - worst.words), best.answer_id, worst.answer_id

    ranked = sorted(rated, key=lambda answer: (-answer.score, answer.answer_id))
    heap = [(ranked[-1].score - best.score, at, len(ranked) - 1) for at, best in enumerate(ranked[:-1])]
    heapq.heapify(heap)
    while heap:
        margin, together = heap[0][0], list[Two]()
        while heap and heap[0][0] == margin:
            _, at, other = heap[0]
            together.append((ranked[at], ranked[other]))
            if other - 1 > at:
                heapq.heapreplace(heap, (ranked[other - 1].score - ranked[at].score, at, other - 1))
            else:
                heapq.heappop(heap)
        yield from sorted(together, key=order)


def cutoff_of(margins: list[float], fraction: float) -> float | None:
    """The margin of the last problem that is in the top `fraction` (rounded up); None where there is none."""
    ranked = sorted(margins, reverse=True)
    return ranked[math.ceil(len(ranked) * fraction) - 1] if ranked else None
