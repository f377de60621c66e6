"""The figures of every arm that is there, read from the runs' own tables: lines, a Markdown table, a plot."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.learning.arms import ARMS, BASE, OFF_CURVE
from benchmarks.learning.beside import TOLD, beside
from benchmarks.learning.figure import Figure, pooled
from benchmarks.learning.margins import margins_file
from tasks.evaluation.statistics import mean_interval
from tasks.storage.db import connect, rows_of
from tasks.storage.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
        if (arm in ARMS or arm == BASE) and seed.isdigit() and (folder / "manifests").exists():
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
    for number in sorted({row["round"] for row in rows} | about.keys()):
        mine = {row["name"]: Figure(row["value"], row["low"], row["high"], row["n"]) for row in rows
                if row["round"] == number and row["low"] is not None}  # fmt: skip
        kept = margins_file(Path(store.root), store.run, number)
        gaps = json.loads(kept.read_text()) if kept.exists() else []
        value, low, high = mean_interval(gaps, 2000, 0)
        if value is not None and low is not None and high is not None:
            mine["margin"] = Figure(value, low, high, len(gaps))
        if mine:
            found.append(Result(arm, seed, number, mine, about.get(number, {})))
    return found


def line(root: Path, arm: str, seed: int) -> str:
    """What came of an arm, in a line."""
    said = []
    for one in (one for one in results(root) if (one.arm, one.seed) == (arm, seed)):
        shown = {name: one.figures[metric] for name, metric in COLUMNS.items() if metric in one.figures}
        figures = ", ".join(f"{name} {figure}" for name, figure in shown.items())
        said.append(f"round {one.round + 1}, {one.pairs.get('pairs', 0)} pairs: {figures}")
    return f"{arm}, seed {seed}: " + ("; ".join(said) or "nothing measured")


COLUMNS = {
    "margin, nats": "margin", "score": "heldout.score", "difference to the model before": "heldout.difference",
    "grounded": "grounded.score", "grounded, difference": "grounded.difference", "agreement": "grounded.agreement",
}  # fmt: skip


def table(found: Sequence[Result]) -> str:
    """Markdown: a line a round, and where an arm has several seeds one of all."""
    head = ["pairs by", "seed", "round", "pairs", "right", "steps", *COLUMNS]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for (arm, number), some in _grouped(found).items():
        name, shown = ("no training", "-") if arm == BASE else (arm, number + 1)
        for one in some:
            right = one.pairs.get("right_share")
            about = [one.pairs.get("pairs", "-"), "-" if right is None else f"{right:.0%}", one.pairs.get("steps", "-")]
            lines.append(
                _row(name, one.seed, shown, *about, *(one.figures.get(each, "-") for each in COLUMNS.values()))
            )
        if len(some) > 1:
            lines.append(_row(name, "all", shown, "-", "-", "-", *(_of_all(some, each) for each in COLUMNS.values())))
    return "\n".join(lines) + "\n"


def _grouped(found: Sequence[Result]) -> dict[tuple[str, int], list[Result]]:
    groups: dict[tuple[str, int], list[Result]] = {}
    for one in found:
        groups.setdefault((one.arm, one.round), []).append(one)
    return groups


def _row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _of_all(some: Sequence[Result], name: str) -> Figure | str:
    figures = [one.figures[name] for one in some if name in one.figures]
    return pooled(figures) if len(figures) == len(some) else "-"


def apart(found: Sequence[Result], root: Path) -> str:
    """Markdown: how far the arm that was told lies above each other one; empty where there is no other."""
    gaps: dict[tuple[str, int], dict[int, Figure]] = {}
    for one in (one for one in found if one.arm == TOLD):
        for arm, figure in beside(root, [arm for arm in ARMS if arm != TOLD], one.seed, one.round).items():
            gaps.setdefault((arm, one.round), {})[one.seed] = figure
    lines = ["", f"| {TOLD} above | seed | round | score | problems |", "| --- " * 5 + "|"] if gaps else []
    for (arm, number), seeds in gaps.items():
        shown = [(str(seed), figure) for seed, figure in seeds.items()]
        shown += [("all", pooled([*seeds.values()]))] if len(seeds) > 1 else []
        lines += [_row(arm, seed, number + 1, f"{one.value:+.3f} ({one.low:.3f} to {one.high:.3f})", one.n)
                  for seed, one in shown]  # fmt: skip
    return "\n".join([*lines, ""]) if lines else ""


def write(root: Path) -> None:
    """`table.md`, and `learning.svg` where two arms are there."""
    found = results(root)
    (root / "table.md").write_text(table(found) + apart(found, root), encoding="utf-8")
    if len({one.arm for one in found}) > 1:
        plot(found, root / "learning.svg")


def plot(found: Sequence[Result], path: Path) -> None:
    """The true score over rounds, by arm; and what the first round taught, against the share of right pairs."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.fonttype"] = "none"  # letters, not their shapes: a quarter of the size
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(12, 3.6), layout="constrained")
    rounds, gain, margin = canvas.subplots(1, 3)
    _rounds(rounds, found)
    for axes, metric, label in (
        (gain, "heldout.difference", "gain of the score in one round"),
        (margin, "margin", "held-out pairs: better against worse, nats"),
    ):
        for one in found:
            share = one.pairs.get("right_share")
            figure = one.figures.get(metric)
            if figure and share is not None and one.round == 0 and one.arm not in OFF_CURVE:
                _point(axes, share, figure, "C0")
        axes.axhline(0, color="grey", linewidth=0.8)
        axes.set(xlabel="share of pairs that are right", ylabel=label)
    for axes in (rounds, gain, margin):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    canvas.savefig(path, format="svg", metadata={"Date": None})


def _rounds(axes: "Axes", found: Sequence[Result]) -> None:
    """A line an arm and seed, from the untrained policy's score on."""
    scored = [one for one in found if "heldout.score" in one.figures]
    start = {one.seed: one.figures["heldout.score"] for one in scored if one.arm == BASE}
    arms = [arm for arm in ARMS if not arm.startswith("flipped") and any(one.arm == arm for one in scored)]
    for at, arm in enumerate(arms):
        for seed in sorted({one.seed for one in scored if one.arm == arm and one.seed in start}):
            own = [one.figures["heldout.score"] for one in scored if (one.arm, one.seed) == (arm, seed)]
            for number, figure in enumerate([start[seed], *own]):
                _point(axes, number + 0.04 * at, figure, f"C{at}")
            x, y = [number + 0.04 * at for number in range(len(own) + 1)], [one.value for one in (start[seed], *own)]
            axes.plot(x, y, color=f"C{at}", linewidth=1, label=arm if seed == min(start) else None)
    last = max((one.round for one in scored), default=0) + 1
    axes.set(xlabel="round (0: no training)", ylabel="score on held-out problems, 0 to 2", xticks=range(last + 1))
    if arms:
        axes.legend(frameon=False, fontsize=8)


def _point(axes: "Axes", x: float, figure: Figure, colour: str) -> None:
    ends = [[figure.value - figure.low], [figure.high - figure.value]]
    axes.errorbar([x], [figure.value], ends, color=colour, marker="o", markersize=4, capsize=2, linewidth=1)
