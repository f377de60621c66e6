"""The formulas of exams: pure functions, checked by hand in the tests."""

import re
import string
import unicodedata
from collections.abc import Sequence
from statistics import fmean

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def points_score(points: Sequence[float], met: Sequence[bool | None]) -> float | None:
    """HealthBench's score of one answer: the points of the criteria that are met over the sum of the positive points.

    As published (arXiv 2505.08775, section 3, and the reference code): it is **not** clipped here and is negative
    where more is lost than won; the mean over prompts is clipped (`clipped_mean`). So -0.5 and 1.0 have the mean 0.25,
    not 0.5. None where a verdict is missing (what was not judged is not "not met"), or no points are positive.

    Example: points 7, 5, 10, -6, of which all but the second are met: (7 + 10 - 6) / 22 = 0.5.
    """
    possible = sum(one for one in points if one > 0)
    if possible == 0 or any(one is None for one in met):
        return None
    return sum(one for one, is_met in zip(points, met, strict=True) if is_met) / possible


def clipped_mean(scores: Sequence[float]) -> float | None:
    """HealthBench's figure of a model: the mean over prompts, clipped to 0..1 as a whole; None where there is none."""
    return min(1.0, max(0.0, fmean(scores))) if scores else None


def win_of(forth: float | None, back: float | None) -> float | None:
    """A win in 0..1 out of the marks (2 won, 1 tied, 0 lost) in both orders; None where one of them is missing.

    Each order counts half: who wins in one order only, as by a judge that names a position, has 0.5.
    """
    return None if forth is None or back is None else (forth + back) / 4


def exact(answer: str, golds: Sequence[str]) -> bool:
    """Whether an answer is one of the right ones, letter by letter but for white space around it."""
    return any(answer.strip() == gold.strip() for gold in golds)


def normalised(text: str) -> str:
    """Without case, punctuation, English articles and repeated white space, as SQuAD's answers are compared
    (arXiv 1606.05250). A text of nothing else stays as it is."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_ARTICLES.sub(" ", folded.translate(_PUNCTUATION)).split()) or folded.strip()


def matches(answer: str, golds: Sequence[str]) -> bool:
    """Whether an answer is a right one after `normalised`."""
    return any(normalised(answer) == normalised(gold) for gold in golds)


def contains(answer: str, golds: Sequence[str]) -> bool:
    """Whether a right answer's words stand in a row in the answer. Long answers may contain it by chance."""
    return any(f" {normalised(gold)} " in f" {normalised(answer)} " for gold in golds)
