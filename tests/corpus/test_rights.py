"""Files and folders that one has no right to read are rows, and stop nothing."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.config import CorpusConfig
from schemas.errors import UserError
from tasks.corpus import BadRecord, RawDocument, read
from tasks.shard import corpus_stamp, sample_documents

NOBODY = 65534


@pytest.fixture
def corpus() -> Iterator[Path]:
    """A folder that this process, which is nobody while it is used, may list; some of it it may not."""
    folder = Path(tempfile.mkdtemp())
    for name in ("a.txt", "b.txt", "c.jsonl", ".cache/d.txt", "closed/e.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text('{"text": "Words of a line."}\n' if name == "c.jsonl" else f"Words of {name}.")
    for name in ("b.txt", "c.jsonl", ".cache/d.txt", "closed"):
        (folder / name).chmod(0)
    folder.chmod(0o755)
    was = os.geteuid()
    if was == 0:
        os.seteuid(NOBODY)  # root may read everything
    yield folder
    os.seteuid(was)
    (folder / "closed").chmod(0o755)
    shutil.rmtree(folder)


def test_what_may_not_be_read_is_a_row_and_the_rest_is_read(corpus: Path) -> None:
    found = list(read(str(corpus)))
    assert [record.source for record in found if isinstance(record, RawDocument)] == ["a.txt"]
    bad = {record.source: record.reason for record in found if isinstance(record, BadRecord)}
    assert set(bad) == {"b.txt", "c.jsonl", "closed", ".cache/"}
    assert all("Permission denied" in bad[name] for name in ("b.txt", "c.jsonl", "closed"))


def test_a_round_takes_what_may_be_read_and_stands_while_that_is_the_same(corpus: Path) -> None:
    config = CorpusConfig(source=str(corpus), min_words=1, heldout_share=0.0)
    stamp = corpus_stamp(config)
    assert stamp == corpus_stamp(config)
    selection = sample_documents(config)
    assert selection.counts["ok"] == 1 and selection.counts["malformed"] == 2


def test_a_source_that_may_not_be_read_at_all_says_so(corpus: Path) -> None:
    with pytest.raises(UserError, match="Permission denied"):
        sample_documents(CorpusConfig(source=str(corpus / "b.txt")))
    with pytest.raises(UserError, match="Permission denied"):
        sample_documents(CorpusConfig(source=str(corpus / "closed")))
