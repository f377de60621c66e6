"""Modes that compare answers (pairwise, anchor): a score in [0, 2] by the rule, or none."""

import json
from collections import Counter
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.judging.anchor import median_length
from tasks.judging.case import Row
from tasks.judging.pairwise import balanced
from tests.judging.samples import Reply, answers_of, judge, scores

# Pairwise


def shown(request: Any) -> tuple[str, str]:
    """The names of the first and the second answer in a comparison's prompt."""
    prompt = request.messages[0]["content"]
    names = sorted((prompt.rindex(f"<{name}>"), name) for name in ("a", "b", "c", "ref") if f"<{name}>" in prompt)
    return names[0][1], names[-1][1]


def duel(better: dict[tuple[str, str], str]) -> Reply:
    """A judge who says of (first, second) which is better."""
    return lambda request: json.dumps({"thoughts": "", "better": better.get(shown(request), "tie")})


A_BEATS_B: dict[tuple[str, str], str] = {("a", "b"): "first", ("b", "a"): "second"}


def test_the_example_of_pairwise() -> None:
    prefers_first = {("a", "c"): "first", ("c", "a"): "first"}
    found = judge("pairwise", duel(A_BEATS_B | prefers_first), answers_of("a", "b", "c"))
    assert scores(found) == {"a": 1.5, "b": 0.5, "c": 1.0}
    assert len(found.comparisons) == 6
    marks = {(row["first_answer_id"], row["second_answer_id"]): row["first_mark"] for row in found.comparisons}
    assert (marks["a", "b"], marks["b", "a"], marks["b", "c"]) == (2.0, 0.0, 1.0)


def test_an_order_that_is_malformed_invalidates_that_comparison_only() -> None:
    good = duel(A_BEATS_B)
    found = judge("pairwise", lambda r: "?" if shown(r) == ("a", "c") else good(r), answers_of("a", "b", "c"))
    assert scores(found) == {"a": 2.0, "b": 0.5, "c": 1.0}  # a: b alone; c: b alone
    assert Counter(row["status"] for row in found.comparisons) == {"ok": 5, "malformed": 1}
    (lonely, other) = judge("pairwise", lambda _: "?", answers_of("a", "b")).verdicts
    assert (lonely.status, lonely.score, other.score) == ("malformed", None, None)


def test_a_reference_takes_no_points_from_the_answers() -> None:
    always_ref = {(x, "ref"): "second" for x in "ab"} | {("ref", x): "first" for x in "ab"}
    found = judge("pairwise", duel(A_BEATS_B | always_ref), answers_of("ref", "a", "b"))
    assert scores(found) == {"ref": 2.0, "a": 2.0, "b": 0.0}


@given(st.integers(2, 24), st.none() | st.integers(1, 60))
def test_a_bounded_sample_of_comparisons_is_balanced(count: int, most: int | None) -> None:
    rows: list[Row] = [{"answer_id": n} for n in range(count)]
    couples = [frozenset((a["answer_id"], b["answer_id"])) for a, b in balanced(rows, most)]
    assert len(set(couples)) == len(couples) == min(most or 9999, count * (count - 1) // 2)
    part = Counter(answer for couple in couples for answer in couple)
    if most is None:
        assert set(couples) == {frozenset(two) for two in combinations(range(count), 2)}
    assert max(part.values()) - min(part[n] for n in range(count)) <= 2


# Anchor


def test_the_example_of_anchor() -> None:
    answers = answers_of("a", "b", "c")
    assert median_length(answers) is answers[1]
    said = {("a", "b"): (8, 5), ("b", "a"): (6, 7), ("c", "b"): (0, 10), ("b", "c"): (10, 0)}

    def reply(request: Any) -> str:
        first, second = said.get(shown(request), (9, 2))  # the anchor beside itself: a judge that likes the first
        return json.dumps({"thoughts": "", "first_mark": first, "second_mark": second})

    assert scores(judge("anchor", reply, answers)) == {"a": pytest.approx(1.2), "b": 1.0, "c": 0.0}
    found = judge("anchor", lambda r: "CUT" if shown(r) == ("b", "a") else reply(r), answers)
    assert scores(found) == {"a": None, "b": 1.0, "c": 0.0}
    assert [verdict.status for verdict in found.verdicts] == ["truncated", "ok", "ok"]
