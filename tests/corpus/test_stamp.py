"""The stamp of a corpus is of what is read: a stray file changes nothing, a changed one does, an old stamp stands."""

from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.config import CorpusConfig
from schemas.ids import content_id
from tasks.shard import _mark, corpus_stamp, known_stamp

Change = Callable[[Path], object]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("One text.")
    (folder / "sub" / "b.jsonl").write_text('{"text": "Another text."}\n')
    return folder


def stamp(folder: Path) -> str | None:
    return corpus_stamp(CorpusConfig(source=str(folder)))


def as_it_was(folder: Path) -> str:
    """The stamp by which rounds were made when every file below the folder counted."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return content_id("corpus", [(file.name, file.stat().st_size, _mark(file, True)) for file in files])


def unreadable(folder: Path) -> None:
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "x.txt").write_text("x")
    (folder / ".hidden" / "x.txt").chmod(0)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda folder: (folder / ".DS_Store").write_bytes(b"\0"), True),
        (lambda folder: (folder / "sub" / ".cache.txt").write_text("x"), True),
        (lambda folder: (folder / "cover.png").write_bytes(b"x"), True),
        (unreadable, True),
        (lambda folder: (folder / "a.txt").write_text("One t3xt."), False),
        (lambda folder: (folder / "c.txt").write_text("A third text."), False),
        (lambda folder: (folder / "a.txt").unlink(), False),
    ],
)
def test_only_what_is_read_changes_the_stamp(corpus: Path, change: Change, same: bool) -> None:
    before = stamp(corpus)
    change(corpus)
    assert (stamp(corpus) == before) is same


def test_a_round_made_before_is_not_stale(corpus: Path) -> None:
    assert stamp(corpus) == as_it_was(corpus)  # nothing but what is read
    (corpus / "cover.png").write_bytes(b"x")
    config, old = CorpusConfig(source=str(corpus)), as_it_was(corpus)
    assert known_stamp(config, old) == old != stamp(corpus)
    (corpus / ".DS_Store").write_bytes(b"\0")
    assert known_stamp(config, old) == old
    (corpus / "a.txt").write_text("Changed.")
    assert known_stamp(config, old) == stamp(corpus)
    assert known_stamp(config, None) == stamp(corpus)
