"""The figures of every arm that is there, read from the runs' own tables: lines, a Markdown table, a plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.learning.arms import ARMS, BASE
from tasks.storage.db import connect, rows_of
from tasks.storage.store import Store

_FIGURES = """
SELECT e.round, e.suite || '.' || e.metric AS name, e.value, e.low, e.high, e.n
FROM evaluations e WHERE e.status = 'ok' AND e.model_id = coalesce(
    (SELECT any_value(m.model_id) FROM models m WHERE m.round = e.round), 'base')
"""
_PAIRS = """
SELECT round, count(*) AS pairs, avg((margin > 0)::INT) AS right_share FROM pairs WHERE status = 'ok' GROUP BY round
"""
_STEPS = """
SELECT round, count(*) AS steps, sum(seconds) AS seconds, arg_min(margin, step) AS first_margin,
       arg_max(margin, step) AS last_margin FROM training_steps GROUP BY round
"""


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval over problems."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Result:
    """A round of an arm."""

    arm: str
    seed: int
    round: int
    figures: dict[str, Figure]
    pairs: dict[str, Any]


def results(root: Path) -> list[Result]:
    """Every round that is measured, by arm, seed and round."""
    found = []
    for folder in sorted(root.glob("*-*")):
        arm, _, seed = folder.name.rpartition("-")
        if (arm in ARMS or arm == BASE) and seed.isdigit() and (folder / "evaluations").exists():
            found += _of_run(Store(str(root), folder.name), arm, int(seed))
    order = [BASE, *ARMS]
    return sorted(found, key=lambda one: (order.index(one.arm), one.seed, one.round))


def _of_run(store: Store, arm: str, seed: int) -> list[Result]:
    con = connect(store)
    rows = rows_of(con, _FIGURES, [])
    about: dict[int, dict[str, Any]] = {}
    for query in (_PAIRS, _STEPS):
        for row in rows_of(con, query, []):
            about.setdefault(row["round"], {}).update(row)
    found = []
    for number in sorted({row["round"] for row in rows}):
        mine = {row["name"]: Figure(row["value"], row["low"], row["high"], row["n"]) for row in rows
                if row["round"] == number and row["low"] is not None}  # fmt: skip
        found.append(Result(arm, seed, number, mine, about.get(number, {})))
    return found


def line(root: Path, arm: str, seed: int) -> str:
    """What came of an arm, in a line."""
    mine = [one for one in results(root) if (one.arm, one.seed) == (arm, seed)]
    said = [f"round {one.round}: score {one.figures.get('heldout.score', '-')}, "
            f"difference {one.figures.get('heldout.difference', '-')}, "
            f"grounded {one.figures.get('grounded.difference', one.figures.get('grounded.score', '-'))}, "
            f"{one.pairs.get('pairs', 0)} pairs" for one in mine]  # fmt: skip
    return f"{arm}, seed {seed}: " + ("; ".join(said) or "nothing measured")


COLUMNS = {
    "score": "heldout.score", "difference to the model before": "heldout.difference",
    "grounded": "grounded.score", "grounded, difference": "grounded.difference", "agreement": "grounded.agreement",
}  # fmt: skip


def table(found: Sequence[Result]) -> str:
    """Markdown: a line a round."""
    head = ["pairs by", "seed", "round", "pairs", "right", "steps", *COLUMNS]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for one in found:
        right = one.pairs.get("right_share")
        cells = [
            "no training" if one.arm == BASE else one.arm, one.seed, "-" if one.arm == BASE else one.round + 1,
            one.pairs.get("pairs", "-"), "-" if right is None else f"{right:.0%}", one.pairs.get("steps", "-"),
            *(one.figures.get(name, "-") for name in COLUMNS.values()),
        ]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def write(root: Path) -> None:
    """`table.md`, and `learning.svg` where two arms are there."""
    found = results(root)
    (root / "table.md").write_text(table(found), encoding="utf-8")
    if len({one.arm for one in found}) > 1:
        plot(found, root / "learning.svg")


def plot(found: Sequence[Result], path: Path) -> None:
    """Left: the true score over rounds, by arm. Right: the first round's gain against the share of right pairs."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(9, 3.6), layout="constrained")
    rounds, curve = canvas.subplots(1, 2)
    start = {
        one.seed: one.figures["heldout.score"] for one in found if one.arm == BASE and "heldout.score" in one.figures
    }
    arms = [arm for arm in ARMS if not arm.startswith("flipped") and any(one.arm == arm for one in found)]
    for at, arm in enumerate(arms):
        for seed in sorted({one.seed for one in found if one.arm == arm and one.seed in start}):
            own = [one.figures for one in found if (one.arm, one.seed) == (arm, seed)]
            mine = [start[seed], *(figures["heldout.score"] for figures in own if "heldout.score" in figures)]
            x = [number + 0.04 * at for number in range(len(mine))]
            error = [[one.value - one.low for one in mine], [one.high - one.value for one in mine]]
            rounds.errorbar(x, [one.value for one in mine], error, label=arm if seed == min(start) else None,
                            color=f"C{at}", marker="o", markersize=3, capsize=2, linewidth=1)  # fmt: skip
    rounds.set(xlabel="round (0: no training)", ylabel="score on held-out problems, 0 to 2", xticks=range(4))
    rounds.legend(frameon=False, fontsize=8)
    points = [(one.pairs["right_share"], one.figures["heldout.difference"]) for one in found
              if one.round == 0 and one.arm != BASE and one.pairs.get("right_share") is not None
              and "heldout.difference" in one.figures and one.arm not in ("own_likelihood", "length")]  # fmt: skip
    for share, gain in sorted(points):
        curve.errorbar([share], [gain.value], [[gain.value - gain.low], [gain.high - gain.value]], color="C0",
                       marker="o", markersize=4, capsize=2)  # fmt: skip
    curve.axhline(0, color="grey", linewidth=0.8)
    curve.set(xlabel="share of pairs that are right", ylabel="gain in one round")
    for axes in (rounds, curve):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    canvas.savefig(path, format="svg", metadata={"Date": None})
