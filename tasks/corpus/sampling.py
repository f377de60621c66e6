"""Bottom-k sampling: the k documents with the lowest hash of seed and text, in memory that the stream cannot grow.

The order of files, the name of a folder and what else is in the corpus change nothing about which of two documents
comes first; and a later round that excludes what was used goes on where the earlier one ended.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from typing import Generic, TypeVar

from tasks.corpus.identity import Split, hash64, split_of
from tasks.corpus.records import BadRecord
from tasks.corpus.rejects import Rejects, Why, reject_row
from tasks.corpus.rows import DocumentRow
from tasks.corpus.twins import Earlier, reserve, twins

T = TypeVar("T")


class Lowest(Generic[T]):
    """The `limit` items with the lowest keys, whatever order they come in."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._heap: list[tuple[tuple[int, ...], int, T]] = []
        self._pushed = 0  # breaks ties, so that items are never compared

    def push(self, key: tuple[int, ...], item: T) -> T | None:
        """Adds an item; returns the one that has no place, which may be this one."""
        self._pushed += 1
        entry = (tuple(-part for part in key), -self._pushed, item)
        if len(self._heap) < self._limit:
            heappush(self._heap, entry)
            return None
        return heappushpop(self._heap, entry)[2] if self._limit else item

    def items(self) -> list[T]:
        """From the lowest key on."""
        return [item for _, _, item in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


@dataclass(slots=True)
class Found:
    """A document that may be chosen."""

    document_id: str
    source: str
    title: str | None
    text: str
    words: int
    reason: str | None
    priority: int = 0
    split: Split = "train"
    copies: int = 0

    def row(self) -> DocumentRow:
        return DocumentRow(
            document_id=self.document_id,
            source=self.source,
            title=self.title,
            text=self.text,
            words=self.words,
            split=self.split,
            status="ok",
            reason=self.reason,
        )


@dataclass(frozen=True, slots=True)
class _Copy:
    """A second place of a chosen document's text."""

    document_id: str
    source: str
    title: str | None


@dataclass
class Sampler:
    """The state of one pass: what is chosen so far, its copies, and rejects, each bounded."""

    wanted: dict[Split, int]
    heldout_share: float
    seed: int
    exclude: frozenset[str]
    max_reject_rows: int
    chosen: dict[str, Found] = field(default_factory=dict)
    met: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._best: dict[Split, Lowest[Found]] = {
            split: Lowest(limit + reserve(limit)) for split, limit in self.wanted.items()
        }
        self._copies: dict[Split, Lowest[_Copy]] = {split: Lowest(self.max_reject_rows) for split in self.wanted}
        self._rejects = Rejects(self.max_reject_rows)

    def offer(self, found: Found) -> None:
        """Takes a document in, if it is among the lowest so far."""
        if found.document_id in self.exclude:
            self.met["excluded"] += 1
            return
        self.met["offered"] += 1
        known = self.chosen.get(found.document_id)
        if known:
            self._copy(known, found)
            return
        found.split = split_of(found.document_id, self.heldout_share)
        found.priority = hash64(str(self.seed), found.document_id)
        fallen = self._best[found.split].push((found.priority, int(found.document_id, 16)), found)
        self.chosen[found.document_id] = found
        if fallen:
            del self.chosen[fallen.document_id]

    def _copy(self, known: Found, found: Found) -> None:
        """Keeps the lower source as the original, so that the order of files does not matter.

        Copies are kept by their document's priority first: those of documents that fall out later never displace
        those of documents that stay.
        """
        known.copies += 1
        places = [(place.source, place.title, place.reason) for place in (known, found)]
        places.sort(key=lambda place: (_natural(place[0]), place[1] or ""))
        (known.source, known.title, known.reason), (source, title, _) = places
        copy = _Copy(known.document_id, source, title)
        self._copies[known.split].push((known.priority, hash64("reject", source)), copy)

    def reject(self, record: BadRecord, title: str | None = None, words: int | None = None) -> None:
        """Counts what is not usable, and keeps it as a row while there is room."""
        row = reject_row(record.source, record.status, record.reason, title, words)
        self._rejects.add(row, record.count, record.whole)

    def take_over(self, rejects: Rejects, offered: int, excluded: int) -> None:
        """Counts of a whole corpus, where an index has them and only some of its documents were offered here."""
        self._rejects = rejects
        self.met["offered"], self.met["excluded"] = offered - excluded, excluded

    def why(self, kinds: int) -> list[Why]:
        """The commonest kinds of reasons why something is not usable."""
        return self._rejects.why(kinds)

    def settle(self, earlier: Iterable[Earlier] = ()) -> list[DocumentRow]:
        """Leaves no more than is wanted, and nothing whose twin is on the other side; returns those as rows.

        To be called once, when all is offered. Without twins, those stay who would have been drawn without a reserve.
        """
        found = twins(list(self.chosen.values()), earlier)
        left: dict[Split, int] = dict(self.wanted)
        rows: list[DocumentRow] = []
        for drawn in sorted(self.chosen.values(), key=lambda drawn: (drawn.priority, drawn.document_id)):
            twin = found.get(drawn.document_id)
            if left[drawn.split] and not twin:
                left[drawn.split] -= 1
                continue
            del self.chosen[drawn.document_id]
            if left[drawn.split] and twin:
                rows.append({**drawn.row(), "split": twin.side, "status": "twin", "reason": twin.reason})
                self.met["offered"] -= 1 + drawn.copies
                self.met["twin"] += 1 + drawn.copies  # a copy of a twin is one
        return rows

    def rows(self) -> list[DocumentRow]:
        """The chosen by priority, then rejects by source."""
        chosen = sorted(self.chosen.values(), key=lambda found: (found.priority, found.document_id))
        copies = [copy for split in self._copies.values() for copy in split.items() if copy.document_id in self.chosen]
        rejects = self._rejects.rows(map(self._copy_row, copies))
        return [
            *(found.row() for found in chosen),
            *sorted(rejects, key=lambda row: (_natural(row["source"]), row["status"])),
        ]

    def _copy_row(self, copy: _Copy) -> DocumentRow:
        original = self.chosen[copy.document_id]
        row = reject_row(copy.source, "duplicate", f"the same text as {original.source}", copy.title, original.words)
        return {**row, "text": original.text, "split": original.split}

    def counts(self) -> dict[str, int]:
        """Documents a status; all but the chosen and their copies of what was offered is `not_sampled`."""
        met = {
            status: count for status, count in sorted((self.met + self._rejects.counts).items()) if status != "offered"
        }
        duplicates = sum(found.copies for found in self.chosen.values())
        left = self.met["offered"] - len(self.chosen) - duplicates
        return {"ok": len(self.chosen), "not_sampled": left} | ({"duplicate": duplicates} if duplicates else {}) | met


def _natural(source: str) -> list[str | int]:
    """Sorts line 9 before line 10."""
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"(\d{1,18})", source))]
