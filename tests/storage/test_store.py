"""What is on disk is whole or not there, known by its fingerprint, and written by one process at a time."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from schemas.errors import DependencyError, UserError
from schemas.tables import TABLES
from tasks.engine.journal import Journal
from tasks.engine.protocol import Generation
from tasks.storage.lock import run_lock
from tasks.storage.store import Damaged, Store
from tests.samples import Row, an_answer

ROOT = Path(__file__).resolve().parents[2]
FOOTER = {"stage": "answer", "fingerprint": "f"}
GENERATION = Generation(
    "g1", "s", "answer", "m", "http://h/v1", [{"role": "user", "content": "Wïe?\n"}], "{}", 'a "b"\n\ud800\x00', "stop",
    3, 4, 0.5, 0,
)  # fmt: skip


def child(code: str) -> subprocess.Popen[str]:
    """Python code in a process of its own, which tells when it is ready by a line."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A run in a folder, and one in an object store."""
    monkeypatch.setenv("POP_CACHE", str(tmp_path / "cache"))
    return Store(str(tmp_path / "runs") if request.param == "local" else f"memory://{tmp_path.name}/runs", "r1")


# Files


def test_rows_come_back_as_they_were_written(store: Store) -> None:
    criterion: Row = {"name": "n", "gold": None, "description": "d", "weight": 1.0}
    rubric: Row = {
        "rubric_id": "r",
        "criteria": [criterion],
        "shown_answer_ids": [],
    }
    store.write("rubrics", 0, "shard-00000", [rubric, {"rubric_id": "s", "status": "malformed"}], FOOTER)
    full, failed = store.read("rubrics", 0, "shard-00000")
    later = {"evidence": None, "support": None, "status": None}
    assert full == rubric | {
        "criteria": [criterion | later],
        "run": "r1",
        "problem_id": None,
        "document_id": None,
        "status": None,
        "reason": None,
        "generation_id": None,
        "reused_from": None,
    }
    assert failed["criteria"] is None  # not an empty list: null
    assert store.read("rubrics", 0, "shard-00000", ["rubric_id"]) == [{"rubric_id": "r"}, {"rubric_id": "s"}]


def test_a_file_without_rows_has_the_tables_columns(store: Store) -> None:
    store.write("pairs", 3, "shard-00000", [], FOOTER)
    with store.fs.open(store.path("pairs", 3, "shard-00000"), "rb") as handle:
        assert pq.read_schema(handle).names == TABLES["pairs"].schema.names
    assert store.files("pairs", 3) == ["shard-00000"]
    assert store.files("pairs", 0) == store.files("answers") == []


def test_the_footer_tells_the_writer(store: Store) -> None:
    store.write("answers", 0, "shard-00000", [an_answer("a")], FOOTER | {"settings": {"deep": ["ü", 1.5, None]}})
    assert store.footer("answers", 0, "shard-00000") == FOOTER | {"settings": {"deep": ["ü", 1.5, None]}}
    assert store.footer("answers", 0, "shard-00001") is None


def test_a_torn_file_has_no_footer(store: Store) -> None:
    store.write("answers", 0, "shard-00000", [an_answer(f"a{n}") for n in range(50)], FOOTER)
    path = store.path("answers", 0, "shard-00000")
    whole = store.fs.cat_file(path)
    for size in (0, 3, len(whole) // 2, len(whole) - 1):
        store.fs.pipe_file(path, whole[:size])
        assert store.footer("answers", 0, "shard-00000") is None
    store.fs.pipe_file(path, b"PAR1" + whole[4:-12] + b"\xff" * 4 + b"PAR1")
    assert store.footer("answers", 0, "shard-00000") is None


def test_a_parquet_file_of_somebody_else_is_not_taken_for_a_shard(store: Store, tmp_path: Path) -> None:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": [1]}), sink)
    store.publish(store.path("answers", 0, "shard-00000"), sink.getvalue().to_pybytes())
    assert store.footer("answers", 0, "shard-00000") is None
    with pytest.raises(Damaged):
        store.read("answers", 0, "shard-00000", ["x", "answer_id"])


def test_what_is_set_aside_is_out_of_the_tables_and_not_lost(store: Store) -> None:
    for _ in range(2):
        store.write("answers", 0, "shard-00000", [an_answer("a")], FOOTER)
        store.set_aside(store.path("answers", 0, "shard-00000"))
    assert store.files("answers") == []
    assert len(store.fs.find(f"{store.base}/superseded/answers/round=000")) == 2


@pytest.mark.parametrize("moment", ["os.fsync", "pathlib.Path.replace"])
def test_a_kill_while_writing_leaves_no_parquet_file_and_the_old_one_whole(tmp_path: Path, moment: str) -> None:
    for before in (None, "old"):
        store = Store(str(tmp_path), f"run-{before}")
        if before:
            store.write("answers", 0, "shard-00000", [an_answer(before)], FOOTER)
        killed = child(f"""
            import os, pathlib
            from tasks.storage.store import Damaged, Store
            {moment} = lambda *_: os.kill(os.getpid(), 9)
            Store({str(tmp_path)!r}, "run-{before}").write("answers", 0, "shard-00000", [{{"answer_id": "new"}}], {{}})
        """)
        assert killed.wait(60) == -signal.SIGKILL
        folder = tmp_path / f"run-{before}" / "answers" / "round=000"
        assert [p.name for p in folder.iterdir() if p.name.endswith(".parquet")] == (
            ["shard-00000.parquet"] if before else []
        )
        assert len(list(folder.iterdir())) == (2 if before else 1)  # the temporary file
        assert store.files("answers", 0) == (["shard-00000"] if before else [])
        if before:
            assert [row["answer_id"] for row in store.read("answers", 0, "shard-00000")] == ["old"]


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    store = Store(str(tmp_path), "r1")
    with pytest.raises(UserError, match="the disk is full"):
        store.write("answers", 0, "shard-00000", [an_answer("a")], FOOTER)
    assert list((tmp_path / "r1" / "answers" / "round=000").iterdir()) == []


def test_a_root_that_cannot_be_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="--root"):
        Store("nosuchscheme://bucket/x", "r1")


# Journal


def journal_with(path: Path, *names: str) -> None:
    """A journal of these generations, let go of."""
    journal = Journal(path)
    for name in names:
        journal.add(replace(GENERATION, generation_id=name))
    journal.close()


def test_a_generation_comes_back_as_it_was(tmp_path: Path) -> None:
    journal_with(tmp_path / "deep" / "j.jsonl", "g1")
    assert Journal(tmp_path / "deep" / "j.jsonl").get("g1") == GENERATION


def test_what_is_added_is_on_disk_at_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.add(GENERATION)
    assert "g1" in Journal(tmp_path / "j")


def test_a_torn_last_line_is_owed_again_and_the_next_line_survives(tmp_path: Path) -> None:
    journal_with(tmp_path / "j", "g1", "g2")
    whole = (tmp_path / "j").read_bytes()
    for size in range(whole.index(b"\n") + 1, len(whole)):  # wherever the kill fell in the second line
        (tmp_path / "j").write_bytes(whole[:size])
        assert ("g1" in Journal(tmp_path / "j"), "g2" in Journal(tmp_path / "j")) == (True, size == len(whole) - 1)
        if size % 40 == 0:
            journal_with(tmp_path / "j", "g3")
            again = Journal(tmp_path / "j")
            assert ["g1" in again, "g2" in again, "g3" in again] == [True, False, True]


def test_lines_of_another_version_or_of_noise_do_no_harm(tmp_path: Path) -> None:
    newer = asdict(replace(GENERATION, generation_id="newer")) | {"colour": "red"}
    older = {
        key: value for key, value in asdict(replace(GENERATION, generation_id="older")).items() if key != "seconds"
    }
    lines = [b"\xff\xfe", b"[]", b"7", b"", json.dumps(newer).encode(), json.dumps(older).encode()]
    (tmp_path / "j").write_bytes(b"\n".join(lines) + b"\n")
    journal = Journal(tmp_path / "j")
    assert journal.get("newer") == replace(GENERATION, generation_id="newer")
    assert "older" not in journal


def test_a_published_shards_journal_is_gone(tmp_path: Path) -> None:
    journal_with(tmp_path / "j", "g1")
    Journal(tmp_path / "j").remove()
    assert not (tmp_path / "j").exists()
    Journal(tmp_path / "j").remove()


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    (tmp_path / "j").symlink_to("/dev/full")
    with pytest.raises(UserError, match="the disk is full"):
        journal.add(GENERATION)
    assert "g1" not in journal


# Lock


def test_a_second_start_says_who_holds_the_run_and_a_dead_holder_does_not(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "r1")
    holder = child(f"""
        import time
        from tasks.storage.lock import run_lock
        from tasks.storage.store import Damaged, Store
        with run_lock(Store({str(tmp_path)!r}, "r1")):
            print("held", flush=True)
            time.sleep(60)
    """)
    try:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"r1 is in use by process {holder.pid} on "), run_lock(store):
            pass
        with run_lock(Store(str(tmp_path), "r2")):  # another run is free
            pass
    finally:
        holder.kill()
        holder.wait()
    with run_lock(store):
        pass
    with run_lock(store):  # and let go of
        pass


def test_one_process_does_not_take_a_run_twice(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "r1")
    with run_lock(store), pytest.raises(UserError, match=f"process {os.getpid()} on "), run_lock(store):
        pass


def test_the_bodys_errors_are_its_own_and_free_the_run(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "r1")
    with pytest.raises(PermissionError, match="theirs"), run_lock(store):
        raise PermissionError("theirs")
    with run_lock(store):
        pass


def test_a_root_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DependencyError, match="choose another --root"), run_lock(Store(str(tmp_path / "file"), "r1")):
        pass
