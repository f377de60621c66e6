"""Every format is read, and what cannot be read is a row or one clear line."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import DependencyError, UserError
from tasks.corpus import BadRecord, RawDocument, read, word_count
from tasks.corpus import hub as hub_module
from tasks.corpus.plaintext import PART_CHARS
from tests.corpus.samples import choose

ROWS = [{"text": "The first text.", "title": "One"}, {"text": "The second text.", "title": "Two"}]


def one_line(error: pytest.ExceptionInfo[BaseException], *words: str) -> None:
    message = str(error.value)
    assert "\n" not in message and all(word in message for word in words), message


def write_jsonl(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_gzip(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


def write_csv(path: Path, rows: list[dict[str, str]], delimiter: str = ",") -> None:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["title", "text"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.jsonl", write_jsonl),
        ("a.JSONL", write_jsonl),
        ("a.jsonl.gz", write_gzip),
        ("lines.json", write_jsonl),
        ("list.json", lambda path, rows: path.write_text(json.dumps(rows))),
        ("pretty.json", lambda path, rows: path.write_text(json.dumps(rows, indent=2))),
        ("data.json", lambda path, rows: path.write_text(json.dumps({"data": rows}))),
        ("nested.json", lambda path, rows: path.write_text(json.dumps({"version": 1, "data": rows}, indent=1))),
        ("a.csv", write_csv),
        ("semicolons.csv", lambda path, rows: write_csv(path, rows, ";")),
        ("a.parquet", lambda path, rows: pq.write_table(pa.Table.from_pylist(rows), path)),
    ],
)
def test_every_table_format_gives_texts_and_titles(
    tmp_path: Path, name: str, write: Callable[[Path, list[dict[str, str]]], object]
) -> None:
    write(tmp_path / name, ROWS)
    found = list(read(str(tmp_path / name)))
    assert [(doc.text, doc.title) for doc in found if isinstance(doc, RawDocument)] == [
        (row["text"], row["title"]) for row in ROWS
    ]
    assert all(doc.source.startswith(f"{name}:") for doc in found)


def test_a_folder_is_read_to_its_depths_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b.txt", "a/deep/c.md", "a/b.txt", ".git/x.txt", "picture.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    found = list(read(str(tmp_path)))
    assert [doc.source for doc in found if isinstance(doc, RawDocument)] == ["b.txt", "a/b.txt", "a/deep/c.md"]
    assert [(bad.source, bad.count) for bad in found if isinstance(bad, BadRecord)] == [
        (".git/", 1),
        ("picture.png", 1),
    ]


@pytest.mark.parametrize(
    ("name", "text", "title", "rest"),
    [
        ("x.md", "# A heading #\n\nBody.", "A heading", "Body."),
        ("x.txt", "\n = Some @-@ title = \n\n Body .\n", "Some-title", "Body."),
        ("jack-sheppard.txt", "Body.", "Jack sheppard", "Body."),
        ("article-059.txt", "Body.", None, "Body."),
        ("x.txt.gz", "Body.", "X", "Body."),
    ],
)
def test_a_text_file_is_titled_by_its_heading_or_its_name(
    tmp_path: Path, name: str, text: str, title: str, rest: str
) -> None:
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    [found] = read(str(tmp_path / name))
    assert isinstance(found, RawDocument) and (found.title, found.text.strip()) == (title, rest)


def test_wikitext_becomes_what_a_person_would_write(tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_text(
        ' = Lobster = \n\n A red @-@ tipped claw ( 0 @.@ 7 m ) , " big " .\n It \'s 1 @,@ 000 .\n\n'
        " = = Life = = \n\n It eats .\n"
    )
    [found] = read(str(tmp_path / "w.txt"))
    assert found == RawDocument(
        "w.txt", "Lobster", 'A red-tipped claw (0.7 m), "big".\n\nIt\'s 1,000.\n\nLife\nIt eats.'
    )


def test_a_wikitext_file_of_many_articles_gives_each(tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_text(" \n = A = \n \n One . \n \n = = S = = \n \n Two . \n \n = B = \n \n Three . \n")
    found = [doc for doc in read(str(tmp_path / "w.txt")) if isinstance(doc, RawDocument)]
    assert [(doc.source, doc.title) for doc in found] == [("w.txt:1", "A"), ("w.txt:10", "B")]


def test_a_text_file_larger_than_memory_is_read_in_parts_that_lose_nothing(tmp_path: Path) -> None:
    paragraph = "word " * 200_000 + "\n\n"
    (tmp_path / "dump.txt").write_text(paragraph * 20)
    found = [doc for doc in read(str(tmp_path / "dump.txt")) if isinstance(doc, RawDocument)]
    assert len(found) > 1 and max(len(doc.text) for doc in found) <= 2 * PART_CHARS
    assert sum(word_count(doc.text) for doc in found) == 20 * 200_000
    assert found[1].source == "dump.txt:19"


def test_a_broken_line_is_a_row_with_file_and_number_and_the_others_go_on(tmp_path: Path) -> None:
    lines = [b'{"text": "one"}', b'{"text": ', b"[1]", b'{"body": "x"}', b'{"text": 5}', b'{"text": " "}', b"", b"\xff"]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([*lines, b"[" * 99_999, b'{"text": "two"}']))
    rows = choose(read(str(tmp_path / "a.jsonl"))).rows
    assert sorted(row["text"] or "" for row in rows if row["status"] == "ok") == ["one", "two"]
    bad = {row["source"]: (row["status"], row["reason"]) for row in rows if row["status"] != "ok"}
    assert bad["a.jsonl:2"] == ("malformed", "a.jsonl line 2 is not JSON: Expecting value (column 9)")
    assert bad["a.jsonl:4"] == ("malformed", "a.jsonl line 4 has no 'text' (it has body)")
    assert [source for source, (status, _) in bad.items() if status == "malformed"] == [
        f"a.jsonl:{number}" for number in (2, 3, 4, 5, 8, 9)
    ]
    assert bad["a.jsonl:6"][0] == "empty"


@pytest.mark.parametrize(
    ("name", "content", "source", "words"),
    [
        ("x.txt", b"caf\xe9", "x.txt", "UTF-8"),
        ("x.txt", b" \n", "x.txt", "no text"),
        ("x.csv", b"text\nfine\ncaf\xe9\n", "x.csv:3", "UTF-8"),
        ("x.csv", b"id,text\n1,fine\n2\n", "x.csv:3", "fields"),
        ("x.csv", b"", "x.csv", "no text"),
        ("x.json", b'[{"text": "fine"}, {"text": ', "x.json:2", "not JSON"),
        ("x.json", b'[{"text": "fine"}', "x.json:1+1", "not closed"),
        ("x.json", b"", "x.json", "no rows"),
        ("x.jsonl.gz", gzip.compress(b'{"text": "fine"}\n' * 2000)[:-30], "x.jsonl.gz", "damaged"),
        ("x.jsonl.gz", b"\x1f\x8b\x08 not gzip", "x.jsonl.gz", "damaged"),
        ("x.parquet", b"PAR1 not parquet", "x.parquet", "Parquet"),
    ],
)
def test_what_cannot_be_read_is_a_row_that_names_it(
    tmp_path: Path, name: str, content: bytes, source: str, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    bad = [record for record in read(str(tmp_path / name)) if isinstance(record, BadRecord)]
    assert len(bad) == 1 and bad[0].source == source and words in bad[0].reason and bad[0].reason.startswith(name)


def test_no_such_corpus_names_the_nearest(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "health_care.jsonl", ROWS)
    with pytest.raises(UserError) as error:
        read(str(tmp_path / "helth_care.jsonl"))
    one_line(error, "no such corpus", "did you mean", str(tmp_path / "health_care.jsonl"))
    with pytest.raises(UserError) as error:
        read(str(tmp_path / "qqqq" / "zzzz"))
    one_line(error, "no such corpus", "hf:owner/name")
    for nothing in ("", " ", "hf:"):
        with pytest.raises(UserError) as error:
            read(nothing)
        one_line(error, "no corpus is named")


def test_a_folder_or_file_of_no_known_kind_names_the_kinds(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.docx").write_text("x")
    for source in (tmp_path / "empty", tmp_path / "a.docx"):
        with pytest.raises(UserError) as error:
            read(str(source))
        one_line(error, ".jsonl", ".parquet", ".txt")
    [unread] = read(str(tmp_path))
    assert isinstance(unread, BadRecord) and (unread.status, unread.source) == ("unread", "a.docx")


def test_a_table_without_the_text_column_names_those_it_has(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["x"], "id": [1]}), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("body;id\nx;1\n")
    for name in ("a.parquet", "a.csv"):
        [bad] = read(str(tmp_path / name))
        assert isinstance(bad, BadRecord) and bad.whole
        assert all(word in bad.reason for word in (name, "'text'", "body, id", "corpus.text_column"))
    assert [doc.source for doc in read(str(tmp_path / "a.parquet"), text_column="body")] == ["a.parquet:1"]


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    (tmp_path / "set").mkdir()
    write_jsonl(tmp_path / "set" / "train.jsonl", ROWS)
    return tmp_path / "set"


def test_a_dataset_is_streamed_through_datasets(dataset: Path) -> None:
    found = list(read(f"hf:{dataset}"))
    assert found == [RawDocument(f"hf:set/train:{n}", row["title"], row["text"]) for n, row in enumerate(ROWS, 1)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text_column": "body"}, ["'body'", "text, title"]),
        ({"hub_split": "test"}, ["no split 'test'", "train"]),
        ({"hub_config": "en"}, ["no configuration 'en'", "default"]),
    ],
)
def test_a_wrong_name_in_a_dataset_names_the_right_ones(
    dataset: Path, changes: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(UserError) as error:
        read(f"hf:{dataset}", **changes)
    one_line(error, *words)


def test_a_dataset_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "nothing", tmp_path / "empty"):
        with pytest.raises(UserError) as error:
            read(f"hf:{source}")
        one_line(error, str(source))


def test_a_hub_that_cannot_be_reached_is_a_missing_dependency() -> None:
    error = hub_module._explained(ConnectionError("Couldn't reach 'a/b'\non the Hub"), "a/b", None, "train")
    assert isinstance(error, DependencyError) and "\n" not in str(error)
