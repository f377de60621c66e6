"""How far two arms' models lie apart: the same exam, so problem by problem, which is narrower than two scores apart."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.learning.arms import run_name
from benchmarks.learning.figure import Figure
from tasks.evaluation.bench import NESTED
from tasks.evaluation.statistics import difference_interval
from tasks.storage.db import connect, rows_of
from tasks.storage.store import Store

TOLD = "truth"  # the arm whose pairs are the judge's own
_MODEL = "SELECT 'weights:' || left(weights_sha256, 24) AS model FROM models WHERE round = ?"
_MEANS = """
SELECT a.problem_id, avg(r.score) AS score
FROM answers a JOIN ratings r USING (answer_id)
JOIN (SELECT DISTINCT generation_id, model FROM generations) g ON g.generation_id = a.generation_id
WHERE a.rollout >= 0 AND r.status = 'ok' AND g.model = ? GROUP BY a.problem_id
"""


def means(root: Path, arm: str, seed: int, number: int) -> dict[str, float]:
    """Mean score of a round's model in each held-out problem; empty where it has not been measured."""
    run = run_name(arm, seed)
    if not (root / run / NESTED).exists():
        return {}
    models = rows_of(connect(Store(str(root), run)), _MODEL, [number])
    if not models:
        return {}
    found = rows_of(connect(Store(str(root / run), NESTED)), _MEANS, [models[0]["model"]])
    return {row["problem_id"]: row["score"] for row in found}


def beside(root: Path, arms: Sequence[str], seed: int, number: int) -> dict[str, Figure]:
    """Of each other arm: the score of the model that was told, less that of the other's, with its interval."""
    told, found = means(root, TOLD, seed, number), {}
    for arm in arms:
        other = means(root, arm, seed, number)
        gaps = [told[one] - other[one] for one in sorted(told.keys() & other.keys())]
        value, low, high = difference_interval(gaps)
        if value is not None and low is not None and high is not None:
            found[arm] = Figure(value, low, high, len(gaps))
    return found
