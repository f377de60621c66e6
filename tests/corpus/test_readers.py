"""The corpus part keeps its promises: every format, every bad input, one selection whatever the order."""

import csv
import gzip
import itertools
import json
import tracemalloc
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DependencyError, UserError
from tasks.corpus import (
    BadRecord,
    RawDocument,
    Selection,
    document_id,
    normalise,
    passages,
    read,
    select,
    split_of,
    word_count,
)
from tasks.corpus import hub as hub_module
from tasks.corpus.passages import opening
from tasks.corpus.plaintext import PART_CHARS

SHARED = Path(__file__).resolve().parents[3] / "shared" / "corpora"
ROWS = [{"text": "The first text.", "title": "One"}, {"text": "The second text.", "title": "Two"}]


def choose(records: Iterable[RawDocument | BadRecord], **changes: object) -> Selection:
    settings: dict[str, object] = {
        "documents": 8, "heldout_documents": 4, "min_words": 1, "max_words": 100, "long_texts": "passages",
        "heldout_share": 0.25, "seed": 0,
    }  # fmt: skip
    return select(records, **(settings | changes))  # type: ignore[arg-type]


def raws(count: int, words: int = 5) -> list[RawDocument]:
    return [RawDocument(f"a.jsonl:{n}", None, " ".join(f"w{n}x{k}" for k in range(words))) for n in range(1, count + 1)]


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
    assert [doc.source for doc in read(str(tmp_path))] == ["b.txt", "a/b.txt", "a/deep/c.md"]


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
        ("x.json", b'[{"text": "fine"}', "x.json:1", "not JSON"),
        ("x.json", b"", "x.json:1", "not JSON"),
        ("x.jsonl.gz", gzip.compress(b'{"text": "fine"}\n' * 2000)[:-30], "x.jsonl.gz", "damaged"),
        ("x.jsonl.gz", b"not gzip", "x.jsonl.gz", "damaged"),
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
    (tmp_path / "a.docx").write_text("x")
    for source in (tmp_path, tmp_path / "a.docx"):
        with pytest.raises(UserError) as error:
            read(str(source))
        one_line(error, ".jsonl", ".parquet", ".txt")


def test_a_table_without_the_text_column_names_those_it_has(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["x"], "id": [1]}), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("body;id\nx;1\n")
    for name in ("a.parquet", "a.csv"):
        with pytest.raises(UserError) as error:
            list(read(str(tmp_path / name)))
        one_line(error, name, "'text'", "body, id")
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


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once == unicodedata.normalize("NFC", once)
    assert "\r" not in once and "\n\n\n" not in once
    once.encode()


def test_normalising_keeps_paragraphs_and_drops_what_nobody_sees() -> None:
    assert normalise("\ufeffa\x00b \r\n\r\n\r\n\r\n e\u0301\ud800\t\u2028c\n") == "ab\n\n é\nc"


TEXTS = st.lists(st.sampled_from(["one", "two.", "Three!", "4,", "\n", "\n\n", "\n" + "x" * 130 + "\n"]), max_size=200)


@given(TEXTS, st.integers(1, 40))
def test_passages_lose_and_double_no_word_and_keep_the_limit(parts: list[str], max_words: int) -> None:
    text = " ".join(parts)
    cut = passages(text, max_words)
    assert " ".join(cut).split() == text.split()
    assert all(1 <= word_count(passage) <= max_words for passage in cut)
    assert text.split()[: word_count(opening(text, max_words))] == opening(text, max_words).split()


def test_passages_end_with_paragraphs_then_sentences_and_leave_no_small_remainder() -> None:
    paragraphs = ["Hard wrapped\nlines of nine words in a paragraph."] * 9
    cut = passages("\n\n".join(paragraphs), 32)
    assert [word_count(passage) for passage in cut] == [27, 27, 27]
    assert all(passage.endswith("paragraph.") for passage in cut)
    sentences = "Dr. Who met Mrs. Poe at the gate. They spoke. " * 10
    assert all(passage.endswith(("gate.", "spoke.")) for passage in passages(sentences, 30))
    assert {word_count(passage) for passage in passages("word " * 1025, 1024)} <= set(range(480, 560))


def test_texts_that_invite_slow_patterns_are_cut_in_time() -> None:
    for text in (" " * 10**6, "x" * 10**6, "a" + " " * 10**6 + "b.", "word " * 2000 + "x" * 10**6, '."' * 10**5):
        assert len(passages(normalise("a b " + text), 1024)) <= 3


def test_the_selection_does_not_depend_on_the_order_of_the_records() -> None:
    copies = [RawDocument(f"b.jsonl:{n}", "copy", doc.text) for n, doc in enumerate(raws(30), 1) if n % 3 == 0]
    records: list[RawDocument | BadRecord] = [
        *raws(60),
        *copies,
        *(BadRecord(f"c:{n}", "malformed", "c is bad") for n in range(20)),
    ]
    wanted = choose(iter(records), max_reject_rows=12)
    assert wanted.counts["ok"] == 12 and sum(wanted.counts.values()) == wanted.seen == len(records)
    for step in (7, 31, 53):
        shuffled = [records[(step * n) % len(records)] for n in range(len(records))]
        assert len(set(map(id, shuffled))) == len(records)
        assert choose(iter(shuffled), max_reject_rows=12) == wanted
    assert choose(reversed(records), max_reject_rows=12) == wanted


def test_files_of_other_names_hold_the_same_documents(tmp_path: Path) -> None:
    lines = [json.dumps({"text": doc.text}) for doc in raws(40)]
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "all.jsonl").write_text("\n".join(lines))
    (tmp_path / "two").mkdir()
    for number, line in enumerate(reversed(lines)):
        (tmp_path / "two" / f"{number}.jsonl").write_text(line)
    ids = [[row["document_id"] for row in choose(read(str(tmp_path / name))).rows] for name in ("one", "two")]
    assert ids[0] == ids[1]


def test_a_second_copy_is_a_row_that_names_the_first() -> None:
    copy = [RawDocument("a.jsonl:10", "T", "same words\r\nhere"), RawDocument("a.jsonl:9", None, "same words \nhere")]
    ok, duplicate = choose(copy).rows
    assert (ok["source"], ok["status"]) == ("a.jsonl:9", "ok")
    assert duplicate["status"] == "duplicate" and duplicate["reason"] == "the same text as a.jsonl:9"
    assert (duplicate["text"], duplicate["source"]) == (ok["text"], "a.jsonl:10")
    assert duplicate["document_id"] != ok["document_id"] == document_id("same words\nhere")


def test_no_seed_moves_a_document_to_the_other_split() -> None:
    splits = [{row["document_id"]: row["split"] for row in choose(raws(40), seed=seed).rows} for seed in range(5)]
    known = {key: split for of_seed in splits for key, split in of_seed.items()}
    assert all(of_seed[key] == known[key] == split_of(key, 0.25) for of_seed in splits for key in of_seed)
    assert splits[0] != splits[1]


def test_rounds_that_exclude_what_was_used_never_repeat_a_document() -> None:
    used: set[str] = set()
    for _ in range(5):
        chosen = {row["document_id"] for row in choose(raws(60), exclude=used).rows}
        assert chosen and not chosen & used
        used |= chosen
    last = choose(raws(60), exclude=used)
    assert last.counts["excluded"] == len(used)


def test_a_corpus_that_is_too_small_gives_what_it_has() -> None:
    assert choose([]).rows == [] and choose([]).counts == {"ok": 0, "not_sampled": 0}
    selection = choose(raws(3), documents=100, heldout_share=0.0)
    assert selection.counts == {"ok": 3, "not_sampled": 0} and {row["split"] for row in selection.rows} == {"train"}


def test_short_texts_are_rows_and_long_ones_are_cut() -> None:
    short = choose(raws(1, words=3), min_words=5).rows[0]
    assert (short["status"], short["text"], short["words"]) == ("too_short", None, 3)
    rows = choose(raws(1, words=250), documents=9, heldout_documents=9).rows
    assert sorted(row["source"] for row in rows) == ["a.jsonl:1#p1", "a.jsonl:1#p2", "a.jsonl:1#p3"]
    [cut] = choose(raws(1, words=250), long_texts="cut", heldout_documents=9).rows
    assert cut["source"] == "a.jsonl:1" and cut["words"] and 90 <= cut["words"] <= 100
    assert cut["reason"] == f"the first {cut['words']} of 250 words"


def test_rejects_are_counted_exactly_and_kept_in_bounds() -> None:
    selection = choose(BadRecord(f"a:{n}", "malformed", "a is bad") for n in range(500))
    assert selection.counts["malformed"] == len(selection.rows) == 500
    bounded = choose((BadRecord(f"a:{n}", "malformed", "a is bad") for n in range(500)), max_reject_rows=7)
    assert bounded.counts["malformed"] == 500 and len(bounded.rows) == 7


def test_a_row_can_always_be_stored(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"\\ud800": 1}\n{"text": "x \\ud800 y", "title": "t\\udfff\\nu"}\n')
    rows = choose(read(str(tmp_path / "a.jsonl"))).rows
    assert pa.Table.from_pylist(rows).num_rows == 2
    assert (rows[0]["title"], rows[0]["text"]) == ("t u", "x  y")


def test_a_large_corpus_is_never_held_in_memory(tmp_path: Path) -> None:
    with (tmp_path / "big.jsonl").open("w") as stream:
        for number in range(6000):
            stream.write(json.dumps({"text": f"{number} " + ("w" * 200 + " ") * 50}) + "\n")
    assert (tmp_path / "big.jsonl").stat().st_size > 58_000_000
    tracemalloc.start()
    try:
        selection = choose(read(str(tmp_path / "big.jsonl")), max_words=2000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert selection.seen == 6000 and peak < 20_000_000  # a third of the file


@pytest.mark.parametrize("name", ["health_care.jsonl.gz", "general", "creative_writing"])
def test_the_real_corpora_give_the_documents_asked_for(name: str) -> None:
    if not SHARED.exists():
        pytest.skip(f"{SHARED} is not here")
    records = itertools.islice(read(str(SHARED / name)), 200)
    selection = choose(records, documents=12, heldout_documents=4, min_words=50, max_words=1024)
    chosen = [row for row in selection.rows if row["status"] == "ok"]
    assert len(chosen) == 16 and all(row["words"] and 50 <= row["words"] <= 1024 for row in chosen)
    assert not any(mark in str(row["text"]) for row in chosen for mark in ("@-@", "= =", str(SHARED)))
