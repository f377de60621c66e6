"""Choosing a round's documents: one pass over the records, and every text that is not chosen is told or counted."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tasks.corpus.identity import Split, document_id, split_of
from tasks.corpus.passages import normalise, opening, passages, word_count
from tasks.corpus.records import BadRecord, RawDocument, Record
from tasks.corpus.rejects import KEPT, Why
from tasks.corpus.rows import DocumentRow
from tasks.corpus.sampling import Found, Sampler
from tasks.corpus.twins import Earlier

REASONS = 3  # that are named where nothing is usable
__all__ = ["DocumentRow", "Selection", "Split", "document_id", "select", "split_of"]


@dataclass(frozen=True)
class Selection:
    """What one pass over a corpus gives.

    Attributes:
        rows: the chosen by priority, then near-duplicates of the other side's, then rejects by source (a sample of
            them, where there are too many to keep).
        seen: records read; a long text is one, however many passages it gives.
        counts: exact number of documents (passages) a status; `not_sampled` and `excluded` have no rows.
        why: the commonest kinds of reasons why something is not usable, each with an example.
    """

    rows: list[DocumentRow]
    seen: int
    counts: dict[str, int]
    why: list[Why] = field(default_factory=list)


def select(
    records: Iterable[RawDocument | BadRecord],
    *,
    documents: int,
    heldout_documents: int,
    min_words: int,
    max_words: int,
    long_texts: Literal["passages", "cut"],
    heldout_share: float,
    seed: int,
    exclude: Collection[str] = (),
    max_reject_rows: int = KEPT,
    earlier: Iterable[Earlier] = (),
) -> Selection:
    """Chooses documents by their content and a seed; fewer than asked for where there are fewer.

    Args:
        records: the corpus; read once.
        documents: how many to train on.
        heldout_documents: how many to evaluate on.
        min_words: shorter texts and passages become rows with `too_short`.
        max_words: longer texts are cut.
        long_texts: into passages that are documents of their own, or to their opening.
        heldout_share: part of all documents, by their hash, that training never sees.
        seed: another seed chooses other documents of the same splits.
        exclude: ids of documents that earlier rounds used.
        max_reject_rows: bounds the rows, not the counts.
        earlier: documents of earlier rounds, whose near-duplicates stay on their side of the split.
    """
    wanted: dict[Split, int] = {"train": documents, "heldout": heldout_documents}
    sampler = Sampler(wanted, heldout_share, seed, frozenset(exclude), max_reject_rows)
    seen = 0
    for record in records:
        seen += record.count if isinstance(record, BadRecord) else 1
        for one in usable(record, min_words, max_words, long_texts):
            if isinstance(one, Found):
                sampler.offer(one)
            else:
                sampler.reject(*one)
    return settled(sampler, seen, earlier)


def settled(sampler: Sampler, seen: int, earlier: Iterable[Earlier]) -> Selection:
    """The selection, once all is offered."""
    between = sampler.settle(earlier)
    rows = sampler.rows()
    rows[len(sampler.chosen) : len(sampler.chosen)] = between
    return Selection(rows, seen, sampler.counts(), sampler.why(REASONS))


class Refused(NamedTuple):
    """What is not usable, with what is known of it."""

    record: BadRecord
    title: str | None = None
    words: int | None = None


def usable(record: Record, min_words: int, max_words: int, long_texts: str) -> Iterator[Found | Refused]:
    """A record as the documents that it gives, or why it gives none."""
    if isinstance(record, BadRecord):
        yield Refused(record)
        return
    title = (" ".join(normalise(record.title).split()) or None) if record.title else None
    for source, text, reason in texts_of(record, max_words, long_texts):
        words = word_count(text)
        if words >= max(1, min_words):
            yield Found(document_id(text), source, title, text, words, reason)
        elif words:
            why = f"{source} has {words} words, fewer than {min_words}"
            yield Refused(BadRecord(source, "too_short", why), title, words)
        else:
            yield Refused(BadRecord(source, "empty", f"{source} has no text"), title)


def texts_of(record: RawDocument, max_words: int, long_texts: str) -> Iterator[tuple[str, str, str | None]]:
    """(source, text, what was done to it): the text itself, its passages, or its opening."""
    text = normalise(record.text)
    words = word_count(text)
    if words <= max_words:
        yield record.source, text, None
    elif long_texts == "cut":
        short = opening(text, max_words)
        yield record.source, short, f"the first {word_count(short)} of {words} words"
    else:
        for number, passage in enumerate(passages(text, max_words), 1):
            yield f"{record.source}#p{number}", passage, None
