"""What is left out of a corpus: every one is counted, and a fair sample of them is kept as rows.

Fair is: each status of each file has its first row before any has its second, so that sixty thousand short lines do not
drown three damaged ones. Whole files that cannot be read are kept always.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tasks.corpus.identity import hash64, reject_id
from tasks.corpus.passages import normalise
from tasks.corpus.rows import DocumentRow

_REASON_CHARS = 300  # a reason quotes the input, which may be anything
_KINDS = 1000  # different kinds of reasons that are told apart
KEPT = 10_000  # rows of rejects, of any number
_PLACE = re.compile(r":[\d.+]+(?:#p\d+)?$")
_VARYING = re.compile(r"'[^']*'|\d+")
Group = tuple[str, str]  # status and file


class Why(NamedTuple):
    """A kind of reason: how many there are of it, and its example with the lowest place."""

    number: int
    source: str
    reason: str


class Rejects:
    """Counts of everything, rows of at most `limit` rejects (and of every whole file), whatever order they come in."""

    def __init__(self, limit: int) -> None:
        self.counts: Counter[str] = Counter()
        self._limit, self._held = limit, 0
        self.whole: list[DocumentRow] = []
        self._groups: defaultdict[Group, list[tuple[int, DocumentRow]]] = defaultdict(list)
        self._closed: dict[Group, int] = {}  # the lowest key that a group had no room for
        self._why: dict[tuple[str, str], Why] = {}

    def add(self, row: DocumentRow, count: int = 1, whole: bool = False) -> None:
        """Counts a reject, and keeps its row while there is room."""
        self.counts[row["status"]] += count
        self._explain(row, count)
        if whole:
            self.whole.append(row)
        else:
            self._sample(row)

    def _explain(self, row: DocumentRow, count: int) -> None:
        reason = row["reason"] or ""
        source = row["source"]
        # without the place, and without numbers and names: 'line 3 has 2 fields' is one kind with 'line 9 has 5 fields'
        kind = (row["status"], _VARYING.sub("*", reason.removeprefix(_file_of(source))))
        known = self._why.get(kind)
        if known is None and len(self._why) >= _KINDS:
            return
        example = (source, reason)
        if known and (len(known.source), known.source) <= (len(source), source):
            example = (known.source, known.reason)
        self._why[kind] = Why((known.number if known else 0) + count, *example)

    def _sample(self, row: DocumentRow) -> None:
        group, key = (row["status"], _file_of(row["source"])), hash64("reject", row["source"])
        if key >= self._closed.get(group, 2**64):
            return
        self._groups[group].append((key, row))
        self._held += 1
        if self._held > 2 * self._limit + 1000:
            self._trim()

    def _trim(self) -> None:
        """Keeps what would be kept if this were the end. No later row can bring back what falls out here: the number
        of rows before it only grows."""
        kept = {id(row) for row in _fairest(self._groups, self._limit)}
        for group, rows in self._groups.items():
            out = [key for key, row in rows if id(row) not in kept]
            if out:
                self._closed[group] = min(out)
            rows[:] = [(key, row) for key, row in rows if id(row) in kept]
        self._held = len(kept)

    @classmethod
    def kept(
        cls, limit: int, counts: Mapping[str, int], why: Iterable[Why], rows: Iterable[tuple[DocumentRow, bool]]
    ) -> "Rejects":
        """What an earlier pass over the same corpus has counted, and the rows (each with its `whole`) it has kept."""
        rejects = cls(limit)
        rejects.counts.update(counts)
        rejects._why = {("", str(place)): one for place, one in enumerate(why)}
        for row, whole in rows:
            if whole:
                rejects.whole.append(row)
            else:
                rejects._sample(row)
        return rejects

    def rows(self, more: Iterable[DocumentRow] = ()) -> list[DocumentRow]:
        """The rows to keep, with `more` of them that take part in the sample and are counted elsewhere."""
        groups: defaultdict[Group, list[tuple[int, DocumentRow]]] = defaultdict(list)
        for group, rows in self._groups.items():
            groups[group] += rows
        for row in more:
            groups[row["status"], _file_of(row["source"])].append((hash64("reject", row["source"]), row))
        return [*self.whole, *_fairest(groups, self._limit)]

    def why(self, kinds: int) -> list[Why]:
        """The commonest kinds of reasons, each with an example."""
        return sorted(self._why.values(), key=lambda why: (-why.number, why.source))[:kinds]


def reject_row(source: str, status: str, reason: str, title: str | None, words: int | None) -> DocumentRow:
    """The row of a reject, which has no text of its own."""
    return DocumentRow(
        document_id=reject_id(source, status),
        source=source,
        title=title,
        text=None,
        words=words,
        split=None,
        status=status,
        reason=normalise(reason)[:_REASON_CHARS],
    )


def _fairest(groups: dict[Group, list[tuple[int, DocumentRow]]], limit: int) -> list[DocumentRow]:
    """The `limit` rows that come first when every group gives one in turn."""
    ranked = [
        (rank, key, row)
        for rows in groups.values()
        for rank, (key, row) in enumerate(sorted(rows, key=lambda entry: entry[0]))
    ]
    return [row for _, _, row in sorted(ranked, key=lambda entry: entry[:2])[:limit]]


def _file_of(source: str) -> str:
    """The file of a row: `a.jsonl` of `a.jsonl:17#p2`."""
    return _PLACE.sub("", source)
