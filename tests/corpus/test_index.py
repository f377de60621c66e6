"""An index changes nothing but the time: the same documents, of a corpus that is what it was when it was indexed."""

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.config import CorpusConfig
from schemas.errors import UserError
from schemas.load import load_config
from tasks.corpus import fetch, index, inputs, parts
from tasks.corpus.drawing import draw
from tasks.corpus.index import make
from tasks.corpus.jsons import read_jsonl, read_line
from tasks.corpus.parts import Cursor, parts_of
from tasks.corpus.records import BadRecord, Columns, Place
from tasks.corpus.select import Selection
from tasks.corpus.twins import Earlier
from tasks.shard import _selection
from tasks.staging.plan import make_plan
from tests.corpus.test_twins import prose, spelled

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"documents": 12, "heldout_documents": 6, "heldout_share": 0.3, "min_words": 20, "max_words": 60}
# a process that makes an index slowly enough to be killed in the middle of it
MAKING = (
    "import sys, time; from pathlib import Path\n"
    "from schemas.config import CorpusConfig; from tasks.corpus import index, parts\n"
    "index.PART_ROWS = parts.BATCH_ROWS = 10\n"
    "config = CorpusConfig.model_validate_json(sys.argv[2])\n"
    "index.make(config.source, config, Path(sys.argv[1]), lambda *_: time.sleep(0.02))"
)


def quiet(_cursor: Cursor, _name: str) -> None:
    pass


def config(source: Path, **changes: object) -> CorpusConfig:
    return CorpusConfig(source=str(source), **(SMALL | changes))


def plain(given: CorpusConfig, used: list[str], earlier: list[Earlier]) -> Selection:
    return _selection(given, used, earlier)


def indexed(given: CorpusConfig, folder: Path, used: list[str], earlier: list[Earlier]) -> Selection:
    return draw(folder, given.source, given, used, earlier)


def texts(first: int, count: int) -> list[str]:
    """Of 5 to 95 words, some copies and some near-duplicates of one another."""
    return [spelled(prose(n // 3, 5 + n // 3 % 10 * 10), n % 3) for n in range(first, first + count)]


def table(path: Path, found: list[str], group: int = 7) -> None:
    titles = [f"No. {n}" for n in range(len(found))]
    pq.write_table(pa.table({"text": found, "title": titles}), path, row_group_size=group)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A file of every kind, and what is no document: bad lines, an empty file, a picture."""
    at = tmp_path / "corpus"
    (at / "deep").mkdir(parents=True)
    lines = [json.dumps({"text": text, "title": f"T{n}"}) for n, text in enumerate(texts(0, 40))]
    lines[3:3] = ["{broken", "", json.dumps({"text": 7})]
    lines[9] += json.dumps({"text": prose(901, 30)})  # two values in a line
    lines[12] = json.dumps({"text": prose(902, 30)}, indent=1)  # one over several
    lines[13] = json.dumps([{"text": prose(903, 200)}, {"text": prose(904, 30)}])
    (at / "a.jsonl").write_text("\ufeff" + "\n".join(lines))
    with gzip.open(at / "b.jsonl.gz", "wt") as stream:
        stream.writelines(json.dumps({"text": text}) + "\n" for text in texts(20, 40))
    table(at / "c.parquet", texts(100, 40))
    (at / "d.csv").write_text("text,title\n" + "".join(f'"{text}",x\n' for text in texts(200, 30)))
    (at / "e.json").write_text(json.dumps({"data": [{"text": text} for text in texts(300, 30)]}))
    for number, text in enumerate(texts(400, 20)):
        (at / "deep" / f"essay {number}.txt").write_text(text)
    (at / "deep" / "ünlü.md").write_text(f"# Head\n\n{prose(905, 150)}")
    (at / "empty.txt").touch()
    (at / "picture.png").touch()
    return at


def test_the_rows_of_a_round_are_those_that_it_has_without_an_index(corpus: Path, tmp_path: Path) -> None:
    for long_texts in ("passages", "cut"):
        made = config(corpus, long_texts=long_texts)
        folder = tmp_path / long_texts
        make(str(corpus), made, folder, quiet)
        used, earlier, kinds = list[str](), list[Earlier](), set[str]()
        for seed in (0, 1, -7):
            given = made.model_copy(update={"seed": seed})
            wanted = plain(given, used, earlier)
            assert indexed(given, folder, used, earlier) == wanted
            chosen = [row for row in wanted.rows if row["status"] == "ok"]
            used += [row["document_id"] for row in chosen]
            earlier += [Earlier(row["source"], row["text"] or "", row["split"] or "train") for row in chosen]
            kinds |= {row["status"] for row in wanted.rows}
        assert kinds >= {"ok", "twin", "duplicate", "too_short", "malformed", "empty", "unread"}


@pytest.mark.parametrize("share", [0.0, 0.999])  # all to train on, and none
def test_a_corpus_of_one_side_and_one_that_is_used_up(corpus: Path, tmp_path: Path, share: float) -> None:
    given = config(corpus, heldout_share=share, documents=500)
    make(str(corpus), given, tmp_path / "index", quiet)
    wanted = plain(given, [], [])
    assert indexed(given, tmp_path / "index", [], []) == wanted
    every = [row["document_id"] for row in wanted.rows if row["status"] == "ok"]
    assert indexed(given, tmp_path / "index", every, []) == plain(given, every, [])


def test_every_line_is_found_again_by_its_byte(corpus: Path) -> None:
    columns = Columns("text", "title")
    found = [record for record in read_jsonl(corpus / "a.jsonl", "a.jsonl", columns) if getattr(record, "at", None)]
    assert len(found) > 40
    for record in found:
        assert not isinstance(record, BadRecord) and record.at is not None
        place = Place("a.jsonl", "line", fetch._number(record.source), record.at)
        assert record in list(read_line(corpus / "a.jsonl", place, columns))


def test_only_what_is_drawn_is_read(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only = tmp_path / "lines"
    only.mkdir()
    (only / "a.jsonl").write_bytes((corpus / "a.jsonl").read_bytes())
    table(only / "c.parquet", texts(100, 200), 10)
    given = config(only, documents=2, heldout_documents=0)
    make(str(only), given, tmp_path / "index", quiet)
    wanted = plain(given, [], [])
    monkeypatch.setattr(inputs, "read_file", lambda *_: pytest.fail("a file is read from its beginning"))
    assert indexed(given, tmp_path / "index", [], []) == wanted


def test_a_killed_index_goes_on_and_is_what_it_would_have_been(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, killed, whole = config(corpus, long_texts="cut"), tmp_path / "killed", tmp_path / "whole"
    for number in (1, 5):
        process = subprocess.Popen([sys.executable, "-c", MAKING, str(killed), given.model_dump_json()], cwd=ROOT)
        while len(parts_of(killed)) < number:
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
        process.wait()
        with pytest.raises(UserError, match=r"is not whole: run `pop index`"):
            indexed(given, killed, [], [])
    monkeypatch.setattr(index, "PART_ROWS", 10)
    monkeypatch.setattr(parts, "BATCH_ROWS", 10)
    for folder in (killed, whole):
        make(str(corpus), given, folder, quiet)
    names = [path.name for path in sorted(whole.iterdir()) if path.name != ".lock"]
    assert names == [path.name for path in sorted(killed.iterdir()) if path.name != ".lock"] and len(names) > 40
    assert [name for name in names if (killed / name).read_bytes() != (whole / name).read_bytes()] == []


def test_a_changed_corpus_is_told_and_only_what_changed_is_read_again(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "PART_ROWS", 30)
    given, folder = config(corpus), tmp_path / "index"
    made, read_ = make(str(corpus), given, folder, quiet)
    assert read_ and make(str(corpus), given, folder, quiet) == (made, False)
    read_again: list[str] = []

    def told(_cursor: Cursor, name: str) -> None:
        read_again.append(name)

    (corpus / "deep" / "z.txt").write_text(prose(990, 40))
    (corpus / "deep" / "ünlü.md").rename(corpus / "deep" / "a.md")
    with pytest.raises(UserError, match=r"deep/a\.md stands where deep/essay 0\.txt was\. Run `pop index` again"):
        indexed(given, folder, [], [])
    make(str(corpus), given, folder, told)
    assert "deep/z.txt" in read_again and "c.parquet" not in read_again
    assert indexed(given, folder, [], []) == plain(given, [], [])

    os.utime(corpus / "d.csv", (1, 1))
    with pytest.raises(UserError, match=r"d\.csv is another than it was"):
        indexed(given, folder, [], [])
    read_again.clear()
    make(str(corpus), given, folder, told)
    assert "d.csv" in read_again and "a.jsonl" not in read_again

    (corpus / "c.parquet").unlink()
    with pytest.raises(UserError, match=r"d\.csv stands where c\.parquet was"):
        indexed(given, folder, [], [])
    make(str(corpus), given, folder, told)
    assert indexed(given, folder, [], []) == plain(given, [], [])


@pytest.mark.parametrize("kind", ["other", "shorter", "torn"])
def test_a_text_that_changed_under_the_same_stamp_is_told(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ("a.parquet" if kind == "torn" else "a.jsonl")
    found = [prose(n, 40) for n in range(30)]
    table(path, found) if kind == "torn" else path.write_text("".join(f'{{"text": "{text}"}}\n' for text in found))
    given = config(path)
    make(str(path), given, tmp_path / "index", quiet)
    stamp = inputs._stamp(path)
    monkeypatch.setattr(inputs, "_stamp", lambda _: stamp)
    now = path.read_bytes()
    path.write_bytes(now.replace(b"a", b"e") if kind == "other" else now[: len(now) // 3])
    with pytest.raises(UserError, match=r"a\.\w+:\d+ is another text\. Run `pop index` again"):
        indexed(given, tmp_path / "index", [], [])


def test_other_settings_of_reading_are_told_and_those_of_drawing_are_not(corpus: Path, tmp_path: Path) -> None:
    make(str(corpus), config(corpus), tmp_path / "index", quiet)
    with pytest.raises(UserError, match=r"corpus\.max_words=60, and this is 50"):
        indexed(config(corpus, max_words=50), tmp_path / "index", [], [])
    other = config(corpus, seed=5, documents=3, heldout_share=0.1, documents_per_shard=1)
    assert indexed(other, tmp_path / "index", [], []) == plain(other, [], [])


def test_an_index_has_a_place_of_its_own(corpus: Path, tmp_path: Path) -> None:
    """Not in the corpus, where the next reading would find it, and not among files that are somebody's."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "part-000000.parquet").write_text("mine")
    with pytest.raises(UserError, match=r"holds something else .* --out"):
        make(str(corpus), config(corpus), tmp_path / "full", quiet)
    assert (tmp_path / "full" / "part-000000.parquet").read_text() == "mine"
    with pytest.raises(UserError, match=r"lies in the corpus itself.* --out"):
        make(str(corpus), config(corpus), corpus / "index", quiet)
    with pytest.raises(UserError, match="no such corpus"):
        make(str(tmp_path / "nowhere"), config(corpus), tmp_path / "index", quiet)
    assert not (corpus / "index").exists() and not (tmp_path / "index").exists()


def test_a_round_with_an_index_is_the_same_round() -> None:
    plans = [
        make_plan(load_config("demo", given), "r", 0, {"policy": "p"}) for given in ([], ["corpus.index=somewhere"])
    ]
    assert plans[0].fingerprints == plans[1].fingerprints


def test_a_dataset_by_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    table(folder / "train.parquet", texts(0, 60))
    given = CorpusConfig(source=f"hf:{folder}", **SMALL)
    make(given.source, given, tmp_path / "index", quiet)
    assert indexed(given, tmp_path / "index", [], []) == plain(given, [], [])
    table(folder / "train.parquet", texts(1, 60))
    with pytest.raises(UserError, match="is another than it was"):
        indexed(given, tmp_path / "index", [], [])
