"""The learning benchmark's own parts: its judge is right by rule, its arms are what they say."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.learning.arms import ARMS, BASE, CURVE, Size, config_of, run_name
from benchmarks.learning.beside import beside
from benchmarks.learning.figure import Figure, pooled
from benchmarks.learning.judge import CRITERIA, NAME, judging, true_score
from benchmarks.learning.table import Result, plot, table
from flows.examining import examined
from schemas.config import Config
from schemas.preferences import ReuseConfig
from tasks.engine.client import Client
from tasks.evaluation.bench import NESTED
from tasks.evaluation.statistics import difference_interval
from tasks.rate import rate
from tasks.staging.plan import make_plan
from tasks.storage.store import Store
from tests.samples import Row, an_answer, problem

LONG = "so " * 46
ANSWERS = {"You can rest.": 2.0, f"You can rest {LONG}": 4 / 3, "A canteen.": 2 / 3, LONG: 0.0, "CAN\nopener": 2.0}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with judging() as address:
        yield address


@pytest.fixture
def settings(url: str) -> Config:
    return config_of(Size(), "truth", 0, url, first=False)


def test_the_rule_is_what_it_says() -> None:
    assert {text: true_score(text) for text in ANSWERS} == pytest.approx(ANSWERS)


def test_the_judge_is_right_through_prompt_server_and_log_probabilities(
    settings: Config, url: str, tmp_path: Path
) -> None:
    plan = make_plan(settings, "r", 0, {"policy": "p", "planted": "served:planted"})
    answers = [an_answer(f"a{n}", rollout=n) | {"final": text} for n, text in enumerate(ANSWERS)]
    rubric = {"rubric_id": "r", "problem_id": problem()["problem_id"], "criteria": list(CRITERIA), "status": "ok"}
    rubric["criteria"] = [criterion | {"gold": None} for criterion in CRITERIA]

    async def rated() -> list[Row]:
        client = Client("served:planted", settings.models["planted"], settings.engine, [url], asyncio.Semaphore(8))
        try:
            await examined("planted", client, settings, Store(str(tmp_path), "r"), None, lambda _: None)
            return await rate(plan, [problem()], answers, [rubric], client)
        finally:
            await client.close()

    assert [row["score"] for row in asyncio.run(rated())] == pytest.approx(list(ANSWERS.values()))


def test_arms_differ_from_the_truth_in_what_they_name_alone(settings: Config) -> None:
    truth = config_of(Size(), "truth", 3, "http://x/v1", first=True)
    for name, differs in ARMS.items():
        arm = config_of(Size(), name, 3, "http://x/v1", first=True)
        others = {section: getattr(truth, section) for section in (*differs, "reuse")}
        assert arm.model_copy(update=others) == truth
        for section, changed in differs.items():
            assert getattr(arm, section) == getattr(truth, section).model_copy(update=changed)
    hinted = config_of(Size(), "hints", 3, "http://x/v1", first=True)
    assert hinted.reuse == ReuseConfig(problems=truth.reuse.ratings)  # answers of its own to the same problems
    assert truth.reuse.ratings == f"{run_name(BASE, 3)}/0"
    assert set(CURVE) <= set(ARMS)
    own = config_of(Size(), "truth", 0, None, first=False)
    assert (own.rating.mode, own.roles.judge, NAME in own.models) == ("likelihood", "policy", False)


def test_the_table_has_a_line_a_round_and_what_is_missing_is_a_dash(tmp_path: Path) -> None:
    score = Figure(1.2, 1.1, 1.3, 40)
    found = [
        Result(BASE, 0, 0, {"heldout.score": Figure(0.9, 0.8, 1.0, 40)}, {}),
        Result("truth", 0, 0, {"heldout.score": score, "heldout.difference": score}, {"pairs": 9, "right_share": 1.0}),
        Result("reversed", 0, 0, {}, {"pairs": 9, "right_share": 0.0}),
    ]
    lines = table(found).splitlines()
    assert lines[2].startswith("| no training | 0 | - | - | - | - | - | 0.900 (0.800 to 1.000) | - |")
    assert lines[4] == "| reversed | 0 | 1 | 9 | 0% | - | - | - | - | - | - | - |"
    plot(found, tmp_path / "plot.svg")
    assert "share of pairs that are right" in (tmp_path / "plot.svg").read_text()


def test_two_arms_are_compared_problem_by_problem(tmp_path: Path) -> None:
    for arm, sha, scores in (("truth", "a" * 64, (2.0, 1.0, 0.5)), ("shuffled", "b" * 64, (1.0, 0.5, None))):
        Store(str(tmp_path), run_name(arm, 0)).write("models", 0, "m", [{"weights_sha256": sha}], {})
        exam = Store(str(tmp_path / run_name(arm, 0)), NESTED)
        answered = [(f"p{n}", f"{arm}{n}", score) for n, score in enumerate(scores)]
        rows: dict[str, list[Row]] = {
            "answers": [{"problem_id": p, "answer_id": a, "rollout": 0, "generation_id": a} for p, a, _ in answered],
            "generations": [{"generation_id": a, "model": f"weights:{sha[:24]}"} for _, a, _ in answered],
            "ratings": [
                {"answer_id": a, "score": score, "status": "ok" if score else "malformed"} for _, a, score in answered
            ],
        }
        for name, given in rows.items():
            exam.write(name, 0, "shard-00000", given, {})
    found = beside(tmp_path, ["shuffled", "length"], 0, 0)  # of `length` there is nothing
    assert found.keys() == {"shuffled"}
    assert (found["shuffled"].value, found["shuffled"].n) == (0.75, 2)  # gaps of 1 and 0.5


def test_several_seeds_together_are_as_all_their_problems() -> None:
    some = [[0.1, 0.5, 0.3, 0.2, 0.9, 0.4], [0.6, 0.2, 0.7, 0.8, 0.1, 0.3, 0.5, 0.4]]
    (one, other, all_of_them) = (figure_of(gaps) for gaps in (*some, [*some[0], *some[1]]))
    together = pooled([one, other])
    assert together.n == all_of_them.n and together.value == pytest.approx(all_of_them.value)
    assert together.high - together.low == pytest.approx(all_of_them.high - all_of_them.low, rel=0.25)
    found = [Result("truth", seed, 0, {"heldout.score": each}, {}) for seed, each in enumerate((one, other))]
    assert table(found).splitlines()[-1].startswith(f"| truth | all | 1 | - | - | - | - | {together} | - |")


def figure_of(gaps: list[float]) -> Figure:
    value, low, high = difference_interval(gaps)
    assert value is not None and low is not None and high is not None
    return Figure(value, low, high, len(gaps))
