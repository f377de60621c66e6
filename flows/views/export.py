"""`pop export`: the preference data of a run as a dataset with a card."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from flows.views.findings import findings, label, threshold, value
from schemas.load import PROJECT
from schemas.version import package_version
from tasks.auditing.export import files, preference_rows, publish
from tasks.storage.db import connect, rows_of
from tasks.storage.store import Row, Store

SAMPLES = {path.stem for path in (PROJECT / "data" / "corpora").glob("*.jsonl")}
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def export(store: Store, target: str, round_: int | None, licence: str | None, overwrite: bool) -> int:
    """Write the dataset; the number of its pairs. See `tasks.auditing.export` for its layout and errors."""
    rows = preference_rows(store, round_)
    rounds = [_round(store, number) for number in sorted({row["round"] for row in rows})]
    corpora = {str(one["corpus"]) for one in rounds}
    licence = licence or ("apache-2.0" if corpora <= SAMPLES else "unknown")
    size = next((name for most, name in SIZES if len(rows) < most), "n>1M")
    card = _environment().get_template("card.md.j2").render(
        name=f"POP preferences: {store.run}", license=licence, size=size, pairs=len(rows), rounds=rounds,
        version=package_version(),
    )  # fmt: skip
    publish(target, files(rows), card, overwrite)
    return len(rows)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=False, undefined=StrictUndefined,
        keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["md"] = markdown_text
    return environment


def markdown_text(text: Any) -> str:
    """A text on one line, none of whose characters means anything in Markdown or HTML."""
    line = " ".join(str(text).split())
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", line) if text is not None else "–"


def _round(store: Store, number: int) -> dict[str, Any]:
    """What the card says of a round."""
    with connect(store) as con:

        def rows(query: str) -> list[Row]:
            return rows_of(con, query, [number])

        columns = ("finished", "corpus", "task", "dialect", "rating_mode", "control")
        found = rows(f"SELECT {', '.join(columns)} FROM rounds WHERE round = ?")
        own = found[0] if found else dict.fromkeys(columns)
        return own | {
            "run": store.run, "round": number,
            "funnel": rows("SELECT stage, total, ok FROM funnel WHERE round = ? ORDER BY step"),
            "prompts": rows("SELECT stage, prompt, hash FROM prompts WHERE round = ? ORDER BY ALL"),
            "models": con.execute(
                "SELECT DISTINCT role, model FROM generations WHERE round = ? ORDER BY ALL", [number]
            ).fetchall(),
            "audits": [
                {"label": label(f), "value": value(f), "wanted": threshold(f), "n": f.n, "verdict": f.verdict}
                for f in findings(store, number)
            ],
        }  # fmt: skip
