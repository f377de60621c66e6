"""What the audits found, as a person sees it: `pop audit`'s table, and the words for a page or a card."""

import json
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.views.plain import plain
from schemas.errors import CheckFailed, UserError
from schemas.load import did_you_mean
from tasks.auditing.audits import Finding, read_audits, run_audits
from tasks.auditing.evidence import audit_connection
from tasks.storage.store import Store

STYLES = {"fail": "bold red", "warn": "yellow", "ok": "green", "n/a": "dim"}  # what is wrong comes first
SIGNS = {"at_most": "≤", "at_least": "≥"}


def findings(store: Store, round_: int, name: str | None = None, folder: str | None = None) -> list[Finding]:
    """What the audits (or the one named) say of a round; the user's are in `<root>/audits` and in `folder`.

    Raises:
        UserError: no audit has this name, or an audit's file or query is wrong.
    """
    audits = read_audits([f"{store.root.rstrip('/')}/audits", *([folder] if folder else [])])
    if name is not None:
        known = [audit.name for audit in audits]
        if name not in known:
            raise UserError(f"no audit is called {name!r}{did_you_mean(name, known)}; audits: {', '.join(known)}")
        audits = [audit for audit in audits if audit.name == name]
    with audit_connection(store) as con:
        found = run_audits(con, audits, store.run, round_)
    return sorted(found, key=lambda finding: tuple(STYLES).index(finding.verdict))


def run_and_print(
    store: Store, round_: int, name: str | None, folder: str | None, output: str, out: Console
) -> None:  # fmt: skip
    """Print the findings.

    Raises:
        CheckFailed: a blocking audit fails.
    """
    found = findings(store, round_, name, folder)
    if output == "json":
        print(json.dumps([as_row(finding) for finding in found], indent=1, ensure_ascii=False))
    else:
        out.print(table(found, f"{store.run}, round {round_}"))
        for finding in found if name else [f for f in found if f.verdict in ("warn", "fail")]:
            out.print(Text.assemble((f"{label(finding)}: ", STYLES[finding.verdict]), finding.audit.meaning))
    if failed := failures(found):
        raise CheckFailed(failed)


def label(finding: Finding) -> str:
    """An audit's name, with the part it speaks of."""
    return f"{finding.audit.name} ({finding.part})" if finding.part else finding.audit.name


def threshold(finding: Finding) -> str:
    """`≤ 0.2`, as a person reads it."""
    return f"{SIGNS[finding.audit.direction]} {finding.audit.threshold:g}"


def value(finding: Finding) -> str:
    """The value to three digits; a dash where there is none."""
    return "–" if finding.value is None else f"{finding.value:.3g}"


def as_row(finding: Finding) -> dict[str, Any]:
    """A finding for JSON, a card or a page."""
    audit = finding.audit
    return {
        "audit": audit.name, "part": finding.part, "title": audit.title, "value": finding.value, "n": finding.n,
        "direction": audit.direction, "threshold": audit.threshold, "blocks": audit.blocks, "verdict": finding.verdict,
        "detail": finding.detail,
    }  # fmt: skip


def table(found: list[Finding], title: str) -> Table:
    """The findings as a table for a terminal."""
    shown = Table(title=plain(title), title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name, justify in (("audit", "left"), ("value", "right"), ("wanted", "left"), ("n", "right"), ("", "left")):
        shown.add_column(name, justify=justify)  # type: ignore[arg-type]
    shown.add_column("detail", overflow="fold")
    for finding in found:
        verdict = Text(finding.verdict, style=STYLES[finding.verdict])
        shown.add_row(
            plain(label(finding)), value(finding), threshold(finding), str(finding.n), verdict, plain(finding.detail)
        )
    return shown


def failures(found: list[Finding]) -> str:
    """One line for the blocking audits that fail; empty where none does."""
    failed = [f for f in found if f.verdict == "fail"]
    return "; ".join(
        f"{label(f)} is {value(f)}, wanted {threshold(f)}{f' ({f.detail})' if f.detail else ''}" for f in failed
    )
