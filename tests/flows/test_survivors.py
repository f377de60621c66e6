"""The gate counts every problem: a candidate that answers better, when it answers, and seldom does."""

from collections.abc import Callable
from typing import Any

from flows.views.findings import findings
from tasks.models.registry import decisions
from tasks.storage.db import connect, rows_of
from tasks.storage.store import Store
from tests.flows.test_selfplay import play, store  # noqa: F401  (fixtures)


def test_a_candidate_that_finishes_a_fifth_of_its_answers_is_held_with_the_figures_in_the_reason(
    play: Callable[..., dict[str, Any]], store: Store  # noqa: F811
) -> None:  # fmt: skip
    many = ("evaluation.problems=24", "corpus.heldout_documents=24", "evaluation.answers=6")
    outcome = play(1, *many, dull="0", unfinished="0.8")
    (row,) = decisions(store)
    assert (row["decision"], outcome["standing"]["path"]) == ("hold", None)
    assert row["low"] > 0 and "clears 0 among the answers that are there" in row["reason"]  # as it once was promoted
    rows = rows_of(connect(store), "SELECT * FROM evaluations")
    known = {(r["suite"], r["metric"], r["parent_model_id"] is None): r["value"] for r in rows}
    ours, theirs = known["heldout", "finished_share", False], known["heldout", "finished_share", True]
    assert ours < 0.35 and theirs == 1.0 and known["heldout", "worst_difference", False] < 0
    assert f"{ours:.0%} of its answers are finished (the parent's: 100%)" in row["reason"]
    assert f"{known['heldout', 'worst_difference', False]:+.4g}" in row["reason"]
    assert known["winrate", "rate", False] < 0.5  # no answer loses to an answer
    blocked = {finding.part: finding.verdict for finding in findings(store, 0) if finding.audit.name == "survivors"}
    assert [verdict for part, verdict in blocked.items() if part.startswith("exam of")] == ["fail"]
