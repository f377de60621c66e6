"""The section of the configuration for an exam: a file of open-ended questions of one's own."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from schemas.section import Section

Kind = Literal["rubric", "baseline", "parent", "gold"]
_PACKED = re.compile(r"(\.(jsonl|csv|parquet))?(\.gz)?$", re.IGNORECASE)


class ExamConfig(Section):
    """A file of prompts, and how they are put to a model."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$",
        description="what its figures are called: exam.NAME.difference; small letters, digits, dash, underscore",
    )
    file: str = Field(min_length=1, description="its prompts: a .jsonl, .csv or .parquet file; the first two also .gz")
    kind: Kind | None = Field(
        None,
        description="rubric: by criteria with points; baseline: against given answers; parent: against the parent's; "
        "gold: by matching; empty: as its columns say",
    )
    baseline: str | None = Field(None, description="file with the baseline's answers, where the rows have none")
    limit: int | None = Field(None, ge=1, description="prompts used, spread over the file; empty: all")
    answers: int = Field(1, ge=1, le=32, description="answers a prompt, of each model")
    temperature: float = Field(0.0, ge=0.0, le=5.0, description="of the answers")
    max_tokens: int | None = Field(None, ge=1, description="tokens of an answer; empty: sampling.answer.max_tokens")


def name_of_file(file: str) -> str:
    """A name for an exam out of its file's."""
    stem = _PACKED.sub("", Path(file).name).lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:40] or "exam"
