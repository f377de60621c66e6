"""What the shipped corpora gave before other scripts and twins were looked at, they give still: ids, words, splits."""

import hashlib

import pytest

from tasks.corpus import read, select
from tasks.shard import SAMPLES

BEFORE = [
    ("health_care", "passages", 120, "f2b09bb866c628f0"),
    ("health_care", "cut", 80, "d8422339da904864"),
    ("health_care", "passages", 1024, "9ac5a8d2e8d2eb58"),
    ("general", "passages", 120, "26eb5ee6bcec9747"),
    ("general", "cut", 80, "0ed3ddfd71a26bb0"),
    ("general", "passages", 1024, "7451d9acc223463d"),
    ("creative_writing", "passages", 120, "ea9381f16a8c5c2b"),
    ("creative_writing", "cut", 80, "486833e40c0bd5d8"),
    ("creative_writing", "passages", 1024, "cbea98561c23cd22"),
]


@pytest.mark.parametrize(("name", "long_texts", "max_words", "known"), BEFORE)
def test_english_documents_are_what_they_were(name: str, long_texts: str, max_words: int, known: str) -> None:
    selection = select(
        read(str(SAMPLES / f"{name}.jsonl")), documents=20, heldout_documents=5, min_words=20, max_words=max_words,
        long_texts=long_texts, heldout_share=0.2, seed=3,  # type: ignore[arg-type]
    )  # fmt: skip
    rows = [(row["document_id"], row["words"], row["split"], row["status"]) for row in selection.rows]
    assert hashlib.sha256(repr(rows).encode()).hexdigest()[:16] == known
