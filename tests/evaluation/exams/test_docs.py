"""What docs/exams.md says is so: its examples are exams of the kind they stand under, its queries and settings run."""

import re
import shlex
import tomllib
from itertools import pairwise
from pathlib import Path

from schemas.exams import ExamConfig
from schemas.load import PROJECT, check, load_config
from tasks.evaluation.exams.formats import read_paper
from tasks.storage.db import connect
from tasks.storage.store import Store

EXAMS, REPRODUCE = ((PROJECT / "docs" / name).read_text() for name in ("exams.md", "reproduce.md"))


def test_every_example_is_an_exam_of_its_kind(tmp_path: Path) -> None:
    examples = re.findall(r"\*\*`(\w+)`\*\*:.*?```jsonl\n(.*?)```", EXAMS, re.DOTALL)
    assert [kind for kind, _ in examples] == ["rubric", "baseline", "gold", "parent"]
    for kind, text in examples:
        (tmp_path / "x.jsonl").write_text(text)
        paper = read_paper(ExamConfig(name="x", file=str(tmp_path / "x.jsonl")))
        assert (paper.kind, len(paper.prompts)) == (kind, 2)


def test_every_query_and_setting_runs(tmp_path: Path) -> None:
    queries = [shlex.split(line)[-1] for line in EXAMS.splitlines() if line.startswith("pop sql")]
    con = connect(Store(str(tmp_path), "none"))
    assert len(queries) >= 6 and [con.execute(query) for query in queries]
    (settings,) = re.findall(r"```toml\n(.*?)```", EXAMS, re.DOTALL)
    check(tomllib.loads(settings) | {"models": {"policy": {"path": "p"}, "teacher": {"path": "t"}}})
    lines = REPRODUCE.replace("\\\n", " ").splitlines()
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith(("pop round", "pop evaluate"))]
    (judge,) = (line.partition("=")[2].strip("'") for line in lines if line.startswith("JUDGE="))
    for words in commands:
        given = [judge if b == "$JUDGE" else b for a, b in pairwise(words) if a == "--set"]
        load_config(words[2], given)
    assert len(commands) == 9
