"""Files of exams: recognised by their columns, and refused by one line that says where and why."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import UserError
from schemas.exams import ExamConfig, name_of_file
from schemas.load import PROJECT
from tasks.evaluation.exams.formats import Paper, read_paper

Row = dict[str, Any]
RUBRIC = [{"criterion": "Names it", "points": 5, "tags": ["t"]}, {"criterion": "Is rude", "points": -3, "tags": []}]


def read(file: Path, **settings: Any) -> Paper:
    return read_paper(ExamConfig(name="x", file=str(file), **settings))


def lines(file: Path, *rows: Row | str) -> Path:
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    file.write_bytes(gzip.compress(text.encode()) if file.suffix == ".gz" else text.encode())
    return file


@pytest.mark.parametrize(
    ("name", "kind", "categories"),
    [
        ("health.jsonl", "rubric", {"emergency", "daily", "medicine", "context"}),
        ("arena.jsonl", "baseline", {"writing", "explain", "plan"}),
        ("writing.csv", "parent", {"tale", "verse", "letter"}),
        ("facts.jsonl", "gold", {"geography", "numbers", "nature", "words"}),
    ],
)
def test_the_sample_exams_are_known_by_their_columns(name: str, kind: str, categories: set[str]) -> None:
    paper = read(PROJECT / "data/exams" / name)
    assert (paper.kind, len(paper.prompts)) == (kind, 20)
    assert {prompt.category for prompt in paper.prompts} == categories


def test_the_same_rows_are_the_same_exam_in_every_kind_of_file(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"},
            {"role": "user", "content": "Why, “so”, [1]?"}]  # fmt: skip
    rows = [{"prompt": talk, "rubrics": RUBRIC, "theme": "a"}, {"prompt": [talk[-1]], "rubrics": RUBRIC, "theme": "b"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    with (tmp_path / "c.csv").open("w", newline="", encoding="utf-8-sig") as out:
        csv.writer(out).writerows([rows[0].keys()] + [
            [value if isinstance(value, str) else json.dumps(value) for value in row.values()] for row in rows
        ])  # fmt: skip
    lines(tmp_path / "j.jsonl.gz", *rows)
    lines(tmp_path / "b.jsonl", "\ufeff" + json.dumps(rows[0]), "", rows[1])
    papers = [read(tmp_path / name) for name in ("p.parquet", "c.csv", "j.jsonl.gz", "b.jsonl")]
    assert len({paper.identity for paper in papers}) == 1
    first = papers[0].prompts[0]
    assert first.text.startswith("user: Hi\n\nassistant: Yes?") and first.criteria[1].points == -3
    assert first.criteria[0].tags == ("t",) and first.category == "a"


def test_an_arena_file_may_keep_its_baseline_apart(tmp_path: Path) -> None:
    old = [{"question_id": n, "category": "arena", "cluster": f"c{n}", "turns": [{"content": f"Q{n}"}]} for n in (1, 2)]
    answers = [{"question_id": n, "choices": [{"turns": [{"content": f"B{n}"}]}]} for n in (2, 1)]
    later = [{"uid": f"{n}", "prompt": f"Q{n}"} for n in (1, 2)]
    talks = [{"uid": f"{n}", "messages": [{"role": "assistant", "content": {"answer": f"B{n}"}}]} for n in (1, 2)]
    for name, rows, base in (("old", old, answers), ("later", later, talks)):
        file, baseline = lines(tmp_path / f"{name}.jsonl", *rows), lines(tmp_path / f"{name}-b.jsonl", *base)
        paper = read(file, baseline=str(baseline))
        assert [(p.text, p.baseline) for p in paper.prompts] == [("Q1", "B1"), ("Q2", "B2")]
    lines(tmp_path / "later-b.jsonl", talks[0])
    with pytest.raises(UserError, match="line 2: the baseline's file has no answer to uid '2'"):
        read(tmp_path / "later.jsonl", baseline=str(tmp_path / "later-b.jsonl"))


def test_a_limit_is_spread_and_a_kind_may_be_said(tmp_path: Path) -> None:
    file = lines(tmp_path / "x.jsonl", *({"prompt": f"Q{n}", "reference": f"A{n}"} for n in range(10)))
    assert [prompt.text for prompt in read(file, limit=2).prompts] == ["Q0", "Q5"]
    assert read(file).prompts[0].golds == ("A0",) and read(file, kind="baseline").prompts[0].baseline == "A0"


OK = {"prompt": "Q", "rubrics": RUBRIC}
POINTS = "criterion 1: points {} are no number other than 0"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "is empty"),
        (["", "  "], "is empty"),
        ([{"text": "Q"}], "line 1: no prompt: an exam needs one of the columns prompt, question,"),
        ([OK, {"prompt": "R", "answer": "A"}], "line 2: of the kind 'gold', and line 1 is of 'rubric'"),
        ([OK, {"prompt": "R", "rubrics": None}], "line 2: of the kind 'parent'"),
        ([OK, {"prompt": "R"}, OK], "line 2: of the kind 'parent'"),
        ([{"prompt": "Q"}, "", {"prompt": "Q", "id": 2}], "line 3: the same prompt as line 1"),
        ([{"prompt": " "}], "line 1: prompt is no text, or an empty one"),
        ([{"messages": [{"role": "assistant", "content": "b"}]}], "messages: the conversation must end with the user"),
        ([{"prompt": [{"role": "usr", "content": "a"}]}], "the role 'usr' is none of"),
        ([{"turns": [{"content": "a"}, {"content": "b"}]}], "several turns"),
        ([{"prompt": "Q", "rubrics": [{"criterion": "c", "points": "5"}]}], POINTS.format("'5'")),
        ([{"prompt": "Q", "rubrics": [{"criterion": "c", "points": True}]}], POINTS.format("True")),
        ([{"prompt": "Q", "rubrics": [{"criterion": "c", "points": 0}]}], POINTS.format("0")),
        (['{"prompt": "Q", "rubrics": [{"criterion": "c", "points": NaN}]}'], POINTS.format("nan")),
        ([{"prompt": "Q", "rubrics": [{"criterion": "", "points": 1}]}], "criterion 1 is empty"),
        ([{"prompt": "Q", "rubrics": [{"criterion": "c", "points": -1}]}], "no criterion has positive points"),
        ([{"prompt": "Q", "rubrics": "be good"}], "line 1: no rubric: a list of objects"),
        ([{"prompt": "Q", "answer": 7, "x": 1}, '{"prompt": "R", "answ'], "line 2: no JSON"),
        (["[1]"], "line 1: no JSON object, but list"),
        ([{"prompt": "Q", "answer": 2, "choices": ["a", "b", "c"]}], "line 1: choices beside the question"),
        ([{"instruction": "Translate", "input": "Hallo", "answer": "Hello"}], "line 1: input beside the question"),
        ([{"question": "Who?", "context": "Bob did.", "answer": "Bob"}], "line 1: context beside the question"),
        ([{"prompt": "A  b"}, {"prompt": " A b\n"}], "line 2: the same prompt as line 1"),
        ([{"turns": ["a", "b"]}], "several turns"),
        ([OK | {"rubrics": None, "answer": 7}, '{"prompt": "R", "answer": NaN}'], "line 2: of the kind 'parent'"),
        (['{"prompt": "R", "answer": ["a", NaN]}'], "line 1: answer is nan: no right answer"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_by_one_line(tmp_path: Path, rows: list[Any], says: str) -> None:
    file = lines(tmp_path / "x.jsonl", *rows)
    with pytest.raises(UserError) as refused:
        read(file)
    text = str(refused.value)
    assert says in text and str(file) in text and "\n" not in text and text.startswith("evaluation.exams: ")


def test_torn_files_and_others_are_refused_too(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b'{"prompt": "Question %d, %f"}\n' % (n, n**0.5) for n in range(2000)))
    pq.write_table(pa.table({"prompt": ["Q"]}), tmp_path / "p.parquet")
    (tmp_path / "dir.jsonl").mkdir()
    torn: dict[str, tuple[bytes | None, str]] = {
        "gone.jsonl": (None, "cannot read"),
        "x.txt": (b"Q", "is none of .jsonl, .csv, .parquet"),
        "x.jsonl.gz": (whole[: len(whole) // 2], "is damaged"),
        "latin.jsonl": ('{"prompt": "Größe"}'.encode("latin-1"), "line 1: not UTF-8"),
        "p2.parquet": ((tmp_path / "p.parquet").read_bytes()[:-9], "no whole Parquet file"),
        "wide.csv": (b"prompt,category\nQ,a\nR,b,c\n", "line 3: 3 fields, and the header has 2"),
        "quote.csv": (b'prompt\n"Q\n', "is a quote lost?"),
        "twice.csv": (b"prompt,prompt\na,b\n", "two columns are called 'prompt'"),
        "dir.jsonl": (None, "cannot read"),
    }
    for name, (content, says) in torn.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError) as refused:
            read(tmp_path / name)
        assert says in str(refused.value) and "\n" not in str(refused.value), name


def test_an_exam_is_called_after_its_file() -> None:
    names = {
        "a/My Questions v2.jsonl.gz": "my-questions-v2",
        "x.csv": "x",
        "健康.jsonl": "exam",
        "q.tar.parquet": "q-tar",
    }
    assert {file: name_of_file(file) for file in names} == names


def test_right_answers_are_read_as_exams_are_published(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text('prompt,answer\nQ,"[""42"", ""forty-two""]"\n')
    assert read(tmp_path / "c.csv").prompts[0].golds[:2] == ("42", "forty-two")
    (tmp_path / "s.csv").write_text("Prompt, Answer ,input\nQ,A,\n")
    assert read(tmp_path / "s.csv").prompts[0].golds == ("A",)
    assert read(lines(tmp_path / "t.jsonl", {"turns": ["Write a poem."]})).prompts[0].text == "Write a poem."
    worked = lines(
        tmp_path / "w.jsonl",
        {"question": "Q", "answer": "48/2 = 24\n48+24 = 72\n#### 72"},
        {"question": "R", "answer": 7.0},
    )
    assert [one.golds for one in read(worked).prompts] == [("72",), ("7",)]
