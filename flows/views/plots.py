"""The plots of a round, as SVG whose colours come from the page around it, so that they are good in light and dark."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import duckdb

from flows.views.plain import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# what is drawn with: a colour that nothing else has, and the variable of the page that takes its place
INKS = {"fg": "#010203", "line": "#040506", "a": "#070809", "b": "#0a0b0c", "c": "#0d0e0f"}
LIGHT = {"fg": "#333333", "line": "#d0d4da", "a": "#2563eb", "b": "#ea580c", "c": "#059669"}
SIZE = (4.7, 3.0)  # inches at 72 points: a card of the page, at its own size on a phone
POINTS = 1500  # that a scatter shows
BINNED = 50_000  # that a histogram counts
NAME = 24  # characters beside a bar
Rows = list[tuple[Any, ...]]


def plots(con: duckdb.DuckDBPyConnection, round_: int) -> dict[str, str]:
    """Title to SVG of every plot that the round has rows for."""
    made: dict[str, str] = {}
    for title, (query, draw) in PLOTS.items():
        rows = con.execute(query, [round_] * query.count("?")).fetchall()
        if rows and any(value is not None for value in rows[0]):
            names = [tuple(printable(v)[:NAME] if isinstance(v, str) else v for v in row) for row in rows]
            made[title] = _svg(title, draw, names)
    return made


def coloured(svg: str, colours: Mapping[str, str]) -> str:
    """The plot with colours of its own, for where no page gives them."""
    for name, colour in colours.items():
        svg = svg.replace(f"var(--{name})", colour)
    return svg


def _svg(title: str, draw: Callable[["Axes", Rows], None], rows: Rows) -> str:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none", "svg.hashsalt": title, "font.size": 9, "font.family": "sans-serif",
        "text.parse_math": False, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
        "legend.frameon": False, "axes.grid": True,
    }  # fmt: skip
    style |= dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INKS["fg"])
    style |= dict.fromkeys(("axes.edgecolor", "grid.color"), INKS["line"])
    with mpl.rc_context(style):
        figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        draw(axes, rows)
        sink = io.StringIO()
        figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = sink.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    for name, ink in INKS.items():
        svg = svg.replace(ink, f"var(--{name})")
    svg = svg.replace("'DejaVu Sans', 'Bitstream Vera Sans', 'Computer Modern Sans Serif', ", "")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)


def _legend(axes: "Axes") -> None:
    """Above the plot, where nothing is drawn."""
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, handlelength=1.2)


def _funnel(axes: "Axes", rows: Rows) -> None:
    from matplotlib.ticker import MaxNLocator

    names, totals, oks = zip(*rows[::-1], strict=True)
    axes.barh(names, totals, color=INKS["line"], label="rows")
    axes.barh(names, oks, color=INKS["a"], label="ok")
    for at, (ok, total) in enumerate(zip(oks, totals, strict=True)):
        axes.text(total, at, f" {ok:,}", va="center")
    axes.margins(x=0.14)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # rows are counted
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(left=False)


def _scores(axes: "Axes", rows: Rows) -> None:
    """Rows: whether it is the reference, score from 0 to 2."""
    bins = [n / 10 for n in range(21)]
    for wanted, ink, label in ((False, "a", "answers, without the document"), (True, "b", "references, with it")):
        scores = [score for reference, score in rows if reference == wanted]
        if scores:
            weights = [100.0 / len(scores)] * len(scores)
            axes.hist(scores, bins, weights=weights, color=INKS[ink], alpha=0.55, label=label)
            axes.axvline(sum(scores) / len(scores), color=INKS[ink], linewidth=1.5)
    axes.set(xlabel="score (lines: means)", ylabel="% of them", xlim=(0, 2))
    _legend(axes)


def _gap(axes: "Axes", rows: Rows) -> None:
    means, references = zip(*rows, strict=True)
    axes.plot([0, 2], [0, 2], color=INKS["line"])
    axes.scatter(means, references, s=14, color=INKS["a"], alpha=0.6, linewidth=0)
    wins = sum(reference > mean for mean, reference in rows)
    axes.set(xlabel="mean score of the answers", ylabel="score of the reference", xlim=(0, 2), ylim=(0, 2))
    axes.text(0.03, 0.95, f"above: {wins} of {len(rows)}", transform=axes.transAxes, va="top")


def _length(axes: "Axes", rows: Rows) -> None:
    words, scores = zip(*rows, strict=True)
    axes.scatter(words, scores, s=10, color=INKS["a"], alpha=0.45, linewidth=0)
    axes.set(xlabel="words of the answer", ylabel="score", ylim=(-0.05, 2.05))


def _difference(axes: "Axes", rows: Rows) -> None:
    values = [value for (value,) in rows]
    axes.hist(values, 21, color=INKS["a"], alpha=0.8)
    axes.axvline(0, color=INKS["fg"], linewidth=1)
    axes.set(xlabel="words of chosen less words of rejected", ylabel="pairs")
    axes.locator_params(axis="y", integer=True)


def _weights(axes: "Axes", rows: Rows) -> None:
    axes.hist([100.0 * share for (share,) in rows], [5.0 * n for n in range(21)], color=INKS["a"], alpha=0.8)
    axes.set(xlabel="% of its rubric's weight", ylabel="criteria", xlim=(0, 100))


def _ratings(axes: "Axes", rows: Rows) -> None:
    axes.hist([rating for (rating,) in rows], [n / 10 for n in range(21)], color=INKS["a"], alpha=0.8)
    axes.set(xlabel="rating of one criterion", ylabel="ratings", xlim=(0, 2))


def _curves(names: Sequence[str], ylabel: str) -> Callable[["Axes", Rows], None]:
    def draw(axes: "Axes", rows: Rows) -> None:
        steps = [row[0] for row in rows]
        for at, (name, ink) in enumerate(zip(names, ("a", "b", "c"), strict=False), 1):
            values = [row[at] for row in rows]
            if any(value is not None for value in values):
                floats = [float("nan") if value is None else value for value in values]
                axes.plot(
                    steps, floats, color=INKS[ink], label=name, marker="o" if len(steps) < 20 else None, markersize=3
                )
        axes.set(xlabel="optimizer step", ylabel=ylabel)
        axes.locator_params(axis="x", integer=True)
        if axes.lines and len(names) > 1:
            _legend(axes)

    return draw


def _probes(axes: "Axes", rows: Rows) -> None:
    names = [kind.replace("_", " ") for kind, _, _ in rows[::-1]]
    shares = [100.0 * share for _, share, _ in rows[::-1]]
    axes.barh(names, [100.0] * len(rows), color=INKS["line"])
    axes.barh(names, shares, color=INKS["c"])
    for at, (_, share, n) in enumerate(rows[::-1]):
        axes.text(101, at, f"{round(share * n)} of {n}", va="center")
    axes.set(xlabel="% as expected", xlim=(0, 122))
    axes.grid(visible=False)


def _tokens(axes: "Axes", rows: Rows) -> None:
    names = [role for role, _, _ in rows[::-1]]
    prompt, written = [row[1] for row in rows[::-1]], [row[2] for row in rows[::-1]]
    axes.barh(names, prompt, color=INKS["a"], label="read")
    axes.barh(names, written, left=prompt, color=INKS["b"], label="written")
    axes.set(xlabel="tokens")
    _legend(axes)
    axes.locator_params(axis="x", nbins=5)


_SCORED = """ratings t JOIN answers a USING (run, round, answer_id)
WHERE t.round = ? AND t.status = 'ok' AND score IS NOT NULL"""
_GAP = "mean_score IS NOT NULL AND reference_score IS NOT NULL"
_PAIRED = """pairs p JOIN answers c ON c.run = p.run AND c.round = p.round AND c.answer_id = p.chosen_answer_id
JOIN answers r ON r.run = p.run AND r.round = p.round AND r.answer_id = p.rejected_answer_id"""
PLOTS: dict[str, tuple[str, Callable[["Axes", Rows], None]]] = {
    "Funnel": ("SELECT stage, total, ok FROM funnel WHERE round = ? ORDER BY step", _funnel),
    "Scores": (f"SELECT a.rollout < 0, score FROM {_SCORED} ORDER BY hash(answer_id) LIMIT {BINNED}", _scores),
    "Reference against answers": (
        f"SELECT mean_score, reference_score FROM gap WHERE round = ? AND {_GAP} ORDER BY hash(problem_id) "
        f"LIMIT {POINTS}",
        _gap,
    ),
    "Length against score": (
        f"SELECT words, score FROM {_SCORED} AND rollout >= 0 AND words IS NOT NULL ORDER BY hash(answer_id) "
        f"LIMIT {POINTS}", _length,
    ),
    "Length of chosen and rejected": (
        f"SELECT c.words - r.words AS gap FROM {_PAIRED} WHERE p.round = ? AND p.status = 'ok' AND gap IS NOT NULL",
        _difference,
    ),
    "Ratings": (
        "SELECT rating FROM criterion_ratings WHERE round = ? AND rating IS NOT NULL "
        f"ORDER BY hash(rating_id, name) LIMIT {BINNED}", _ratings,
    ),
    "Weights": (
        "SELECT weight / sum(weight) OVER (PARTITION BY rubric_id) FROM criteria WHERE round = ? "
        f"QUALIFY count(*) OVER (PARTITION BY rubric_id) > 1 ORDER BY hash(rubric_id, name) LIMIT {BINNED}", _weights,
    ),
    "Loss": ("SELECT step, loss FROM training_steps WHERE round = ? ORDER BY step", _curves(("loss",), "DPO loss")),
    "Rewards": (
        "SELECT step, chosen_reward, rejected_reward, margin FROM training_steps WHERE round = ? ORDER BY step",
        _curves(("chosen", "rejected", "margin"), "implicit reward"),
    ),
    "Probes": (
        "SELECT kind, avg(passed::INT), count(*) FROM probes WHERE round = ? AND passed IS NOT NULL "
        "GROUP BY 1 ORDER BY 1", _probes,
    ),
    "Tokens": (
        "SELECT role, coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0) FROM generations "
        "WHERE round = ? GROUP BY 1 ORDER BY 1", _tokens,
    ),
}  # fmt: skip
