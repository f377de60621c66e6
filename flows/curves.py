"""A training's curves as a picture for the Prefect UI: plain SVG, so that nothing has to be installed to draw it."""

from collections.abc import Sequence
from html import escape

Step = tuple[int, float | None, float | None]
HALVES = (("loss", "#2563eb", 1), ("accuracy", "#16a34a", 2))
WIDTH, HEIGHT = 280, 150  # of one half


def curves_svg(rows: Sequence[Step], title: str) -> str | None:
    """Loss and accuracy over the optimizer steps, side by side; None without a number."""
    halves = [_half(rows, number, *half) for number, half in enumerate(HALVES)]
    if not any(halves):
        return None
    style = 'font-family="sans-serif" font-size="12" fill="#334155"'
    frame = '<rect width="760" height="240" fill="white"/>'
    heading = f'<text x="20" y="22" font-weight="bold">{escape(title)}</text>'
    body = f"{frame}{heading}{''.join(halves)}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="240" {style}>{body}</svg>'


def _half(rows: Sequence[Step], number: int, name: str, colour: str, column: int) -> str:
    points = [(row[0], float(row[column] or 0.0)) for row in rows if row[column] is not None]
    if not points:
        return ""
    left, top, bottom = 60 + 360 * number, 50, 50 + HEIGHT
    steps, values = [x for x, _ in points], [y for _, y in points]
    width, span = max(steps[-1] - steps[0], 1), (max(values) - min(values)) or 1.0
    dots = [
        (round(left + WIDTH * (x - steps[0]) / width, 1), round(bottom - HEIGHT * (y - min(values)) / span, 1))
        for x, y in points
    ]
    line = " ".join(f"{x},{y}" for x, y in dots)
    return "".join([
        f'<rect x="{left}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#cbd5e1"/>',
        f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>',
        *(f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"/>' for x, y in dots),
        _text(left, top - 8, f"{name}: {values[0]:.4g} → {values[-1]:.4g}"),
        _text(left - 6, top + 8, f"{max(values):.3g}", "end"), _text(left - 6, bottom, f"{min(values):.3g}", "end"),
        _text(left, bottom + 18, f"step {steps[0]}"), _text(left + WIDTH, bottom + 18, str(steps[-1]), "end"),
    ])  # fmt: skip


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
