"""What an evaluation has found, on a terminal."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.views.outcome import ID_SHOWN

Row = dict[str, Any]
CATEGORIES_SHOWN = 12


def many(rows: list[Row], row: Row) -> bool:
    """Whether a figure is one of a category of an exam that has too many of them to be shown; SQL has them all."""
    if not row["metric"].endswith("]"):
        return False
    metrics = {one["metric"] for one in rows if one["suite"] == row["suite"] and one["metric"].endswith("]")}
    return len({metric.partition("[")[2] for metric in metrics}) > CATEGORIES_SHOWN


def print_evaluations(rows: list[Row], out: Console) -> None:
    """Every figure with its interval, by the name that the gate knows it by; below, what there is to say of them."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("figure", overflow="fold")
    for name, justify in (("model", "left"), ("value", "right"), ("95 % interval", "left"), ("n", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    notes: dict[str, list[str]] = {}
    for row in rows:
        if many(rows, row):
            continue
        name, model = f"{row['suite']}.{row['metric']}", row["model_id"].removeprefix("weights:")[:ID_SHOWN]
        interval = "" if row["low"] is None else f"{row['low']:.4f} to {row['high']:.4f}"
        value = row["status"] if row["value"] is None else f"{row['value']:.4f}"
        table.add_row(*map(escape, (name, model, value, interval, str(row["n"]))))  # `score[asthma]`: of a category
        if row["reason"]:
            notes.setdefault(f"{model}: {row['reason']}", []).append(name)
    out.print(table)
    for note, names in notes.items():
        out.print(f"{', '.join(names)} of {note}", markup=False, soft_wrap=True)
