"""Texts that are all but the same: found among many by MinHash, decided by what they share.

Two texts are twins if they have the same words (whatever the white space, marks, capitals and Unicode form), or if at
least `SHARE` (0.8, Jaccard) of their word 5-grams are the same and each has `ENOUGH` of them. In a shorter text one
word, such as a number, is what tells two apart: records of one form are no twins. RefinedWeb and SlimPajama take 0.8.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

from rensa import RMinHash, RMinHashLSH

from schemas.ids import content_id
from tasks.texts.measures import words_of

SHARE, ENOUGH, GRAM = 0.8, 50, 5
PERMUTATIONS, BANDS = 128, 32  # four hashes a band: of two texts that share 0.8, one in ten million is missed
_TRIED = 8  # members of a group that a text is compared with before it is taken for no twin
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")


def plain_words(text: str) -> list[str]:
    """Words of a text whatever its Unicode form; what is not seen parts none."""
    return words_of(unicodedata.normalize("NFKC", _UNSEEN.sub("", text)))


def alike(some: frozenset[str], others: frozenset[str]) -> bool:
    """Whether two sets of 5-grams are those of twins."""
    if min(len(some), len(others)) < ENOUGH:
        return False
    shared = len(some & others)
    return shared >= SHARE * (len(some) + len(others) - shared)


def grams(words: Sequence[str]) -> frozenset[str]:
    """Word 5-grams (of characters, in scripts without spaces)."""
    return frozenset(" ".join(words[i : i + GRAM]) for i in range(len(words) - GRAM + 1))


class Groups:
    """Texts, grouped with all their twins and those of their twins; asked by their place in `texts`.

    Memory: the texts, which are the caller's, and about 1 KiB for each.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._root = list(range(len(texts)))
        self._index = RMinHashLSH(threshold=SHARE, num_perm=PERMUTATIONS, num_bands=BANDS)
        self._by_words: dict[str, int] = {}
        self._grams = lru_cache(256)(lambda place: grams(plain_words(texts[place])))
        for place, text in enumerate(texts):
            words = plain_words(text)
            parts = grams(words)
            hashed = _minhash(parts) if len(parts) >= ENOUGH else None
            key = content_id("words", words)
            for root in self._like(key, parts, hashed):
                self._join(root, place)
            self._by_words.setdefault(key, place)
            if hashed:
                self._index.insert(place, hashed)

    def of(self, place: int) -> int:
        """The lowest place in the group of a text."""
        while self._root[place] != place:
            self._root[place] = self._root[self._root[place]]
            place = self._root[place]
        return place

    def like(self, text: str) -> set[int]:
        """The groups (by their lowest place) that a further text would belong to."""
        words = plain_words(text)
        parts = grams(words)
        return set(self._like(content_id("words", words), parts, _minhash(parts) if len(parts) >= ENOUGH else None))

    def _like(self, key: str, parts: frozenset[str], hashed: RMinHash | None) -> Iterator[int]:
        tried: dict[int, int] = {}
        if (place := self._by_words.get(key)) is not None:
            yield (root := self.of(place))
            tried[root] = _TRIED
        for place in sorted(self._index.query(hashed)) if hashed else ():
            root = self.of(place)
            tried[root] = tried.get(root, 0) + 1
            if tried[root] <= _TRIED and alike(parts, self._grams(place)):
                tried[root] = _TRIED
                yield root

    def _join(self, some: int, other: int) -> None:
        low, high = sorted((self.of(some), self.of(other)))
        self._root[high] = low


def _minhash(parts: frozenset[str]) -> RMinHash:
    made = RMinHash(num_perm=PERMUTATIONS, seed=1)
    made.update(sorted(parts))
    return made
