"""CSV, Parquet and Arrow as people have them: what is not right is one row that says where; nothing else is lost."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.corpus import BadRecord, RawDocument, csvs, read, tables
from tasks.corpus.records import Columns, Record


def played(path: Path) -> tuple[list[str], dict[str, str]]:
    """Texts, and reasons by source."""
    found = list(read(str(path)))
    return (
        [record.text for record in found if isinstance(record, RawDocument)],
        {record.source: record.reason for record in found if isinstance(record, BadRecord)},
    )


LATE_QUOTE = [f"{n},Sentence {n} is here." for n in range(1, 40)]
CASES: dict[str, tuple[str, list[str] | None, dict[int | None, str]]] = {
    "comma": ("id,text\n1,The ward was quiet, the nurse slept\n2,Plain.\n", ["Plain."], {2: "3 fields, the header 2"}),
    "comma-single": ("text\nOne, two\nPlain.\n", ["Plain."], {2: "2 fields, the header 1"}),
    "short": ("id,text,by\n1,One\n2,Two,me\n", ["Two"], {2: "2 fields, the header 3"}),
    "open-quote": ('id,text\n1,One.\n2,"Two.\n3,Three.\n4,Four.\n', ["One.", "Three.", "Four."], {3: "quote"}),
    "open-quote-alone": ('text\n"One\nTwo\n', [], {2: "line 2 to 3 is not CSV"}),
    "closed-later": (
        "id,text\n0,None.\n" + "\n".join(LATE_QUOTE).replace("10,S", '10,"S').replace("39 is here.", '39 is here."'),
        None,
        {12: "quote"},
    ),
    "inner-quote": ('id,text\n1,"He said "no" to it"\n2,Good.\n', ["Good."], {2: "quote"}),
    "smart-quote": ('id,text\n1,"unclosed”\n2,Plain.\n3,"Quoted, here."\n', ["Plain.", "Quoted, here."], {2: "quote"}),
    "poem": ('id,text\n1,"Roses are red,\nviolets are blue,\nand so are you"\n2,Next.\n', None, {}),
    "table-in-text": (
        "id,text\n" + "".join(f'{n},"Fruit of {n}:\n1,apples\n2,pears\n3,plums"\n' for n in range(1, 20)),
        None,
        {},
    ),
    "bom": ('\ufeff"text","title"\r\n"One, two.","T"\r\n', ["One, two."], {}),
    "cr": ("id,text\r1,One.\r2,Two.\r", ["One.", "Two."], {}),
    "nul": ("id,text\n1,One\0 two.\n", ["One\0 two."], {}),
    "sep": ("sep=;\nid;text\n1;One, two.\n", ["One, two."], {}),
    "blank-first": ("\n\nid,text\n1,One.\n", ["One."], {}),
    "spaces": ("id, text\n1, One.\n", ["One."], {}),
    "semicolons-in-text": ("text\nOne; two.\n", ["One; two."], {}),
    "empty-more": ("id,text\n1,One.,,\n", ["One."], {}),
    "header-only": ("id,text\n", [], {None: "no rows"}),
    "two-columns": ("id,text,text\n1,a,b\n", [], {None: "several columns"}),
    "titles": ("Ward report,,\nMade today,,\n,,\nid,text,by\n1,One.,me\n", ["One."], {1: "to 3 not read"}),
    "comments": ("# made 2024, by us\nid,text\n1,One.\n", ["One."], {1: "the header, which is line 2"}),
    "title-and-tabs": ("A title\n\nid\ttext\n1\tOne, two.\n", ["One, two."], {1: "not read"}),
    "title-or-row": ("code,kind\n1,text\n2,image\n", [], {None: "Line 2 has it: if it is the header, take off"}),
    "no-column": ("id,body\n1,a\n", [], {None: "corpus.text_column"}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_csv_gives_every_whole_row_and_says_the_others(tmp_path: Path, case: str) -> None:
    content, wanted, said = CASES[case]
    (tmp_path / "x.csv").write_text(content, newline="")
    texts, bad = played(tmp_path / "x.csv")
    assert wanted is None or texts == wanted
    assert set(bad) == {f"x.csv:{line}" if line else "x.csv" for line in said}
    for line, words in said.items():
        assert words in bad[f"x.csv:{line}" if line else "x.csv"]
    assert not any("\n" in text for text in texts) or case in ("poem", "table-in-text")


def test_a_quote_that_is_closed_thirty_rows_later_costs_one_row(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(CASES["closed-later"][0])
    texts, _ = played(tmp_path / "x.csv")
    assert len(texts) == 39 and "Sentence 11 is here." in texts


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_every_unicode_form_is_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "x.csv").write_text("id,text\n1,Déjà vu.\n", encoding=encoding)
    (tmp_path / "x.jsonl").write_text('{"text": "Déjà vu."}\n', encoding=encoding)
    (tmp_path / "x.json").write_text('[{"text": "Déjà vu."}]', encoding=encoding)
    assert played(tmp_path) == (["Déjà vu."] * 3, {})


def test_a_row_that_is_too_long_is_left_behind_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.csv").write_text('id,text\n1,"' + "line of words\n" * 2000 + '"\n2,After.\n')
    with monkeypatch.context() as patched:
        patched.setattr(csvs, "MAX_FIELD", 20_000)
        texts, bad = played(tmp_path / "x.csv")
    assert texts == ["After."] and list(bad) == ["x.csv:2"]
    (tmp_path / "y.csv").write_text("x" * (2**20 + 5) + "\n1,2\n")
    assert "no header" in played(tmp_path / "y.csv")[1]["y.csv"]


TEXTS = ["One.", "Two.", None]
KINDS = (
    pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()), pa.binary(),
    pa.large_binary(),
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_arrow_type_that_holds_text_is_read(tmp_path: Path, kind: pa.DataType) -> None:
    plain = pa.array(TEXTS)
    column = plain.dictionary_encode() if pa.types.is_dictionary(kind) else plain.cast(kind)
    table = pa.table({"text": column})
    pq.write_table(table, tmp_path / "x.parquet")
    with pa.OSFile(str(tmp_path / "y.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    with pa.OSFile(str(tmp_path / "z.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    texts, bad = played(tmp_path)
    assert texts == ["One.", "Two."] * 3
    assert sorted(bad) == ["x.parquet:3", "y.arrow:3", "z.arrow:3"]


@pytest.mark.parametrize("values", [[1, 2], [["a"], ["b"]], [None, None], [{"a": "b"}]], ids=str)
def test_a_column_that_holds_no_text_says_so_once(tmp_path: Path, values: list[object]) -> None:
    pq.write_table(pa.table({"text": values}), tmp_path / "x.parquet")
    texts, bad = played(tmp_path / "x.parquet")
    assert not texts and list(bad) == ["x.parquet"] and "not text" in bad["x.parquet"]


def test_one_bad_value_costs_one_row_and_a_bad_title_none(tmp_path: Path) -> None:
    raw = [b"caf\xe9" if n == 100 else b"text %d" % n for n in range(2000)]
    bad_text = pa.Array.from_buffers(pa.string(), 2000, pa.array(raw).buffers())
    late = pa.array([2**60 if n == 7 else n for n in range(2000)]).cast(pa.timestamp("ms"))
    pq.write_table(pa.table({"text": bad_text, "title": late}), tmp_path / "x.parquet")
    texts, bad = played(tmp_path / "x.parquet")
    assert len(texts) == 1999 and list(bad) == ["x.parquet:101"] and "UTF-8" in bad["x.parquet:101"]


def test_rows_that_are_books_are_read_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, rows = list[int](), tables._rows

    def noted(batch: pa.RecordBatch, name: str, before: int, columns: Columns) -> Iterator[Record]:
        sizes.append(batch.num_rows)
        return rows(batch, name, before, columns)

    monkeypatch.setattr(tables, "_rows", noted)
    pq.write_table(pa.table({"text": ["short"] * 100}), tmp_path / "x.parquet")
    assert len(played(tmp_path / "x.parquet")[0]) == 100 and sizes == [64, 36]
    pq.write_table(pa.table({"text": [f"{n} " * 200_000 for n in range(64)]}), tmp_path / "y.parquet")
    assert len(played(tmp_path / "y.parquet")[0]) == 64 and max(sizes[2:]) <= 32


def test_a_damaged_row_group_costs_its_rows_alone(tmp_path: Path) -> None:
    table = pa.table({"text": [f"sentence {n}" for n in range(1000)]})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=100, compression="none", use_dictionary=False)
    content = bytearray((tmp_path / "x.parquet").read_bytes())
    content[len(content) // 3 : len(content) // 3 + 200] = b"\xff" * 200
    (tmp_path / "x.parquet").write_bytes(content)
    found = list(read(str(tmp_path / "x.parquet")))
    bad = [record for record in found if isinstance(record, BadRecord)]
    assert sum(record.count for record in bad) == 1000 - (len(found) - len(bad)) and 1 <= len(bad) <= 2
