"""A look at a corpus before any model is asked: what would be read, what not and why, how long, in which languages.

One pass over the records, as a round reads them. Counts are exact. What would have to be held for them is not: lengths
are kept as a histogram, copies are counted among documents whose hash is low (all of them, up to `TRACKED`), and
near-duplicates and examples are looked for among those with the lowest hashes, which is a draw by lot.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from schemas.config import CorpusConfig
from tasks.corpus.identity import document_id, hash64, split_of
from tasks.corpus.passages import normalise, word_count
from tasks.corpus.records import BadRecord, Record
from tasks.corpus.sampling import Lowest
from tasks.corpus.select import texts_of
from tasks.texts.length import first_words
from tasks.texts.scripts import language_of
from tasks.texts.twins import Groups

TRACKED = 200_000  # different texts whose copies are counted exactly; of more, a share
COMPARED = 2_000  # documents among which near-duplicates are looked for
EXAMPLES, SHOWN_WORDS, EXAMPLE_REASONS, REASON_CHARS = 10, 40, 3, 300
STEP = 1.05  # of the histogram of lengths: each bin is 5 % wider than the one before
_PLACE = re.compile(r":[\d.+]+$")


@dataclass
class Copies:
    """How many documents are copies of another one, in bounded memory.

    Texts are followed whose hash is below a limit, which is halved whenever there are too many: every copy of a text
    that is followed is met, so the share found is that of the corpus.
    """

    most: int = TRACKED
    limit: int = 2**64
    met: dict[int, int] = field(default_factory=dict)

    def add(self, key: int) -> None:
        """A document with this hash is met."""
        if key < self.limit:
            self.met[key] = self.met.get(key, 0) + 1
            while len(self.met) > self.most:
                self.limit //= 2
                self.met = {known: count for known, count in self.met.items() if known < self.limit}

    @property
    def exact(self) -> bool:
        """Whether every text was followed."""
        return self.limit == 2**64

    def share(self) -> float | None:
        """Share of documents that are copies of one before them; None without documents."""
        documents = sum(self.met.values())
        return (documents - len(self.met)) / documents if documents else None


@dataclass
class Look:
    """What a corpus holds, by the settings of a round."""

    config: CorpusConfig
    records: int = 0
    usable: int = 0
    titled: int = 0
    words: int = 0
    cut: int = 0
    passages: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, list[str]] = field(default_factory=dict)
    files: Counter[str] = field(default_factory=Counter)
    last_file: str | None = None
    languages: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    copies: Copies = field(default_factory=Copies)
    shortest: int | None = None
    longest: int | None = None
    drawn: Lowest[dict[str, Any]] = field(default_factory=lambda: Lowest(COMPARED))

    def add(self, record: Record) -> None:
        """Take a record in."""
        if isinstance(record, BadRecord):
            self.records += record.count
            self._reject(record.status, record.reason, record.count)
            return
        self.records += 1
        self._file(record.source)
        self._measure(normalise(record.text))
        for source, part, note in texts_of(record, self.config.max_words, self.config.long_texts):
            self.passages += source != record.source
            self.cut += bool(note)
            self._offer(source, record.title, part)

    def _measure(self, text: str) -> None:
        """The length of a record as a whole, before it is cut."""
        words = word_count(text)
        self.words += words
        self.lengths[_bin(words)] += 1
        self.shortest = words if self.shortest is None else min(self.shortest, words)
        self.longest = words if self.longest is None else max(self.longest, words)

    def _offer(self, source: str, title: str | None, text: str) -> None:
        words = word_count(text)
        if words < max(1, self.config.min_words):
            status = "too_short" if words else "empty"
            why = f"has {words} words, fewer than {self.config.min_words}" if words else "has no text"
            self._reject(status, f"{source} {why}")
            return
        name = document_id(text)
        self.usable += 1
        self.titled += bool(title)
        self.languages[language_of(text) or "not told"] += 1
        self.splits[split_of(name, self.config.heldout_share)] += 1
        self.copies.add(key := hash64("look", name))
        shown = {"source": source, "title": title, "words": words, "text": text}
        self.drawn.push((key, hash64(source)), shown)

    def _reject(self, status: str, reason: str, count: int = 1) -> None:
        self.statuses[status] += count
        examples = self.reasons.setdefault(status, [])
        if len(examples) < EXAMPLE_REASONS:
            examples.append(normalise(reason)[:REASON_CHARS])

    def _file(self, source: str) -> None:
        """Counts files by their kind: records come file by file."""
        if (name := _PLACE.sub("", source)) != self.last_file:
            self.last_file = name
            self.files["".join(PurePosixPath(name).suffixes[-2:]).lower() or "without a suffix"] += 1

    def quantile(self, share: float) -> int | None:
        """Length in words below which that share of the documents is, to within 5 %."""
        left = share * sum(self.lengths.values())
        for place in sorted(self.lengths):
            left -= self.lengths[place]
            if left <= 0:
                return max(self.shortest or 0, min(self.longest or 0, round(STEP**place)))
        return None

    def near_duplicates(self) -> tuple[int, int]:
        """(documents that are near-duplicates of another one, documents compared), copies left out."""
        texts = [one["text"] for one in self._different()]
        groups = Groups(texts)
        return len(texts) - len({groups.of(place) for place in range(len(texts))}), len(texts)

    def examples(self) -> list[dict[str, Any]]:
        """Ten documents drawn by lot, with the beginning of their text."""
        chosen = self._different()[:EXAMPLES]
        return [one | {"text": " ".join(first_words(one["text"], SHOWN_WORDS).split())} for one in chosen]

    def _different(self) -> list[dict[str, Any]]:
        """The drawn documents, one of each text."""
        return list({one["text"]: one for one in self.drawn.items()}.values())

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        near, compared = self.near_duplicates()
        return {
            "source": self.config.source, "records": self.records, "usable": self.usable, "titled": self.titled,
            "cut": self.cut, "passages": self.passages, "left_out": dict(self.statuses.most_common()),
            "reasons": self.reasons, "files_read": dict(self.files), "splits": dict(self.splits),
            "languages": dict(self.languages.most_common()),
            "words": {
                "total": self.words, "min": self.shortest, "max": self.longest,
                **{f"p{round(100 * share)}": self.quantile(share) for share in (0.05, 0.5, 0.95)},
            },
            "duplicates": {"share": self.copies.share(), "exact": self.copies.exact},
            "near_duplicates": {"found": near, "compared": compared}, "examples": self.examples(),
        }  # fmt: skip


def look(records: Iterable[Record], config: CorpusConfig, told: Callable[[Look], None] = lambda _: None) -> Look:
    """Goes over a corpus once; `told` hears after every record how far that is."""
    found = Look(config)
    for record in records:
        found.add(record)
        told(found)
    return found


def _bin(words: int) -> int:
    return round(math.log(max(words, 1)) / math.log(STEP))
