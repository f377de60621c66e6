"""The row of `documents`, as it is made: by the selection for what is chosen, by the rejects for what is not."""

from typing import TypedDict

from tasks.corpus.identity import Split


class DocumentRow(TypedDict):
    """A row of `documents`: chosen (`ok`), or a reject with its status and a sentence on why."""

    document_id: str
    source: str
    title: str | None
    text: str | None
    words: int | None
    split: Split | None
    status: str
    reason: str | None
