"""What the tests of the corpus share: a selection with small settings."""

from collections.abc import Iterable

from tasks.corpus import BadRecord, RawDocument, Selection, select


def choose(records: Iterable[RawDocument | BadRecord], **changes: object) -> Selection:
    settings: dict[str, object] = {
        "documents": 8, "heldout_documents": 4, "min_words": 1, "max_words": 100, "long_texts": "passages",
        "heldout_share": 0.25, "seed": 0,
    }  # fmt: skip
    return select(records, **(settings | changes))  # type: ignore[arg-type]
