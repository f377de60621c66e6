"""Near-duplicate documents fall on one side of the split: what is trained on must not stand among what is held out.

A document's own hash says where it belongs, and for one without twins nothing else does. A group of twins with members
on both sides goes where the one with the lowest id belongs, or where an earlier round has put one of them. Its members
that belonged to the other side are drawn for neither: each is a row with the status `twin`.

Only what may be drawn is compared (as many documents as the round asks for, and a reserve that takes the place of
twins), so that the corpus is still read once, in memory that it cannot grow; documents of earlier rounds pass by one at
a time.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from tasks.corpus.identity import Split
from tasks.texts.twins import Groups

SIDES = {"train": "is trained on", "heldout": "is held out"}


class Drawn(Protocol):
    """A document that may be drawn."""

    document_id: str
    source: str
    text: str
    split: Split


class Earlier(NamedTuple):
    """A document that an earlier round has trained on or held out."""

    source: str
    text: str
    split: Split


class Twin(NamedTuple):
    """Why a document is not drawn: the side that its group is on, and one of the group there."""

    side: Split
    reason: str


def reserve(wanted: int) -> int:
    """How many documents beyond those asked for are kept to take the place of twins."""
    return wanted // 8 + 16 if wanted else 0


def twins(drawn: Sequence[Drawn], earlier: Iterable[Earlier] = ()) -> dict[str, Twin]:
    """The documents, by id, that stand on the other side than their group."""
    documents = sorted(drawn, key=lambda document: document.document_id)
    here: set[Split] = {document.split for document in documents}
    groups = Groups([document.text for document in documents]) if len(here) > 1 else None
    fixed: dict[int, dict[Split, str]] = {}
    for known in earlier:
        if other(known.split) in here:
            groups = groups or Groups([document.text for document in documents])
            for group in groups.like(known.text):
                fixed.setdefault(group, {}).setdefault(known.split, f"{known.source} of an earlier round")
    if groups is None:
        return {}
    found: dict[str, Twin] = {}
    for place, document in enumerate(documents):
        group = groups.of(place)
        first = documents[group]
        for side, source in fixed.get(group, {first.split: first.source}).items():
            if side != document.split:
                found[document.document_id] = Twin(side, f"all but the same text as {source}, which {SIDES[side]}")
    return found


def other(split: Split) -> Split:
    """The other side."""
    return "train" if split == "heldout" else "heldout"
