"""What the tests of the stages share: the ways of asking, and documents."""

from typing import Any

from tasks.staging.plan import Plan
from tests.samples import STEPWISE, STRUCTURED, Row, config, document, plan_of

TAGS: Row = {"models": {"policy": {"path": "x", "output_format": "tags"}}}
WAYS: dict[str, Row] = {
    "structured": STRUCTURED, "stepwise": STEPWISE, "tags": TAGS,
    **{f"{mode}-{form}": {"task": {"dialect": form}, "rating": {"mode": mode}}
       for mode in ("pairwise", "anchor") for form in ("structured", "stepwise")},
    "pairwise-tags": TAGS | {"rating": {"mode": "pairwise", "max_comparisons": 4}},
    "anchor-tags": TAGS | {"rating": {"mode": "anchor"}},
    "logprob": {"rating": {"mode": "logprob"}}, "samples": {"rating": {"samples": 3}},
    "words": {"task": {"dialect": "stepwise"}, "rating": {"mode": "pointwise"}},
    "several": {"task": {"problems_per_document": 2}, "pairing": {"strategy": "all_above_margin"}},
}  # fmt: skip
DOCUMENTS = [document(n) for n in range(4)]


def ok(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["status"] == "ok"]


def dialect(name: str, **changes: Any) -> Plan:
    """A plan of a way of asking."""
    return plan_of(config(WAYS[name], **changes))
