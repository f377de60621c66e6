"""Every file below a source is read, or is a row that says why not; packed files, links, special files, counts."""

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd

from schemas.config import CorpusConfig
from schemas.errors import UserError
from tasks.corpus import BadRecord, RawDocument, read
from tasks.shard import sample_documents
from tests.corpus.samples import choose

PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd.compress,
}
LINE = b'{"text": "one line of words"}\n'


def played(path: Path) -> tuple[list[str], dict[str, str]]:
    found = list(read(str(path)))
    return (
        [record.source for record in found if isinstance(record, RawDocument)],
        {record.source: record.reason for record in found if isinstance(record, BadRecord)},
    )


@pytest.mark.parametrize("suffix", PACK)
def test_a_packed_file_gives_all_members_and_what_is_whole_of_a_cut_one(tmp_path: Path, suffix: str) -> None:
    pack = PACK[suffix]
    many = b"".join(b'{"text": "line %d %s"}\n' % (n, os.urandom(200).hex().encode()) for n in range(1000))
    cut, cut_table = pack(many)[:-40_000], pack(b"text\n" + many.replace(b"\n", b";\n"))[:-40_000]
    for kind in (".jsonl", ".json"):
        (tmp_path / f"whole{kind}{suffix}").write_bytes(pack(LINE) + pack(LINE * 2) + bytes(64))
        (tmp_path / f"cut{kind}{suffix}").write_bytes(cut)
        (tmp_path / f"more{kind}{suffix}").write_bytes(pack(LINE) + b"and something else")
    (tmp_path / f"cut.txt{suffix}").write_bytes(cut)
    (tmp_path / f"cut.csv{suffix}").write_bytes(cut_table)
    documents, bad = played(tmp_path)
    for kind in (".jsonl", ".json"):
        assert sum(source.startswith(f"whole{kind}{suffix}") for source in documents) == 3
        assert sum(source.startswith(f"more{kind}{suffix}") for source in documents) == 1
        assert suffix == ".bz2" or sum(source.startswith(f"cut{kind}{suffix}") for source in documents) > 100
    assert f"cut.txt{suffix}" not in documents
    damaged = [f"{name}{suffix}" for name in ("cut.csv", "cut.json", "cut.jsonl", "cut.txt", "more.json", "more.jsonl")]
    assert [name for name in sorted(bad) if ":" not in name] == damaged
    assert all("damaged" in bad[name] for name in damaged)


def test_what_a_file_is_its_first_bytes_say(tmp_path: Path) -> None:
    (tmp_path / "plain.jsonl.gz").write_bytes(LINE)
    (tmp_path / "packed.jsonl").write_bytes(gzip.compress(LINE))
    assert played(tmp_path) == (["packed.jsonl:1", "plain.jsonl.gz:1"], {})


def test_more_kinds_are_read(tmp_path: Path) -> None:
    for name in ("a.ndjson", "b.jsonlines"):
        (tmp_path / name).write_bytes(LINE)
    (tmp_path / "c.tsv").write_text("id\ttext\n1\tA row, with a comma.\n")
    for name in ("d.markdown", "e.text"):
        (tmp_path / name).write_text("Some words.")
    (tmp_path / "f.html").write_text(
        "<html><head><title>A day</title></head><body><nav><a href='/'>Home</a></nav>"
        "<article><p>The main text of the page.</p></article><footer>Imprint</footer></body></html>"
    )
    found = [record for record in read(str(tmp_path)) if isinstance(record, RawDocument)]
    assert [record.source for record in found] == [
        "a.ndjson:1",
        "b.jsonlines:1",
        "c.tsv:2",
        "d.markdown",
        "e.text",
        "f.html",
    ]
    assert found[2].text == "A row, with a comma."
    assert (found[5].title, found[5].text.strip()) == ("A day", "The main text of the page.")


def test_what_is_no_document_is_said_once_a_kind(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINE)
    for name in ("README.md", "LICENSE", ".DS_Store", "x.png", "y.png", "z.docx", "_SUCCESS"):
        (tmp_path / name).write_text("---\nlicense: mit\n---\n# A card of many words")
    selection = choose(read(str(tmp_path)))
    assert (selection.counts["ok"], selection.counts["unread"]) == (1, 7)
    rows = {row["reason"] for row in selection.rows if row["status"] == "unread"}
    assert len(rows) == 4 and any("2 files of the kind .png" in str(reason) for reason in rows)


def test_a_readme_among_texts_is_a_text(tmp_path: Path) -> None:
    for name in ("README.md", "guide.md"):
        (tmp_path / name).write_text("Words.")
    assert played(tmp_path)[0] == ["README.md", "guide.md"]


def test_links_are_followed_once_and_only_regular_files_are_opened(tmp_path: Path) -> None:
    corpus, other = tmp_path / "corpus", tmp_path / "other"
    for folder, name in ((corpus, "a.txt"), (other, "b.txt")):
        folder.mkdir()
        (folder / name).write_text(f"Words of {name}.")
    os.mkfifo(corpus / "f.txt")
    for name, target in (("dead.txt", "nowhere"), ("self", "."), ("linked", "../other"), ("again", "../other")):
        (corpus / name).symlink_to(target)
    documents, bad = played(corpus)
    assert documents == ["a.txt", "again/b.txt"]
    assert all(word in " ".join(bad.values()) for word in ("FIFO", "nowhere", "linked, self"))
    assert "FIFO" in played(corpus / "f.txt")[1]["f.txt"]
    with pytest.raises(UserError, match="a link to nowhere, where nothing is"):
        played(corpus / "dead.txt")


def test_names_that_differ_in_an_undecodable_byte_give_two_ids(tmp_path: Path) -> None:
    for byte in (b"\xfe", b"\xff"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + byte + b".txt")).touch()
    rows = choose(read(str(tmp_path))).rows
    assert len({row["document_id"] for row in rows}) == len(rows) == 2


def test_many_rejects_never_drown_the_few_and_every_count_is_exact() -> None:
    short = [BadRecord(f"a.jsonl:{n}", "too_short", f"a.jsonl:{n} has 1 words") for n in range(3000)]
    few = [BadRecord(f"b.jsonl:{n}", "malformed", f"b.jsonl line {n} is bad") for n in range(3)]
    files = [BadRecord(f"{n}.parquet", "malformed", f"{n}.parquet is damaged", whole=True) for n in range(40)]
    many = BadRecord("x.png", "unread", "500 files of the kind .png not read", count=500, whole=True)
    found = choose([*short, *files, *few, many], max_reject_rows=20)
    assert found.counts == {"ok": 0, "not_sampled": 0, "malformed": 43, "too_short": 3000, "unread": 500}
    assert found.seen == 3543 and len(found.rows) == 20 + 41
    kept = {row["source"] for row in found.rows}
    assert {record.source for record in [*few, *files, many]} <= kept
    assert found == choose([many, *reversed(short), *few, *files], max_reject_rows=20)
    assert [why.number for why in found.why] == [3000, 500, 40]


def test_a_corpus_of_which_nothing_is_usable_names_the_commonest_reasons(tmp_path: Path) -> None:
    (tmp_path / "codes.csv").write_text("code,meaning\n1,x\n")
    (tmp_path / "meta.jsonl").write_text('{"url": 1}\n{"url": 2}\n')
    (tmp_path / "short.jsonl").write_text('{"text": "too short"}\n')
    with pytest.raises(UserError) as error:
        sample_documents(CorpusConfig(source=str(tmp_path)))
    for words in ("codes.csv has no column", "meta.jsonl line 1 has no 'text'", "and 1 like it", "short.jsonl:1 has 2"):
        assert words in str(error.value)
