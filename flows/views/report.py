"""`pop report`: a round on one page, without a script and without the network."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from flows.views.findings import findings, label, threshold, value
from flows.views.outcome import gap_of, helped
from flows.views.pace import pair_costs
from flows.views.plain import printable
from flows.views.plots import plots
from schemas.version import package_version
from tasks.storage.db import connect, local_copies, rows_of
from tasks.storage.store import Store

LINEAGES = 12
Row = dict[str, Any]
_PROBES = """
SELECT kind, any_value(expected) AS expected, count(passed) AS rated, count(*) FILTER (passed) AS passed,
       avg(score) AS mean_score, avg(reference_score) FILTER (score IS NOT NULL) AS reference_score
FROM probes WHERE round = ? GROUP BY 1 ORDER BY 1
"""
# title and query of each table of the page; the round is the only parameter
TABLES = {
    "Probes": _PROBES,
    "Judges": """SELECT * EXCLUDE (run, round) REPLACE (round(correlation, 3) AS correlation,
        round(correlation_pm, 3) AS correlation_pm, round(beyond, 3) AS beyond, round(beyond_pm, 3) AS beyond_pm,
        round(agree, 3) AS agree, round(reference_above, 3) AS reference_above) FROM judges WHERE round = ?""",
    "What fell out": "SELECT stage, status, count, example FROM rejections WHERE round = ? ORDER BY stage, count DESC",
    "Cost": "SELECT * EXCLUDE (run, round) FROM costs WHERE round = ?",
    "Servers": "SELECT * EXCLUDE (run, round) FROM servers WHERE round = ?",
}
ROUNDS = """
SELECT run || ' / ' || round AS round, finished, policy, dialect, rating_mode, documents, problems, answers, rubrics,
       rated_answers, pairs, reference_score, mean_score, learning_rate, beta, control, steps, last_loss
FROM rounds ORDER BY run, round
"""


def report(store: Store, round_: int) -> str:
    """The page's HTML."""
    with local_copies(store) as [copy], connect(copy) as con:
        data = _data(con, store, round_)
    return _environment().get_template("report.html.j2").render(data)


def _environment() -> Environment:
    """Every text is hostile until it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"text": lambda value: printable(str(value)), "cell": cell, "kind": kind}
    return environment


def cell(value: Any) -> str:
    """A value of a table as a person reads it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"
    return f"{value:,}" if isinstance(value, int) else printable(str(value))


def kind(value: Any) -> str:
    """The class of a table's cell: numbers stand right."""
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else "words"


def _data(con: duckdb.DuckDBPyConnection, store: Store, round_: int) -> Row:
    found = findings(store, round_)
    own = rows_of(con, "SELECT * FROM rounds WHERE round = ?", [round_])
    return {
        "run": store.run, "round": round_, "version": package_version(),
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), "own": own[0] if own else {},
        "fake": bool(own) and own[0]["policy"] is not None and str(own[0]["policy"]).startswith("fake:"),
        "headline": headline(con, round_), "verdicts": _verdicts(found),
        "audits": [
            {"label": label(f), "meaning": f.audit.meaning, "value": value(f), "wanted": threshold(f), "n": f.n,
             "verdict": f.verdict, "blocks": f.audit.blocks, "detail": f.detail} for f in found
        ],
        "plots": {title: Markup(svg) for title, svg in plots(con, round_).items()},
        "tables": table_rows(con, round_),
        "settings": rows_of(con, "SELECT name, value FROM settings WHERE round = ? ORDER BY 1", [round_]),
        "rounds": rows_of(con, ROUNDS, []), "lineages": lineages(con, round_),
    }  # fmt: skip


def table_rows(con: duckdb.DuckDBPyConnection, round_: int) -> dict[str, list[Row]]:
    """Title to rows of every table that the round has rows for."""
    found = {title: rows_of(con, query, [round_]) for title, query in TABLES.items()}
    return {title: rows for title, rows in found.items() if rows}


def headline(con: duckdb.DuckDBPyConnection, round_: int) -> list[tuple[str, str, str]]:
    """The round in a few figures: name, figure, and what it is beside."""
    gap = gap_of(con, round_)
    steps = rows_of(con, "SELECT stage, total, ok FROM funnel WHERE round = ?", [round_])
    funnel = {row["stage"]: row for row in steps}
    figures = [
        (stage, f"{funnel[stage]['ok']:,}", f"of {funnel[stage]['total']:,}")
        for stage in ("problems", "rated answers", "pairs") if stage in funnel
    ]  # fmt: skip
    if gap["n"]:
        figures += [
            ("reference", f"{gap['reference']:.2f}", "mean score, with the document"),
            ("answers", f"{gap['mean']:.2f}", f"mean score without it; best {gap['best']:.2f}"),
            ("reference wins", f"{gap['wins']} of {gap['n']}", "against the mean answer"),
        ]
    if gap["hinted"] is not None:
        figures.append(("hinted", f"{gap['hinted']:.2f}", "mean score with a sentence of the document in view"))
    if told := helped(con, round_):
        figures.append(("chosen", told, "beyond the paper: not written blind"))
    if "problems with a signal" in funnel:
        row = funnel["problems with a signal"]
        figures.append(("signal", f"{row['ok']} of {row['total']}", "problems whose answers differ in what they tell"))
    probes = con.execute(
        "SELECT count(*) FILTER (passed), count(passed) FROM probes WHERE round = ?", [round_]
    ).fetchone()
    if probes and probes[1]:
        figures.append(("probes", f"{probes[0]} of {probes[1]}", "scored as they should"))
    return figures + pair_costs(con, round_)


def _verdicts(found: list[Any]) -> dict[str, int]:
    return {v: sum(f.verdict == v for f in found) for v in ("fail", "warn", "ok", "n/a")}


def lineages(con: duckdb.DuckDBPyConnection, round_: int) -> list[Row]:
    """Pairs drawn by their ids, so that the page shows the same ones again, with all that they came from."""
    drawn = con.execute(
        f"SELECT pair_id FROM pairs WHERE round = ? AND status = 'ok' ORDER BY hash(pair_id) LIMIT {LINEAGES}", [round_]
    ).fetchall()
    if not drawn:
        return []
    marks = ", ".join("?" for _ in drawn)
    query = f"SELECT * FROM pair_lineage WHERE round = ? AND pair_id IN ({marks}) ORDER BY hash(pair_id)"
    return rows_of(con, query, [round_, *(pair_id for (pair_id,) in drawn)])
