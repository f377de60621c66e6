"""The formulas of exams: pure functions, checked by hand in the tests."""

import re
import sys
import unicodedata
from collections.abc import Sequence
from functools import cache
from statistics import fmean

from tasks.texts.scripts import UNSPACED

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_IN_NUMBER = re.compile(r"(?<=\d)\.(?=\d)|(?<![\w.])[-\u2212](?=\.?\d)")  # 3.14 is not 314, and -5 not 5
_WHOLE = re.compile(r"(?<![\d.])(\d+)\.0+(?![\d.])")  # 72.0, as tables keep whole numbers that had gaps beside them
_KEPT = {".": "\ue000", "-": "\ue001", "\u2212": "\ue001"}
_BACK = str.maketrans({"\ue000": ".", "\ue001": "-"})
_RUN_ON = re.compile(f"[{UNSPACED}]")


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


@cache
def _punctuation() -> dict[int, None]:
    """Of every script, and the symbols that ASCII has."""
    marks = (n for n in range(sys.maxunicode + 1) if unicodedata.category(chr(n))[0] == "P")
    return dict.fromkeys((*marks, *map(ord, "$+<=>^`|~")))


def normalised(text: str) -> str:
    """Without case, punctuation, English articles and repeated white space, as SQuAD's answers are compared
    (arXiv 1606.05250), but for what makes a number another one. A text of nothing else stays as it is.

    Example: "The Seine." is "seine", "-1,000.50" is "-1000.50", "72.0" is "72".
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = _IN_NUMBER.sub(lambda mark: _KEPT[mark[0]], _WHOLE.sub(r"\1", folded))
    bare = kept.translate(_punctuation()).translate(_BACK)
    return " ".join(_ARTICLES.sub(" ", bare).split()) or folded.strip()


def matches(answer: str, golds: Sequence[str]) -> bool:
    """Whether an answer is a right one after `normalised`."""
    return any(normalised(answer) == normalised(gold) for gold in golds)


def contains(answer: str, golds: Sequence[str]) -> bool:
    """Whether a right answer's words stand in a row in the answer. Long answers may contain it by chance."""
    said = normalised(answer)
    return any(f" {gold} " in f" {said} " or (gold in said and _runs_on(gold)) for gold in map(normalised, golds))


def _runs_on(text: str) -> bool:
    """Whether a text is of a script without spaces: there no part of a word is known from a word."""
    return bool(_RUN_ON.match(text[:1]) and _RUN_ON.match(text[-1:]))
