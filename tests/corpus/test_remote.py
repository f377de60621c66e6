"""A corpus in an object store gives the documents that its copy on a disk gives, and only ranges of it are fetched."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from schemas.config import CorpusConfig
from schemas.errors import DependencyError, UserError
from tasks.corpus import index, parts
from tasks.corpus.index import make
from tasks.corpus.parts import Cursor, parts_of
from tasks.corpus.readers import read
from tasks.corpus.records import BadRecord
from tasks.corpus.remote import _Ranges
from tasks.corpus.select import Selection
from tasks.shard import corpus_stamp
from tests.corpus.test_index import (  # noqa: F401  (corpus is a fixture)
    MAKING,
    ROOT,
    config,
    corpus,
    indexed,
    plain,
    quiet,
    table,
    texts,
)
from tests.corpus.test_twins import prose


@pytest.fixture
def url(bucket: str, tmp_path: Path) -> str:
    return f"{bucket}/{tmp_path.name}"


def fs() -> Any:
    import s3fs

    return s3fs.S3FileSystem(use_listings_cache=False)


def at(url: str, **changes: object) -> CorpusConfig:
    return config(Path("x"), **changes).model_copy(update={"source": url})


def put(folder: Path, url: str) -> None:
    fs().put(f"{folder}/", url, recursive=True)


def test_the_documents_are_those_of_a_copy_on_a_disk(corpus: Path, url: str, tmp_path: Path) -> None:  # noqa: F811
    (corpus / "_tmp").mkdir()
    (corpus / "_tmp" / ".hidden.txt").write_text(prose(7, 40))
    (corpus / "README.md").write_text("A card")
    with (
        pa.OSFile(str(corpus / "f.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, pa.schema([("text", "string")])) as out,
    ):
        out.write_table(pa.table({"text": texts(500, 20)}))
    put(corpus, url)
    for marker in (url, f"{url}/deep"):  # which consoles leave; see tests/models/test_travel.py
        bucket, _, key = marker.removeprefix("s3://").partition("/")
        fs().call_s3("put_object", Bucket=bucket, Key=f"{key}/", Body=b"")
    here, there = config(corpus), at(url)
    wanted = plain(here, [], [])
    assert plain(there, [], []) == wanted and {row["status"] for row in wanted.rows} >= {"ok", "unread", "malformed"}
    make(url, there, tmp_path / "index", quiet)
    assert indexed(there, tmp_path / "index", [], []) == wanted
    one = f"{url}/a.jsonl"
    assert list(read(one)) == list(read(str(corpus / "a.jsonl")))


def test_only_what_is_drawn_is_fetched(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    found = [prose(n, 60) for n in range(3_000)]
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text, "more": "x" * 6_000}) + "\n" for text in found))
    table(folder / "b.parquet", [prose(n, 60) for n in range(5_000, 8_000)], 20)
    put(folder, url)
    given = at(url, documents=3, heldout_documents=0)
    make(url, given, tmp_path / "index", quiet)
    fetched, fetch = list[int](), _Ranges._fetch

    def counted(self: _Ranges) -> None:
        fetch(self)
        fetched.append(len(self._block))

    monkeypatch.setattr(_Ranges, "_fetch", counted)
    drawn = indexed(given, tmp_path / "index", [], [])
    whole = sum(one.stat().st_size for one in folder.iterdir())
    assert drawn.seen == 6_000 and sum(fetched) < whole / 5 and max(fetched) <= 1 << 18
    assert drawn == plain(config(folder, documents=3, heldout_documents=0), [], [])


def test_a_killed_index_goes_on_and_is_what_it_would_have_been(
    corpus: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    put(corpus, url)
    given, killed = at(url), tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", MAKING, str(killed), given.model_dump_json()], cwd=ROOT)
    while len(parts_of(killed)) < 3:
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    monkeypatch.setattr(index, "PART_ROWS", 10)
    monkeypatch.setattr(parts, "BATCH_ROWS", 10)
    stood = [(path.name, path.stat().st_mtime_ns) for path in parts_of(killed)[:3]]
    make(url, given, killed, quiet)
    assert [(path.name, path.stat().st_mtime_ns) for path in parts_of(killed)[:3]] == stood
    assert indexed(given, killed, [], []) == plain(config(corpus), [], [])


def test_what_has_changed_is_told_and_read_again_alone(
    corpus: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    monkeypatch.setattr(index, "PART_ROWS", 30)
    put(corpus, url)
    given, folder, read_again = at(url), tmp_path / "index", list[str]()
    make(url, given, folder, quiet)
    stamp = corpus_stamp(given)
    fs().pipe_file(f"{url}/d.csv", (corpus / "d.csv").read_bytes().replace(b",x\n", b",y\n"))  # of the same size
    with pytest.raises(UserError, match=r"d\.csv is another than it was"):
        indexed(given, folder, [], [])
    assert corpus_stamp(given) != stamp

    def told(_cursor: Cursor, name: str) -> None:
        read_again.append(name)

    make(url, given, folder, told)
    assert "d.csv" in read_again and "a.jsonl" not in read_again
    assert isinstance(indexed(given, folder, [], []), Selection)


@pytest.mark.parametrize("name", ["b.jsonl.gz", "c.parquet"])
def test_a_file_that_changes_while_it_is_read_ends_the_reading(corpus: Path, url: str, name: str) -> None:  # noqa: F811
    put(corpus, url)
    records = read(url)
    next(record for record in records if not isinstance(record, BadRecord))
    fs().pipe_file(f"{url}/{name}", (corpus / name).read_bytes()[::-1])
    with pytest.raises(DependencyError, match=rf"{name} .*changed while it was read"):
        list(records)


def test_a_store_that_goes_down_is_an_error_and_never_a_reject(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for setting, value in {"ENDPOINT_URL": f"http://{host}:{port}", "ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x",
                           "DEFAULT_REGION": "us-east-1"}.items():  # fmt: skip
        monkeypatch.setenv(f"AWS_{setting}", value)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        fs().mkdir("going")
        put(corpus, "s3://going/corpus")
        records = read("s3://going/corpus")
        next(records)
        server.stop()
        with pytest.raises(DependencyError, match=r"of the corpus cannot be (read|listed).*look at the network"):
            list(records)
    finally:
        s3fs.S3FileSystem.clear_instance_cache()


def test_what_is_not_there_or_not_known_is_one_line(bucket: str) -> None:
    for source, says in ((f"{bucket}/nothing", "there is nothing at s3://"), ("nosuch://x", "corpus.source: nosuch://x"),
                         ("s3://nobody/x", "there is nothing at|the store refuses")):  # fmt: skip
        with pytest.raises(UserError, match=says):
            list(read(source))
