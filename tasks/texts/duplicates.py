"""Near-duplicate problems, of this round and of all earlier ones.

MinHash with locality-sensitive hashing (rensa) finds the candidates among any number of problems; the verdict is the
exact Jaccard similarity of their word 3-grams, so it does not depend on the hashing.
"""

from collections.abc import Sequence
from typing import Any

from rensa import RMinHash, RMinHashLSH

from tasks.texts.measures import shingles

Row = dict[str, Any]
PERMUTATIONS, BANDS = 128, 32  # four hashes a band: a pair that is half alike is a candidate in 87 % of cases


class Known:
    """Problems seen so far; tells of a new one which of them it repeats."""

    def __init__(self, max_similarity: float) -> None:
        self.max_similarity = max_similarity
        self._index = RMinHashLSH(threshold=max_similarity, num_perm=PERMUTATIONS, num_bands=BANDS)
        self._seen: list[tuple[str, set[str]]] = []

    def add(self, problem_id: str, text: str) -> None:
        """Remember a problem."""
        parts = _parts(text)
        self._index.insert(len(self._seen), _minhash(parts))
        self._seen.append((problem_id, parts))

    def like(self, text: str) -> tuple[str, float] | None:
        """The most similar problem and its similarity, where that is at least `max_similarity`."""
        parts = _parts(text)
        found = [(similarity(parts, self._seen[n][1]), n) for n in self._index.query(_minhash(parts))]
        best, number = max(found, key=lambda pair: (pair[0], -pair[1]), default=(0.0, -1))
        return (self._seen[number][0], best) if best >= self.max_similarity else None

    def mark(self, rows: Sequence[Row]) -> list[Row]:
        """The rows with status `duplicate` for each problem that repeats one seen before; the others are remembered."""
        marked = []
        for row in rows:
            if row["status"] == "ok" and (found := self.like(row["problem"])):
                reason = f"{found[1]:.0%} alike (word 3-grams) to the problem {found[0]}"
                row = row | {"status": "duplicate", "reason": reason}
            elif row["status"] == "ok":
                self.add(row["problem_id"], row["problem"])
            marked.append(row)
        return marked


def similarity(some: set[str], others: set[str]) -> float:
    """Jaccard: shared parts over all parts."""
    return len(some & others) / len(some | others) if some or others else 0.0


def _parts(text: str) -> set[str]:
    """Word 3-grams; a text of one or two words is its own part."""
    return {" ".join(part) for part in shingles(text, 3)} or {" ".join(text.lower().split())}


def _minhash(parts: set[str]) -> RMinHash:
    made = RMinHash(num_perm=PERMUTATIONS, seed=1)
    made.update(sorted(parts))
    return made
