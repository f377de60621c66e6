"""Ids and splits: hashes of a document's text alone, the same in every run, round and folder."""

import hashlib
from typing import Literal

Split = Literal["train", "heldout"]


def document_id(text: str) -> str:
    """The id of a normalised text, wherever it was found."""
    return hashlib.sha256(b"document\0" + text.encode()).hexdigest()[:24]


def reject_id(source: str, status: str) -> str:
    """The id of a row that has no text of its own."""
    return hashlib.sha256(f"reject\0{status}\0{source}".encode()).hexdigest()[:24]


def split_of(document_id: str, heldout_share: float) -> Split:
    """Where a document belongs, in every round and run: no seed moves it."""
    return "heldout" if hash64("split", document_id) < heldout_share * 2**64 else "train"


def hash64(*parts: str) -> int:
    """64 bits that look random and depend on the parts alone."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "big")
