"""The frame of the benchmarks: medians, goals, the table in RESULTS.md; and tiny runs of those that are cheap."""

import argparse
import json
from pathlib import Path

import pytest

from benchmarks import frame, pairing
from benchmarks.__main__ import BEGIN, END, placed, rows_of
from benchmarks.frame import Figure
from benchmarks.modes import agreement, ranks
from benchmarks.real import require_whole, worked
from benchmarks.trainer import a_step
from tasks.storage.store import Store


def test_medians_of_the_runs_and_whether_they_reach_the_goal() -> None:
    runs = [[Figure("speed", value, "x", ">= 3"), Figure("time", value, "s", "<= 3")] for value in (2.0, 9.0, 4.0)]
    speed, time = frame.medians(runs)
    assert (speed["value"], speed["values"], speed["met"]) == (4.0, [2.0, 9.0, 4.0], True)
    assert time["met"] is False
    assert frame.medians([[Figure("told", 1.0, "")]])[0]["met"] is None


def test_a_missed_goal_is_exit_code_1_and_json_says_where_it_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    def measure(given: argparse.Namespace) -> list[Figure]:
        return [Figure("time", 2.0, "s", "<= 1")]

    assert frame.main("", measure, arguments=["--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert len(found["figures"][0]["values"]) == 3 and found["commit"] and found["machine"]["cores"] >= 1


def test_a_benchmark_replaces_its_own_rows_and_leaves_the_others() -> None:
    def found(value: float) -> list[str]:
        figures = frame.medians([[Figure("a", value, "s", "<= 2")]])
        return rows_of("busy", frame.stamp() | {"figures": figures})

    text = placed(f"# Results\n{BEGIN}\n{END}\nmore\n", "pairing", ["| pairing | p | 1 s |"])
    text = placed(placed(text, "busy", found(1)), "busy", found(5))
    lines = [line.split(" | ")[0] for line in text.splitlines()]
    assert (
        lines[-4:] == ["| busy", "| pairing", END, "more"] and "**missed**" in text and text.startswith("# Results\n")
    )


def test_a_shard_of_answers_is_paired(tmp_path: Path) -> None:
    import asyncio

    store = Store(str(tmp_path), "big")
    shards = pairing.make(store, pairing.PROBLEMS * pairing.ANSWERS)
    assert asyncio.run(pairing.pair_all(store)) == pairing.PROBLEMS
    assert len(store.read("pairs", 0, shards[0])) == len(store.read("preferences", 0, shards[0])) == pairing.PROBLEMS


def test_agreement_is_the_rank_correlation_of_what_both_tell_apart() -> None:
    assert ranks([3.0, 1.0, 3.0]) == [2.5, 1.0, 2.5]
    one = {"p": {"a": 1.0, "b": 2.0, "c": 9.0}, "q": {"a": 1.0, "b": 1.0, "c": 1.0}}
    other = {"p": {"a": 0.1, "b": 0.2, "c": 0.3}, "q": {"a": 1.0, "b": 2.0, "c": 3.0}}
    assert agreement(one, other) == pytest.approx(1.0)
    assert agreement({"q": one["q"]}, other) is None


def test_a_servers_work_begins_with_two_requests_and_ends_with_the_last_token() -> None:
    def seen(running: int, read: float, written: float) -> dict[str, float]:
        names = ("vllm:num_requests_running", "vllm:prompt_tokens_total", "vllm:generation_tokens_total")
        return dict(zip(names, (running, read, written), strict=True))

    looks = [
        (0.0, seen(1, 5, 1)),
        (1.0, seen(0, 9, 2)),
        (2.0, seen(7, 90, 4)),
        (3.0, seen(5, 95, 50)),
        (4.0, seen(0, 95, 50)),
    ]
    assert worked(looks) == (2.0, 86, 48)


def test_a_benchmark_of_vllms_that_did_less_than_asked_is_no_figure() -> None:
    rows = [{"output_tokens": 80}, {"output_tokens": 20}]
    require_whole({"completed": 2, "total_output_tokens": 100}, rows)
    for completed, written in ((1, 100), (2, 2)):
        with pytest.raises(RuntimeError, match="of 100 tokens"):
            require_whole({"completed": completed, "total_output_tokens": written}, rows)


def test_seconds_a_step_leave_the_first_out() -> None:
    assert a_step([100.0, 102.0, 104.0, 106.0]) == 2.0
