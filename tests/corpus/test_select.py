"""One selection whatever the order, and nothing of it lost, doubled or held in memory."""

import itertools
import json
import tracemalloc
import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus import BadRecord, RawDocument, document_id, normalise, read, split_of
from tests.corpus.samples import choose

SHARED = Path(__file__).resolve().parents[3] / "shared" / "corpora"


def raws(count: int, words: int = 5) -> list[RawDocument]:
    return [RawDocument(f"a.jsonl:{n}", None, " ".join(f"w{n}x{k}" for k in range(words))) for n in range(1, count + 1)]


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once == unicodedata.normalize("NFC", once)
    assert "\r" not in once and "\n\n\n" not in once
    once.encode()


def test_normalising_keeps_paragraphs_and_drops_what_nobody_sees() -> None:
    assert normalise("\ufeffa\x00b \r\n\r\n\r\n\r\n e\u0301\ud800\t\u2028c\n") == "ab\n\n é\nc"


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
        for number in range(2000):
            stream.write(json.dumps({"text": f"{number} " + ("w" * 200 + " ") * 50}) + "\n")
    assert (tmp_path / "big.jsonl").stat().st_size > 20_000_000
    tracemalloc.start()
    try:
        selection = choose(read(str(tmp_path / "big.jsonl")), max_words=2000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert selection.seen == 2000 and peak < 7_000_000  # a third of the file


@pytest.mark.parametrize("name", ["health_care.jsonl.gz", "general", "creative_writing"])
def test_the_real_corpora_give_the_documents_asked_for(name: str) -> None:
    if not SHARED.exists():
        pytest.skip(f"{SHARED} is not here")
    records = itertools.islice(read(str(SHARED / name)), 200)
    selection = choose(records, documents=12, heldout_documents=4, min_words=50, max_words=1024)
    chosen = [row for row in selection.rows if row["status"] == "ok"]
    assert len(chosen) == 16 and all(row["words"] and 50 <= row["words"] <= 1024 for row in chosen)
    assert not any(mark in str(row["text"]) for row in chosen for mark in ("@-@", "= =", str(SHARED)))
