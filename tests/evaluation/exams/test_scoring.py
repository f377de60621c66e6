"""The formulas of exams, against cases computed by hand."""

from collections import Counter
from typing import Any

import pytest

from schemas.exams import ExamConfig, Kind
from schemas.gating import EvaluationConfig
from tasks.evaluation.bench import Measure
from tasks.evaluation.exams.figures import Figures, Result
from tasks.evaluation.exams.formats import Paper, Prompt
from tasks.evaluation.exams.scoring import clipped_mean, contains, exact, matches, normalised, points_score, win_of
from tasks.evaluation.shares import Marks

Score = float | None


@pytest.mark.parametrize(
    ("points", "met", "score"),
    [
        ([7, 5, 10, -6], [True, False, True, True], 11 / 22),  # (7 + 10 - 6) of 7 + 5 + 10
        ([5, -10], [False, True], -2.0),  # lost more than there was to win: not clipped here
        ([5, -10], [True, False], 1.0),  # a fault that it does not have costs nothing, and earns nothing
        ([4, 6], [False, False], 0.0),
        ([4, 6, -3], [True, None, False], None),  # a missing verdict is not "not met"
        ([-4, -1], [True, False], None),  # nothing to reach
    ],
)
def test_a_score_is_the_points_met_over_the_positive_ones(
    points: list[float], met: list[bool | None], score: Score
) -> None:
    assert points_score(points, met) == score


def test_the_mean_is_clipped_and_not_its_parts() -> None:
    assert clipped_mean([-0.5, 1.0]) == 0.25  # each clipped, it would be 0.5
    assert clipped_mean([-2.0, 1.0]) == 0.0
    assert clipped_mean([]) is None


@pytest.mark.parametrize(
    ("forth", "back", "win"),
    [(2, 2, 1.0), (0, 0, 0.0), (2, 0, 0.5), (1, 1, 0.5), (2, 1, 0.75), (0, 1, 0.25), (None, 2, None), (2, None, None)],
)
def test_each_order_counts_half_and_one_alone_is_no_verdict(forth: Score, back: Score, win: Score) -> None:
    assert win_of(forth, back) == win


def test_matching_is_exact_or_normalised_and_never_by_a_part_of_a_word() -> None:
    assert exact(" Paris\n", ["Rome", "Paris"]) and not exact("paris", ["Paris"])
    assert matches("the  ‘Seine’.", ["Seine"]) and matches("巴黎。", ["巴黎"]) and contains("答案是巴黎。", ["巴黎"])
    assert matches("The Seine.", ["seine"]) and not matches("It is the Seine.", ["seine"])
    assert contains("It is the Seine.", ["seine"]) and not contains("Seinen", ["seine"])
    assert not any(matches(one, [other]) for one, other in (("5", "-5"), ("15", "1.5"), ("314", "3.14"), ("+5", "-5")))
    assert (
        matches("72", ["72.0"])
        and matches("1,000.5", ["1000.5"])
        and matches("It is −5.".removeprefix("It is "), ["-5"])
    )
    assert normalised("!?") == "!?" and not matches("?", ["!"])  # nothing is left of both, and they are not the same


def paper(kind: Kind, categories: dict[str, str | None]) -> Paper:
    made = (Prompt(name, name, ({"role": "user", "content": name},), cat) for name, cat in categories.items())
    return Paper(ExamConfig(name="x", file="x.jsonl"), kind, tuple(made))


def result(scores: dict[str, list[Score]], **more: Any) -> Result:
    finished = {name: [True] * len(row) for name, row in scores.items()}
    return Result(Marks(scores, finished), {name: [10.0] for name in scores}, **more)


def by_name(measures: list[Measure]) -> dict[str, Measure]:
    return {one.metric: one for one in measures}


SETTINGS = EvaluationConfig(bootstrap_samples=200)


def test_a_model_is_told_over_all_by_category_and_by_what_is_missing() -> None:
    figures = Figures(paper("rubric", {"p": "a", "q": "a", "r": "b", "s": None}), SETTINGS)
    found = by_name(figures.of_model("m", result(
        {"p": [1.0], "q": [-0.5], "r": [None], "s": [0.7]}, unrated=Counter({"malformed": 1})
    )))  # fmt: skip
    assert found["score"].value == pytest.approx(0.4) and found["score"].n == 3  # (1 - 0.5 + 0.7) / 3
    assert found["score"].low is not None and 0 <= found["score"].low <= 0.4 <= (found["score"].high or 0) <= 1
    assert (found["score[a]"].value, found["score[a]"].n) == (0.25, 2)
    assert (found["score[b]"].value, found["score[b]"].status) == (None, "not_run")  # null, and not zero
    assert (found["unrated_share"].value, found["unrated_share"].reason) == (0.25, "1 malformed")
    assert found["words"].value == 10.0


def test_a_difference_is_paired_never_clipped_and_bounded_by_what_is_missing() -> None:
    figures = Figures(paper("rubric", dict.fromkeys("pqr")), SETTINGS)
    ours, theirs = result({"p": [-1.0], "q": [0.5], "r": [None]}), result({"p": [0.0], "q": [0.0], "r": [1.0]})
    found = by_name(figures.against("m", ours, theirs))
    assert (found["difference"].value, found["difference"].n) == (-0.25, 2)  # (-1 + 0.5) / 2, of the shared prompts
    assert found["worst_difference"].value == pytest.approx((-1.0 + 0.5 - 1.0) / 3)  # r: their lowest, 0, against 1
    assert found["rated_share_difference"].value == pytest.approx(-1 / 3)


def test_against_the_parent_a_rate_stands_beside_length_and_a_blind_judge_says_nothing() -> None:
    figures = Figures(paper("parent", dict.fromkeys("pqr")), SETTINGS)
    won = result({"p": [1.0], "q": [0.0], "r": [None]}, gaps={"p": [40.0], "q": [-40.0], "r": [None]})
    found = by_name([*figures.of_model("m", won), *figures.from_half("m", won, won.marks)])
    assert (found["rate"].value, found["difference"].value, found["rate"].n) == (0.5, 0.0, 2)
    assert found["length_controlled"].value == pytest.approx(0.5, abs=1e-6)
    assert found["worst_difference"].value == pytest.approx(1 / 3 - 0.5)  # r lost
    assert found["compared_share"].value == pytest.approx(2 / 3) and "rated_share" not in found
    tied = result({name: [0.5] for name in "pqr"}, gaps={name: [0.0] for name in "pqr"})
    blind = by_name([*figures.of_model("m", tied), *figures.from_half("m", tied, tied.marks)])
    assert {blind[name].status for name in ("rate", "difference", "length_controlled")} == {"uninformative"}
    assert blind["difference"].value is None and "cannot tell" in (blind["rate"].reason or "")
