"""The suite from files to figures and rows, by a judge whose every verdict is known."""

import asyncio
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from schemas.roles import ModelConfig
from tasks.engine.protocol import Budget, Choice, EngineError, Generation, Likelihood, Message, Request
from tasks.evaluate import Contest, evaluation_config, make_bench, measured
from tasks.evaluation.bench import Bench, Measure
from tasks.models.resolve import Resolved
from tasks.storage.db import connect
from tasks.storage.store import Store
from tests.samples import Row, config

OURS = {"one": "good good", "two": "good bad", "three": "", "four": "broken good", "five": "good"}
THEIRS = {"one": "good", "two": "fine", "three": "fine", "four": "good", "five": "fine words are these"}


class Known:
    """A model that says what it was told to, and a judge that counts words: `good` meets, wins, and `broken` baffles
    it. Shown the word `first`, it names a position.

    Attributes:
        asked: every call by its identity, over all engines of a test.
        left: calls until the server is gone.
    """

    scores_prompts = False

    def __init__(self, name: str, asked: Counter[str], left: list[int]) -> None:
        self.model, self.asked, self.left = f"known:{name}", asked, left

    async def chat(self, request: Request) -> Generation:
        return self._said(request, self._text(request.role, request.messages[-1]["content"]))

    async def choice(self, request: Choice) -> Generation:
        return self._said(request, self._text(request.role, request.messages[-1]["content"], plain=True))

    async def likelihood(self, request: Likelihood) -> Generation:
        raise NotImplementedError

    async def budget(self, messages: Any, max_tokens: int) -> Budget:
        return Budget(1, 1000)

    def _said(self, request: Request | Choice, text: str) -> Generation:
        if self.left[0] == 0:
            raise EngineError("the server is gone")
        self.left[0] -= 1
        identity = request.generation_id(self.model)
        self.asked[identity] += 1
        messages: list[Message] = list(request.messages)
        return Generation(
            identity, request.subject_id, request.role, self.model, "x", messages, "{}", text, "stop", 10, 5, 0.1, 0
        )

    def _text(self, role: str, prompt: str, plain: bool = False) -> str:
        if role == "answer":
            return (OURS if self.model == "known:candidate" else THEIRS)[prompt.strip()]
        if "broken" in prompt:
            return "?"
        if plain or "JSON" not in prompt:
            return self._step(prompt)
        if "<criterion>" in prompt:
            met = _between(prompt, "criterion").split()[-1] in _between(prompt, "answer").split()
            return json.dumps({"thoughts": "so it is", "met": "yes" if met else "no"})
        return json.dumps({"thoughts": "I see", "better": _better(prompt)})

    def _step(self, prompt: str) -> str:
        """Of the stepwise dialect."""
        if "In one sentence" in prompt:
            return "It says so."
        if "Statement about" in prompt:
            answer, word = re.findall(r"(?:Answer|Statement about the answer): (.*)", prompt)
            return "yes" if word.split()[-1] in answer.split() else "no"
        first, second = re.findall(r"(?:First|Second) answer: (.*)", prompt)
        return _most_good(first, second)


def _between(prompt: str, tag: str) -> str:
    return prompt.split(f"<{tag}>\n")[1].split(f"\n</{tag}>")[0]


def _better(prompt: str) -> str:
    return _most_good(_between(prompt, "first_answer"), _between(prompt, "second_answer"))


def _most_good(first: str, second: str) -> str:
    if "words" in first + second:
        return "first"  # whatever it is shown
    a, b = first.split().count("good"), second.split().count("good")
    return "tie" if a == b else "first" if a > b else "second"


class Sat:
    """An exam of five prompts on disk, and what is needed to sit it."""

    def __init__(self, folder: Path, rows: list[Row], parent: bool = True, **settings: Any) -> None:
        self.folder, self.asked, self.left = folder, Counter[str](), [-1]
        file = folder / "mine.jsonl"
        file.write_text("\n".join(map(json.dumps, rows)))
        self.judge: dict[str, str] = {"judge": settings.pop("judge")} if "judge" in settings else {}
        self.settings, self.parent, self.file = settings, parent, file

    def bench(self) -> Bench:
        exams = [{"name": "mine", "file": str(self.file)}]
        evaluation = {"suites": ["exam"], "exams": exams, "bootstrap_samples": 200, **self.judge}
        own = config(evaluation=evaluation, **self.settings)
        parent = (ModelConfig(path="b"), "p") if self.parent else (None, None)
        contest = Contest(ModelConfig(path="a"), "c", *parent)
        store = Store(str(self.folder / "runs"), "r")
        settings = evaluation_config(own, contest, store, 0)
        models = {name: Resolved(f"known:{name}", None) for name in settings.models}

        async def engine(name: str) -> Known:
            return Known(name, self.asked, self.left)

        return make_bench(settings, contest, store, 0, models, engine, lambda: None, Path)

    def figures(self) -> dict[tuple[str, str], Measure]:
        found = asyncio.run(measured(self.bench(), "exam.mine"))
        return {(one.model_id, one.metric): one for one in found}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return connect(Store(str(self.folder / "runs/r"), "evaluation")).execute(query).fetchall()


HAS = [{"criterion": "Has good", "points": 4, "tags": ["t"]}, {"criterion": "Has bad", "points": -6, "tags": []}]
RUBRICS = [{"prompt": name, "rubrics": HAS, "category": "a" if name in ("one", "two") else "b"} for name in OURS]
BASELINES = [{"prompt": name, "baseline": "good"} for name in OURS]
DIALECTS = pytest.mark.parametrize("dialect", ["structured", "stepwise"])


@DIALECTS
def test_by_a_rubric_of_its_own(tmp_path: Path, dialect: str) -> None:
    sat = Sat(tmp_path, RUBRICS, task={"dialect": dialect}, sampling={"judge": {"temperature": 0.0}})
    found = sat.figures()
    # ours: 4/4, (4 - 6)/4, nothing said: 0, no verdict, 4/4; theirs: 1, 0, 0, 1, 0
    assert (found["c", "score"].value, found["c", "score"].n) == (0.375, 4)
    assert found["c", "score[a]"].value == 0.25 and found["p", "score"].value == pytest.approx(0.4)
    assert found["c", "difference"].value == 0.125  # (0 - 0.5 + 0 + 1) / 4
    unrated = found["c", "unrated_share"]
    assert (unrated.value, unrated.reason) == (0.2, "1 malformed")
    assert (found["c", "merits_met"].value, found["c", "faults_met"].value) == (
        0.75,
        0.25,
    )  # of the four that are marked
    assert found["c", "words"].value == pytest.approx(7 / 5)  # 2, 2, 0, 2, 1
    marks = sat.rows(
        "select problem, name, points, met, judge from exam_marks where model = 'known:candidate' order by 1, 2"
    )
    assert marks[2:4] == [("four", "c1", 4.0, None, "known:frozen"), ("four", "c2", -6.0, None, "known:frozen")]
    assert marks[8:] == [("two", "c1", 4.0, 1.0, "known:frozen"), ("two", "c2", -6.0, 1.0, "known:frozen")]
    answers = dict(sat.rows("select problem, rating_status from exam_answers where model = 'known:candidate'"))
    assert answers == {"one": "ok", "two": "ok", "three": "ok", "four": "malformed", "five": "ok"}


@DIALECTS
def test_against_a_baseline_in_both_orders(tmp_path: Path, dialect: str) -> None:
    sat = Sat(tmp_path, BASELINES, task={"dialect": dialect}, sampling={"judge": {"temperature": 0.0}})
    found = sat.figures()
    # ours: won, tied, lost for saying nothing, no verdict, tied; theirs: tied, lost, lost, tied, one order each: a half
    assert (found["c", "rate"].value, found["c", "rate"].n) == (0.5, 4)
    assert found["p", "rate"].value == pytest.approx((0.5 + 0 + 0 + 0.5 + 0.5) / 5)
    assert found["c", "difference"].value == 0.25  # (0.5 + 0.5 + 0 + 0) / 4
    assert (found["c", "unrated_share"].value, found["c", "baseline_words"].value) == (0.2, 1.0)
    better = sat.rows("select better, count(*) from exam_verdicts where problem = 'one' group by 1 order by 1")
    assert better == [("first", 1), ("second", 1), ("tie", 2)]
    (status,) = sat.rows("select distinct status, better from exam_verdicts where first_answer like 'broken%'")
    assert status == ("malformed", None)


def test_plain_prompts_against_the_parent(tmp_path: Path) -> None:
    prompts = [{"prompt": name} for name in OURS]
    found = Sat(tmp_path, prompts).figures()
    # won, won, lost, no verdict, and a judge that names a position: a half
    assert (found["c", "rate"].value, found["c", "rate"].n) == (0.625, 4)
    assert found["c", "difference"].value == 0.125 and found["c", "worst_difference"].value == 0.0
    assert found["p", "words"].value == pytest.approx(8 / 5)
    alone = Sat(tmp_path, prompts, parent=False).figures()
    assert alone["c", "value"].status == "not_run" and "--against" in (alone["c", "value"].reason or "")


def test_by_a_right_answer(tmp_path: Path) -> None:
    golds = {"one": "Good good.", "two": ["x", "good bad"], "three": "x", "four": "good", "five": "x"}
    found = Sat(tmp_path, [{"question": name, "answer": gold} for name, gold in golds.items()]).figures()
    assert [found["c", name].value for name in ("exact", "normalised", "contains")] == [0.2, 0.4, 0.6]
    assert found["c", "difference"].value == pytest.approx(2 / 5 - 1 / 5)


def test_a_killed_exam_goes_on_where_it_stopped_and_asks_nothing_twice(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    whole, killed = (Sat(tmp_path / name, RUBRICS) for name in ("a", "b"))
    expected = whole.figures()
    for calls in (3, 4, 9):  # the server is gone after as many: among the answers, and among the verdicts
        killed.left[0] = calls
        assert killed.figures()["c", "difference"].status == "failed"
    killed.left[0] = -1
    assert killed.figures() == expected
    assert killed.asked == whole.asked and set(killed.asked.values()) == {1}
    assert killed.figures() == expected and set(killed.asked.values()) == {1}  # and once more: nothing is asked


def test_more_prompts_or_another_category_ask_nothing_again(tmp_path: Path) -> None:
    few = Sat(tmp_path, RUBRICS[:3])
    few.figures()
    more = Sat(tmp_path, [row | {"category": "other"} for row in RUBRICS])
    more.asked = few.asked
    assert more.figures()["c", "unrated_share"].n == 5
    assert set(few.asked.values()) == {1}
    assert more.rows("select count(*), count(distinct problem_id) from exam_prompts where category = 'other'") == [
        (5, 5)
    ]


def test_costs_stand_by_exam(tmp_path: Path) -> None:
    sat = Sat(tmp_path, RUBRICS)
    sat.figures()
    found = sat.rows("select exam, role, model, calls, prompt_tokens from costs order by all")
    assert found == [
        ("mine", "answer", "known:candidate", 5, 50), ("mine", "answer", "known:parent", 5, 50),
        ("mine", "judge", "known:frozen", 22, 220),  # 2 criteria of 9 answers that say something; 2 asked 3 times
    ]  # fmt: skip


def test_a_judges_price_is_known_also_where_it_came_later(tmp_path: Path) -> None:
    def judge(name: str, usd: float) -> Row:
        return {"path": name, "usd_per_million_prompt_tokens": usd, "usd_per_million_completion_tokens": 0.0}

    for name, usd in (("first", 1.0), ("second", 2.0)):
        models = {"policy": {"path": "p"}, name: judge(name, usd)}
        Sat(tmp_path, RUBRICS, models=models, judge=name).figures()
    found = Sat(tmp_path, RUBRICS).rows("select model, cost_usd / prompt_tokens * 1e6 from costs where role = 'judge'")
    assert found == [("known:second", 2.0)]  # the same exam by another judge takes the place of the first
    prices = Sat(tmp_path, RUBRICS).rows("select model, usd_prompt from prices where usd_prompt > 0 order by 1")
    assert prices == [("known:first", 1.0), ("known:second", 2.0)]


def test_where_nothing_can_be_read_no_figure_is_made_up(tmp_path: Path) -> None:
    found = Sat(tmp_path, [{"prompt": "four"}], parent=True).figures()
    assert found["c", "rate"].status == found["c", "difference"].status == "not_run"
    assert found["c", "rate"].value is None and found["c", "unrated_share"].value == 1.0
    assert found["c", "unrated_share"].reason == "1 malformed"
