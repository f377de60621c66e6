"""What an accepted pair has cost, by role, and how full the servers were meanwhile."""

from duckdb import DuckDBPyConnection
from rich.console import Console

from tasks.storage.db import rows_of


def pair_costs(con: DuckDBPyConnection, round_: int) -> list[tuple[str, str, str]]:
    """Tokens and seconds of model calls an accepted pair, and each role's part of them; nothing without a pair.

    Calls are made side by side: their seconds add up to more than the round took.
    """
    query = """
        SELECT role, sum(tokens_per_pair) AS tokens, sum(call_seconds_per_pair) AS seconds
        FROM costs WHERE round = ? AND pairs > 0 GROUP BY 1 ORDER BY 2 DESC NULLS LAST
    """
    rows = rows_of(con, query, [round_])
    figures = []
    for title, name, form in (("tokens a pair", "tokens", ",.0f"), ("call seconds a pair", "seconds", ",.1f")):
        known = [(row["role"], row[name]) for row in rows if row[name] is not None]
        if known:
            parts = ", ".join(f"{role} {value:{form}}" for role, value in known)
            figures.append((title, f"{sum(value for _, value in known):{form}}", parts))
    return figures


def print_pace(con: DuckDBPyConnection, round_: int, out: Console) -> None:
    """What a pair has cost, and how full the servers were."""
    for title, figure, parts in pair_costs(con, round_):
        out.print(f"{title}: {figure} ({parts})", markup=False)
    for row in rows_of(con, "SELECT * FROM servers WHERE round = ? AND seconds > 0", [round_]):
        hits = "" if row["prefix_hit_rate"] is None else f", {row['prefix_hit_rate']:.0%} of prompts found in its cache"
        out.print(
            f"server of {row['model']}: full in {row['full_share']:.0%} of the {row['seconds']:.0f} s in which it had "
            f"work, {row['running']:.0f} requests running and {row['waiting']:.0f} waiting on average{hits}",
            markup=False,
        )
