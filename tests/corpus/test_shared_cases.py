"""The cases that stand beside the checkout, each with what is right; their README says why."""

import tarfile
from pathlib import Path

import pytest

from tasks.corpus import BadRecord, RawDocument, read

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.exists(), reason="the cases are not beside the checkout")
# documents, then for each reject a word of its reason; `…` where there are more than one like it
RIGHT: dict[str, tuple[int, list[str]]] = {
    "01-csv-unquoted-comma/a.csv": (2, ["4 fields, the header 2"]),
    "01-csv-unquoted-comma/single.csv": (1, ["3 fields, the header 1"]),
    "02-csv-open-quote": (39, ["line 11 is not CSV"]),
    "03-csv-header": (15, ["no rows", "line 2 is not UTF-8"]),
    "04-jsonl-odd/a.json": (8, ["a int", "a list", "has no 'text'", "a dict", "…"]),
    "04-jsonl-odd/a.jsonl": (8, ["a int", "a list", "has no 'text'", "a dict", "…"]),
    "04-jsonl-odd/utf-16-le.jsonl": (4, []),
    "04-jsonl-odd/utf-32.json": (4, []),
    "04-jsonl-odd/empty.jsonl": (0, ["no rows"]),
    "05-json-shapes/two-arrays.json": (6, []),
    "05-json-shapes/trailing-junk.json": (4, ["is not JSON"]),
    "05-json-shapes/data-lines.json": (3, []),
    "05-json-shapes/bad-first-line.json": (3, ["line 1 is not JSON"]),
    "05-json-shapes/rows-key.json": (3, []),
    "05-json-shapes/columns.json": (0, ["a dict in 'text'"]),
    "05-json-shapes/strings.json": (0, ["is a str", "is a str"]),
    "06-gz/members-nonl.jsonl.gz": (6, []),
    "06-gz/crc.jsonl.gz": (3, ["damaged"]),
    "06-gz/trunc-lines.json.gz": (1975, ["damaged"]),
    "06-gz/trunc-lines.jsonl.gz": (1975, ["damaged"]),
    "06-gz/trunc.txt.gz": (0, ["damaged"]),
    "07-folder-unread-kinds/fineweb": (30, ["2 files not read because cards"]),
    "07-folder-unread-kinds/pile": (104, ["cannot be read as Arrow", "cards and licences", "hidden names"]),
    "08-csv-schema-differs": (1, ["codes.csv has no column 'text'"]),
    "08-jsonl-schema-differs": (2, ["has no 'text'"]),
    "09-parquet-types/badutf8.parquet": (3, ["not UTF-8", "nothing", "nothing"]),
    "09-parquet-types/dict.parquet": (4, ["nothing", "nothing"]),
    "09-parquet-types/struct.parquet": (0, ["not text"]),
    "09-parquet-types/hive": (6, ["3 files not read because hidden"]),
    "12-markdown": (5, []),
    "13-languages": (7, []),
    "17-parquet-one-bad-value": (1999, ["row 101 holds bytes"]),
    "18-title-types": (10, []),
    "20-one-bad-csv-among-good": (6, []),  # its CSV is UTF-16, which is read
}


@pytest.mark.parametrize("case", RIGHT)
def test_a_case_gives_its_documents_and_its_rejects(case: str) -> None:
    documents, reasons = RIGHT[case]
    found = list(read(str(CASES / "corpora" / case)))
    bad = [record.reason for record in found if isinstance(record, BadRecord)]
    assert len(found) - len(bad) == documents, bad
    said = [word for word in reasons if word != "…"]
    assert all(any(word in reason for reason in bad) for word in said), bad
    assert "…" in reasons or len(bad) == len(reasons), bad


def test_titles_are_texts_and_front_matter_is_none_of_them() -> None:
    found = [
        record
        for case in ("12-markdown", "18-title-types", "09-parquet-types/title-nan.parquet")
        for record in read(str(CASES / "corpora" / case))
        if isinstance(record, RawDocument)
    ]
    assert not any(word in str(record.title).lower() for record in found for word in ("nan", "[", "{", "'"))
    assert not any(mark in record.text for record in found for mark in ("---\n", "+++\n", "<p>"))


@pytest.fixture(scope="module")
def suite() -> list[tuple[str, bytes]]:
    with tarfile.open(CASES / "peers" / "json_test_suite.tgz") as packed:
        files = [member for member in packed.getmembers() if member.name.endswith(".json")]
        return [(Path(member.name).name, packed.extractfile(member).read()) for member in files]  # type: ignore[union-attr]


A, B = b'{"text": "one"}', b'{"text": "two"}'
WAYS = {
    "item.json": b"[%b, %b, %b]",
    "line.jsonl": b"%b\n%b\n%b\n",
    "field.json": b'[%b, {"text": "inside", "x": %b}, %b]',
    "field.jsonl": b'%b\n{"text": "inside", "x": %b}\n%b\n',
}
TAKEN = ("NaN", "infinity")  # Python's JSON and numpy's write them
BLANK = ("n_single_space.json", "n_structure_UTF8_BOM_no_data.json", "n_structure_no_data.json")  # lines of nothing


@pytest.mark.parametrize("way", WAYS)
def test_of_the_json_suite_all_that_is_valid_is_read_and_no_neighbour_lost(
    way: str, suite: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    assert len(suite) == 318
    for name, value in suite:
        (tmp_path / way).write_bytes(WAYS[way] % (A, value, B))
        found = list(read(str(tmp_path / way)))
        texts = {record.text for record in found if isinstance(record, RawDocument)}
        bad = [record.reason for record in found if isinstance(record, BadRecord)]
        assert {"one", "two"} <= texts, name
        if way.startswith("field") and name.startswith("y_"):
            assert "inside" in texts and not bad, name
        if name.startswith("n_") and not any(word in name for word in TAKEN):
            assert bad or (way == "line.jsonl" and name in BLANK), name
