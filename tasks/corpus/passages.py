"""Text as every later stage sees it: normalised, and cut where a reader would pause."""

import bisect
import itertools
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tasks.texts.length import WORD, length, word_count
from tasks.texts.scripts import DEPENDENT, UNSPACED

__all__ = ["normalise", "opening", "passages", "word_count"]

_NEWLINES = re.compile("\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
_UNPRINTED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\ufeff\ud800-\udfff]"
)  # controls, byte-order mark, lone surrogates
_BLANK_LINES = re.compile(r"\n{3,}")

_PARAGRAPH = re.compile(r"\n\s*\n")
_LONG_LINE = re.compile(r"(?<=[^\n]{120})\n")  # a newline ends a paragraph where lines are not wrapped by hand
_SENTENCE = re.compile(
    r"(?:[.!?…](?<!\b[A-Z]\.)(?<!\b[MDS][rst]\.)(?<!\bMrs\.)[\"'\u201d\u2019)\]]*\s++"
    r"|[。！？｡．؟۔।॥።။།][\"'\u201d\u2019)\]」』）】]*\s*+)(?![a-z])"
)
_CLAUSE = re.compile(r"[，、；：､][」』）】\u201d\u2019]*\s*+")  # before a run of characters is cut anywhere
_WORD = re.compile(r"\S+\s*")
_CHARACTER = re.compile(  # never before a vowel sign, a closing mark or a full stop
    f"[{UNSPACED}](?:[{DEPENDENT}]"
    rf"|[^\w\s「『（【])*\s*|[^\s{UNSPACED}]+\s*"
)
_LEVELS = (_PARAGRAPH, _LONG_LINE, _SENTENCE, _CLAUSE, _WORD, _CHARACTER)  # where to cut, best first


def normalise(text: str) -> str:
    """NFC, newlines as `\\n`, nothing unprinted, no trailing spaces, at most one blank line in a row. Idempotent."""
    if not text.replace("\n", " ").isprintable():  # far faster than the two expressions, and true of most texts
        text = _UNPRINTED.sub("", _NEWLINES.sub("\n", text))
    text = "\n".join(line.rstrip() for line in unicodedata.normalize("NFC", text).split("\n"))
    return (_BLANK_LINES.sub("\n\n", text) if "\n\n\n" in text else text).strip()


class _Piece(NamedTuple):
    """A stretch of a text that is not cut any further."""

    end: int
    length: int  # in fifths of a word


def passages(text: str, max_words: int) -> list[str]:
    """Cuts a text into the fewest passages of at most `max_words`, of about the same length; no word is lost.

    Cuts are at paragraph ends; only inside a longer paragraph at sentence ends, only inside a longer sentence at words,
    and only where a script has none between characters.
    """
    pieces = list(_pieces(text, 0, len(text), WORD * max_words))
    ends = [0, *(pieces[bound - 1].end for bound in _bounds([piece.length for piece in pieces], WORD * max_words))]
    return [text[start:end].strip() for start, end in itertools.pairwise(ends)]


def opening(text: str, max_words: int) -> str:
    """As much of a text's beginning as `max_words` allow, ending where a passage could."""
    said, end = 0, 0
    for piece in _pieces(text, 0, len(text), WORD * max_words):
        said += piece.length
        if said > WORD * max_words:
            break
        end = piece.end
    return text[:end].strip()


def _pieces(text: str, start: int, end: int, most: int, level: int = 0) -> Iterator[_Piece]:
    """Pieces of at most `most` fifths that cover every word, each as coarse as its length allows."""
    said = length(text[start:end])
    if said <= most or level == len(_LEVELS):
        if said or text[start:end].strip():  # a mark by itself is no word, and is not lost
            yield _Piece(end, said)
        return
    cuts: Iterator[int] = (match.end() for match in _LEVELS[level].finditer(text, start, end))
    if _LEVELS[level] in (_WORD, _CHARACTER):  # not one by one: sixteen pieces are fine enough for any passage
        cuts = itertools.islice(cuts, max(1, most // WORD // 16) - 1, None, max(1, most // WORD // 16))
    for cut in itertools.chain(cuts, [end]):
        yield from _pieces(text, start, cut, most, level + 1)
        start = cut


def _bounds(lengths: Sequence[int], most: int) -> list[int]:
    """Which pieces end a passage: as few passages as `most` allows, then as even as the pieces allow."""
    fewest = len(_filled(lengths, most))
    if fewest < 2:
        return _filled(lengths, most)
    least = max(math.ceil(sum(lengths) / fewest), *lengths)
    caps = range(least, most)  # a lower cap spreads the words; the lowest that takes no more passages is wanted
    cap = least + bisect.bisect_left(caps, True, key=lambda cap: len(_filled(lengths, cap)) <= fewest)
    return _evened(lengths, _filled(lengths, cap))


def _filled(lengths: Sequence[int], cap: int) -> list[int]:
    """Bounds of passages that are each filled up to `cap`."""
    bounds, size = [], 0
    for index, count in enumerate(lengths):
        if size + count > cap:
            bounds.append(index)
            size = 0
        size += count
    return [*bounds, len(lengths)] if lengths else []


def _evened(lengths: Sequence[int], bounds: list[int]) -> list[int]:
    """Moves each bound, from the last on, to the middle of its two passages, so that no small remainder is left."""
    sums = [0, *itertools.accumulate(lengths)]
    bounds = [0, *bounds]
    for index in range(len(bounds) - 2, 0, -1):
        left, right = bounds[index - 1], bounds[index + 1]
        middle = (sums[left] + sums[right]) / 2
        near = bisect.bisect_left(sums, middle, left + 1, right)
        candidates = [bound for bound in (near - 1, near) if left < bound < right]
        bounds[index] = min(candidates, key=lambda bound: abs(sums[bound] - middle))
    return bounds[1:]
