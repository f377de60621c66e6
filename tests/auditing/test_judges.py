"""The zero line: what a judge orders beyond an answer's own likelihood and length, in SQL and in Python alike."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.ordering import Graded, ordering, ranks
from flows.views.findings import findings
from tasks.storage.db import connect, rows_of
from tasks.storage.store import Store
from tests import planted


def judges(store: Store, judge: str = "pointwise", reference: bool = False) -> planted.Row:
    query = "SELECT * FROM judges WHERE judge = ? AND reference = ?"
    (row,) = rows_of(connect(store), query, [judge, reference])
    return row


def graded(store: Store) -> list[Graded]:
    return [
        Graded(
            row["problem_id"], row["score"], row["grounded"], row["own_likelihood"], row["words"], row["rollout"] < 0
        )
        for row in rows_of(connect(store), "SELECT * FROM graded")
    ]


def style(tables: planted.Tables) -> None:
    """Own likelihoods that have something of the score, and something of their own."""
    for n, row in enumerate(tables["ratings"]):
        row["own_likelihood"] = 0.5 * row["score"] - 3.0 - (n * 7 % 11) / 5


def test_the_view_and_the_module_give_the_same_figures(tmp_path: Path) -> None:
    store = planted.write(str(tmp_path), "r", style)
    for reference in (False, True):
        row = judges(store, reference=reference)
        found = ordering([one for one in graded(store) if reference or not one.reference])
        for name in ("correlation", "correlation_pm", "beyond", "beyond_pm"):
            assert row[name] == pytest.approx(getattr(found, name), abs=1e-9), name
        assert (row["problems"], row["answers"]) == (found.problems, found.answers)
    both = ordering(graded(store))
    assert (row["agree"], row["reference_above"]) == (pytest.approx(both.agree, abs=0.1), both.reference_above)


def test_the_partial_correlation_and_its_interval_are_those_of_numpy(tmp_path: Path) -> None:
    rows = [one for one in graded(planted.write(str(tmp_path), "r", style)) if not one.reference]
    names = sorted({row.problem_id for row in rows})
    table = []
    for name in names:
        own = [row for row in rows if row.problem_id == name]
        figures: tuple[list[float | None], ...] = (
            [r.score for r in own], [r.grounded for r in own], [r.own for r in own], [float(r.words) for r in own],
        )  # fmt: skip
        table.append(np.array([ranks(column) for column in figures]).T)

    def partial(parts: list[np.ndarray]) -> float:
        all_ = np.concatenate(parts)
        zero = all_[:, 2:]
        left = [all_[:, n] - zero @ np.linalg.lstsq(zero, all_[:, n], rcond=None)[0] for n in (0, 1)]
        return float(left[0] @ left[1] / np.sqrt((left[0] @ left[0]) * (left[1] @ left[1])))

    draw = np.random.default_rng(0)
    drawn = [partial([table[n] for n in draw.integers(0, len(table), len(table))]) for _ in range(400)]
    found = ordering(rows)
    assert found.beyond == pytest.approx(partial(table))
    assert found.beyond_pm == pytest.approx(1.96 * np.std(drawn), rel=0.2)


def test_a_judge_that_only_says_the_zero_line_again_has_nothing_beyond_it(tmp_path: Path) -> None:
    row = judges(planted.write(str(tmp_path), "r", planted.judge_of_style))
    assert row["correlation"] > 0.1 and (row["beyond"], row["beyond_pm"]) == (0.0, 0.0)


def test_a_judge_at_chance_blocks_once_there_are_enough_problems_and_warns_before(tmp_path: Path) -> None:
    def verdicts(store: Store) -> dict[str, tuple[str, str]]:
        return {f.audit.name: (f.verdict, f.detail) for f in findings(store, 0) if f.audit.name.startswith("judge_")}

    few = verdicts(planted.write(str(tmp_path), "few", planted.judge_at_chance))
    assert few["judge_adds_nothing"][0] == "ok" and few["judge_uncertain"][0] == "warn"
    assert "problems would tell" in few["judge_uncertain"][1]

    def against(tables: planted.Tables) -> None:
        for row in tables["ratings"]:
            row["score"] = 2.0 - row["score"]

    assert verdicts(planted.write(str(tmp_path), "wrong", against))["judge_adds_nothing"][0] == "fail"
    assert verdicts(planted.write(str(tmp_path), "good"))["judge_uncertain"][0] == "ok"


def test_without_own_likelihoods_length_alone_is_the_zero_line(tmp_path: Path) -> None:
    row = judges(planted.write(str(tmp_path), "r"))
    assert row["beyond"] is not None and row["needed"] >= 1
