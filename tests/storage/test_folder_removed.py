"""A run whose folder is removed, replaced or made unwritable ends in one line, and no half of it comes back."""

import shutil
from pathlib import Path

import pytest

from schemas.errors import DependencyError
from tasks.engine.journal import Journal
from tasks.storage.lock import run_lock
from tasks.storage.store import Store


@pytest.mark.parametrize("again", [False, True])
def test_whatever_is_not_found_then_is_the_folders_fault_and_it_is_not_made_again(tmp_path: Path, again: bool) -> None:
    store = Store(str(tmp_path), "r1")
    with pytest.raises(DependencyError, match=r"r1, was removed or replaced .* again") as told, run_lock(store):
        shutil.rmtree(tmp_path / "r1")
        if again:
            with run_lock(Store(str(tmp_path), "r1")):  # another process, or a copy that was put back
                pass
        raise FileNotFoundError("some table")
    assert told.value.exit_code == 3 and "\n" not in str(told.value)
    assert not (tmp_path / "r1").exists()


def test_nothing_is_asked_or_written_into_a_folder_that_is_gone(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "r1")
    with pytest.raises(DependencyError), run_lock(store):
        store.require()
        shutil.rmtree(tmp_path / "r1")
        with pytest.raises(DependencyError, match="was removed or replaced"):
            store.require()
        with pytest.raises(DependencyError, match="was removed or replaced"):
            store.publish(str(tmp_path / "r1/answers/round=000/shard-00000.parquet"), b"")
        assert not (tmp_path / "r1").exists()
        raise ValueError
    store.require()  # let go of, it is nobody's


def test_a_mistake_in_a_folder_that_is_there_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), run_lock(Store(str(tmp_path), "r1")):
        raise FileNotFoundError


def test_a_journal_whose_last_lines_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        def close(self) -> None:
            raise PermissionError(1, "Operation not permitted")

    journal = Journal(tmp_path / "answer.jsonl")
    monkeypatch.setattr(journal, "_handle", Refusing())
    with pytest.raises(DependencyError, match=r"cannot write .*answer.jsonl \(Operation not permitted\)"):
        journal.close()
    journal.close()  # and once is enough
