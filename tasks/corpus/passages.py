"""Text as every later stage sees it: normalised, and cut where a reader would pause."""

import bisect
import itertools
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_NEWLINES = re.compile("\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
_UNPRINTED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\ufeff\ud800-\udfff]"
)  # controls, byte-order mark, lone surrogates
_BLANK_LINES = re.compile(r"\n{3,}")

_PARAGRAPH = re.compile(r"\n\s*\n")
_LONG_LINE = re.compile(r"(?<=[^\n]{120})\n")  # a newline ends a paragraph where lines are not wrapped by hand
_SENTENCE = re.compile(r"[.!?…](?<!\b[A-Z]\.)(?<!\b[MDS][rst]\.)(?<!\bMrs\.)[\"'\u201d\u2019)\]]*\s++(?![a-z])")
_WORD = re.compile(r"\S+\s*")
_LEVELS = (_PARAGRAPH, _LONG_LINE, _SENTENCE, _WORD)  # where to cut, best first


def normalise(text: str) -> str:
    """NFC, newlines as `\\n`, nothing unprinted, no trailing spaces, at most one blank line in a row. Idempotent."""
    if not text.replace("\n", " ").isprintable():  # far faster than the two expressions, and true of most texts
        text = _UNPRINTED.sub("", _NEWLINES.sub("\n", text))
    text = "\n".join(line.rstrip() for line in unicodedata.normalize("NFC", text).split("\n"))
    return (_BLANK_LINES.sub("\n\n", text) if "\n\n\n" in text else text).strip()


def word_count(text: str) -> int:
    """Words as whitespace parts them."""
    return len(text.split())


class _Piece(NamedTuple):
    """A stretch of a text that is not cut any further."""

    end: int
    words: int


def passages(text: str, max_words: int) -> list[str]:
    """Cuts a text into the fewest passages of at most `max_words`, of about the same length; no word is lost.

    Cuts are at paragraph ends; only inside a longer paragraph at sentence ends, only inside a longer sentence at words.
    """
    pieces = list(_pieces(text, 0, len(text), max_words))
    ends = [0, *(pieces[bound - 1].end for bound in _bounds([piece.words for piece in pieces], max_words))]
    return [text[start:end].strip() for start, end in itertools.pairwise(ends)]


def opening(text: str, max_words: int) -> str:
    """As much of a text's beginning as `max_words` allow, ending where a passage could."""
    words, end = 0, 0
    for piece in _pieces(text, 0, len(text), max_words):
        words += piece.words
        if words > max_words:
            break
        end = piece.end
    return text[:end].strip()


def _pieces(text: str, start: int, end: int, max_words: int, level: int = 0) -> Iterator[_Piece]:
    """Pieces of at most `max_words` that cover every word, each as coarse as its length allows."""
    words = word_count(text[start:end])
    if words <= max_words:
        if words:
            yield _Piece(end, words)
        return
    cuts: Iterator[int] = (match.end() for match in _LEVELS[level].finditer(text, start, end))
    if _LEVELS[level] is _WORD:
        cuts = itertools.islice(cuts, max(1, max_words // 16) - 1, None, max(1, max_words // 16))
    for cut in itertools.chain(cuts, [end]):
        yield from _pieces(text, start, cut, max_words, level + 1)
        start = cut


def _bounds(words: Sequence[int], max_words: int) -> list[int]:
    """Which pieces end a passage: as few passages as `max_words` allows, then as even as the pieces allow."""
    fewest = len(_filled(words, max_words))
    if fewest < 2:
        return _filled(words, max_words)
    least = max(math.ceil(sum(words) / fewest), *words)
    caps = range(least, max_words)  # a lower cap spreads the words; the lowest that takes no more passages is wanted
    cap = least + bisect.bisect_left(caps, True, key=lambda cap: len(_filled(words, cap)) <= fewest)
    return _evened(words, _filled(words, cap))


def _filled(words: Sequence[int], cap: int) -> list[int]:
    """Bounds of passages that are each filled up to `cap`."""
    bounds, size = [], 0
    for index, count in enumerate(words):
        if size + count > cap:
            bounds.append(index)
            size = 0
        size += count
    return [*bounds, len(words)] if words else []


def _evened(words: Sequence[int], bounds: list[int]) -> list[int]:
    """Moves each bound, from the last on, to the middle of its two passages, so that no small remainder is left."""
    sums = [0, *itertools.accumulate(words)]
    bounds = [0, *bounds]
    for index in range(len(bounds) - 2, 0, -1):
        left, right = bounds[index - 1], bounds[index + 1]
        middle = (sums[left] + sums[right]) / 2
        near = bisect.bisect_left(sums, middle, left + 1, right)
        candidates = [bound for bound in (near - 1, near) if left < bound < right]
        bounds[index] = min(candidates, key=lambda bound: abs(sums[bound] - middle))
    return bounds[1:]
