"""The figures of an evaluation: pure functions, by worked examples and properties."""

import json
import math
import subprocess
import sys
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import UserError
from schemas.load import load_config
from tasks.evaluation import SUITES, ifeval_check
from tasks.evaluation.ifeval import AS_SCRIPT, accuracies, prompt_level, read_prompts
from tasks.evaluation.lm_eval import figures
from tasks.evaluation.perplexity import nats
from tasks.evaluation.statistics import bootstrap, difference_interval, length_controlled, mean_interval, wilson
from tasks.evaluation.winrate import Match, games_of
from tasks.judging.case import Case
from tasks.staging.plan import make_plan

Row = dict[str, Any]
values = st.lists(st.floats(-2, 2), min_size=2, max_size=30)


@given(values)
def test_a_bootstrap_interval_lies_within_the_values_and_repeats(found: list[float]) -> None:
    low, high = bootstrap(found, fmean, 200, 0)
    assert low is not None and high is not None
    assert min(found) - 1e-9 <= low <= high <= max(found) + 1e-9
    assert (low, high) == bootstrap(found, fmean, 200, 0)


def test_a_single_value_has_no_interval_and_none_has_no_mean() -> None:
    assert mean_interval([1.0], 200, 0) == (1.0, None, None)
    assert mean_interval([], 200, 0) == (None, None, None)
    assert wilson(0, 0) == (None, None, None)


@pytest.mark.parametrize(("n", "quantile"), [(2, 12.706), (8, 2.365), (16, 2.131), (64, 1.998), (3000, 1.960)])
def test_the_interval_of_differences_is_students(n: int, quantile: float) -> None:
    gaps = [0.5 + (-1) ** i * 0.1 for i in range(n)]
    mean, low, high = difference_interval(gaps)
    assert mean is not None and low is not None and high is not None
    half = quantile * stdev(gaps) / math.sqrt(n)
    assert [mean - low, high - mean] == pytest.approx([half, half], rel=1e-3)
    assert difference_interval([0.5]) == (0.5, None, None) and difference_interval([]) == (None, None, None)


def test_by_few_values_a_bootstrap_reaches_as_far_out_as_students_interval() -> None:
    found = [0.1, 0.3, -0.2, 0.5, 0.0, 0.2, 0.4, -0.1]
    low, high = bootstrap(found, fmean, 4000, 0)
    _, lower, higher = difference_interval(found)
    assert low is not None and high is not None and lower is not None and higher is not None
    assert (high - low) == pytest.approx(higher - lower, rel=0.07)  # the percentiles alone: a quarter less


def test_wilsons_interval_is_that_of_the_textbook() -> None:
    share, low, high = wilson(8, 10)
    assert (share, round(low or 0, 3), round(high or 0, 3)) == (0.8, 0.490, 0.943)


def test_the_length_controlled_rate_takes_away_what_length_explains() -> None:
    longer_wins = [(1.0, 50.0)] * 15 + [(0.0, 50.0)] * 5 + [(1.0, -50.0)] * 2 + [(0.0, -50.0)] * 6
    assert fmean(win for win, _ in longer_wins) > 0.6
    assert abs((length_controlled(longer_wins) or 0) - 0.5) < 0.02
    assert length_controlled([(1.0, 0.0), (0.0, 0.0), (1.0, 0.0)]) == pytest.approx(2 / 3)
    assert length_controlled([]) is None


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-500, 500)), min_size=1, max_size=40))
def test_the_length_controlled_rate_is_a_share_and_symmetric(games: list[tuple[float, float]]) -> None:
    rate = length_controlled(games)
    mirrored = length_controlled([(1 - win, -gap) for win, gap in games])
    assert rate is not None and mirrored is not None
    assert 0 <= rate <= 1
    assert rate == pytest.approx(1 - mirrored, abs=1e-3)


def test_a_judge_who_prefers_the_first_answer_gives_a_tie_and_half_a_comparison_no_game() -> None:
    ours = {"answer_id": "a", "words": 60, "problem_id": "p"}
    theirs = {"answer_id": "b", "words": 50, "problem_id": "p"}
    cases = [Match(Case("?", {}, [ours, theirs]), [(ours, theirs)])]

    def row(first: str, second: str, marks: tuple[float, float], status: str = "ok") -> Row:
        return {"first_answer_id": first, "second_answer_id": second, "first_mark": marks[0], "second_mark": marks[1],
                "status": status}  # fmt: skip

    assert games_of([row("a", "b", (2, 0)), row("b", "a", (2, 0))], cases) == [(0.5, 10.0)]
    assert games_of([row("a", "b", (2, 0)), row("b", "a", (0, 2))], cases) == [(1.0, 10.0)]
    assert games_of([row("a", "b", (2, 0)), row("b", "a", (0, 2), "malformed")], cases) == []


def test_nats_are_null_where_the_server_tells_none() -> None:
    assert nats('[{"tokens": 4, "logprob": -8.0}]') == 2.0
    assert nats('[{"tokens": 4, "logprob": null}]') is None
    assert nats('[{"tokens": 0, "logprob": 0.0}]') is None


def _checked(key: int, *followed: bool | None) -> Row:
    return {
        "key": key,
        "instructions": [
            {"instruction": "x:y", "strict": f, "loose": f, "problem": "needs data" if f is None else None}
            for f in followed
        ],
    }


def test_what_could_not_be_checked_is_not_run_and_never_failed() -> None:
    verdicts = [_checked(1, True, True), _checked(2, True, False), _checked(3, True, None)]
    assert prompt_level(verdicts, "strict") == {"1": True, "2": False}
    found = {measure.metric: measure for measure in accuracies("m", verdicts, 3)}
    assert (found["prompt_strict"].value, found["prompt_strict"].n) == (0.5, 2)
    assert (found["instruction_loose"].value, found["instruction_loose"].n) == (0.8, 5)
    assert (found["instructions"].value, found["instructions"].status, found["instructions"].n) == (None, "not_run", 1)


def test_a_sample_of_ifeval_is_spread_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "ifeval.jsonl"
    rows = [{"key": n, "prompt": "p", "instruction_id_list": [], "kwargs": []} for n in range(100)]
    file.write_text("\n".join(map(json.dumps, rows)))
    assert [row["key"] for row in read_prompts(str(file), 4)] == [0, 25, 50, 75]
    assert len(read_prompts(str(file), None)) == 100
    file.write_text('{"text": "no prompts"}')
    with pytest.raises(UserError, match="not IFEval's"):
        read_prompts(str(file), None)
    with pytest.raises(UserError, match="ifeval_file"):
        read_prompts(str(tmp_path / "missing"), None)


def test_without_lm_eval_the_checker_says_so(tmp_path: Path) -> None:
    (tmp_path / "answers.json").write_text("[]")
    command = [
        sys.executable,
        *AS_SCRIPT,
        "-S",
        ifeval_check.__file__,
        str(tmp_path / "answers.json"),
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == ifeval_check.MISSING
    assert "No module named" in done.stderr


def test_lm_evals_results_become_figures_with_intervals() -> None:
    results = {
        "results": {"t": {"acc,none": 0.5, "acc_stderr,none": 0.1, "alias": "t"}},
        "n-samples": {"t": {"effective": 9}},
    }
    (found,) = figures("m", results)
    assert (found.metric, found.value, found.n) == ("t.acc", 0.5, 9)
    assert found.low == pytest.approx(0.304, abs=1e-3)


def test_evaluation_and_gate_change_no_fingerprint() -> None:
    plain = load_config("demo")
    other = load_config("demo", ["evaluation.problems=7", "evaluation.seed=5", "gate.patience=9", "gate.guards={}"])
    models = {"policy": "x"}
    assert make_plan(plain, "r", 0, models).fingerprints == make_plan(other, "r", 0, models).fingerprints


def test_every_suite_of_the_configuration_is_there() -> None:
    from typing import get_args

    from schemas.gating import Suite

    assert set(get_args(Suite)) == set(SUITES)


@pytest.mark.runtime
def test_lm_evals_own_checkers_say_what_was_followed(tmp_path: Path) -> None:
    from tasks.runtime import runtime_python

    row = {"key": 1, "prompt": "Say it.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    sentences = {"instruction_id_list": ["length_constraints:number_sentences"], "kwargs": [
        {"relation": "at least", "num_sentences": 1}
    ]}  # fmt: skip
    rows = [row | {"response": "No comma here."}, row | {"response": "One, two."}, row | {"response": ""},
            row | sentences | {"response": "One. Two."}]  # fmt: skip
    (tmp_path / "answers.json").write_text(json.dumps(rows))
    command = [
        runtime_python(),
        *AS_SCRIPT,
        ifeval_check.__file__,
        tmp_path / "answers.json",
        tmp_path / "verdicts.json",
    ]
    env = {"NLTK_DATA": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, env=env)
    if done.returncode == ifeval_check.MISSING:
        pytest.skip("pop setup --evaluation was not run")
    verdicts = [one["instructions"][0] for one in json.loads((tmp_path / "verdicts.json").read_text())]
    assert [one["strict"] for one in verdicts[:3]] == [True, False, False]
    assert verdicts[3]["strict"] is None and "punkt_tab" in verdicts[3]["problem"]
