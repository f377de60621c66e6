"""The report: one page that needs nothing else, shows what there is, and takes no text for markup."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from flows.views.plots import INKS, PLOTS, plots
from flows.views.report import cell, report
from tasks.storage.db import connect
from tests import planted

Cli = Callable[..., tuple[int, str, str]]
HARM = "<script>alert(1)</script><img src=x onerror=alert(1)> {{ 7 * 7 }} \x1b[2J \u202e & \"quoted\" 'single' --> ]]>"
VOID = {"meta", "img", "br", "hr", "input", "link"}


class Page(HTMLParser):
    """Tags, attributes and text; every tag must be closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def everything(tables: planted.Tables) -> None:
    """Rows for every plot and table."""
    planted.failed_probes(tables)
    tables["training_steps"] = [
        {"model_id": "m", "step": n, "loss": 0.7 - n / 10, "chosen_reward": 0.1 * n, "rejected_reward": -0.1 * n,
         "margin": 0.2 * n} for n in range(4)
    ]  # fmt: skip
    tables["generations"] = [
        {"generation_id": "g", "role": "judge", "model": "m", "subject_id": "t1.0", "completion": HARM,
         "prompt_tokens": 7, "completion_tokens": 2, "seconds": 0.1}
    ]  # fmt: skip


def hostile(tables: planted.Tables) -> None:
    """Every text means harm."""
    everything(tables)
    for rows in tables.values():
        for row in rows:
            for key in ("title", "text", "final", "problem", "reference_answer", "reason", "model", "role", "kind"):
                if isinstance(row.get(key), str):
                    row[key] = HARM + row[key]
    for row in tables["rubrics"]:
        for criterion in row["criteria"]:
            criterion |= {"name": HARM + criterion["name"], "gold": HARM}


def test_the_page_needs_nothing_else_and_no_text_becomes_markup(tmp_path: Path) -> None:
    page = Page(report(planted.write(str(tmp_path), "r", hostile), 0))
    assert "script" not in page.tags and "img" not in page.tags and "link" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "src"]
    assert all(value and value.startswith("#") for name, value in page.attributes if name in ("href", "xlink:href"))
    text = "".join(page.texts)
    assert "<script>alert(1)</script>" in text and "{{ 7 * 7 }}" in text and "␛[2J" in text
    assert not set("\x1b\u202e") & set(text)


def test_every_plot_is_drawn_where_there_are_rows_in_the_colours_of_the_page(tmp_path: Path) -> None:
    with connect(planted.write(str(tmp_path), "r", everything)) as con:
        drawn = plots(con, 0)
        assert drawn == plots(con, 0) and plots(con, 5) == {}
    assert set(drawn) == set(PLOTS)
    for title, svg in drawn.items():
        assert ET.fromstring(svg).get("aria-label") == title
        assert "var(--fg)" in svg and not [ink for ink in INKS.values() if ink in svg]
        assert not re.findall(r"(?:fill|stroke): #(?!fff)[0-9a-f]{6}", svg), title


def test_what_is_not_there_is_a_dash_and_no_zero(tmp_path: Path) -> None:
    assert [cell(value) for value in (None, 0, 0.0, True, 1234567, 5e-05, "–x")] == [
        "–", "0", "0.000", "yes", "1,234,567", "5.0e-05", "–x",
    ]  # fmt: skip
    empty = planted.write(str(tmp_path), "r", planted.Tables.clear)
    page = "".join(Page(report(empty, 0)).texts)
    assert "nothing to look at" in page and "nan" not in page.lower()


def test_the_page_says_what_the_audits_found(tmp_path: Path) -> None:
    page = report(planted.write(str(tmp_path), "r", planted.judge_that_always_says_2), 0)
    assert "3 failed" in page and page.index("score_concentration") < page.index("duplicate_problems")


def test_pop_report_writes_beside_the_run_or_where_it_is_told(cli: Cli, tmp_path: Path) -> None:
    planted.write(str(tmp_path), "r")
    code, out, _ = cli("report", "--root", str(tmp_path))
    assert code == 0 and Path(out.strip()) == tmp_path / "r/report.html" and (tmp_path / "r/report.html").exists()
    code, out, _ = cli("report", "--root", str(tmp_path), "--out", str(tmp_path / "new/page.html"))
    assert code == 0 and (tmp_path / "new/page.html").read_text().startswith("<!doctype html>")
    (tmp_path / "file").write_text("")
    code, _, err = cli("report", "--root", str(tmp_path), "--out", str(tmp_path / "file/page.html"))
    assert code == 3 and len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("round_", ["3", "-1"])
def test_a_round_that_is_not_there_is_named(cli: Cli, tmp_path: Path, round_: str) -> None:
    planted.write(str(tmp_path), "r")
    code, _, err = cli("report", f"--round={round_}", "--root", str(tmp_path))
    assert code == 2 and f"no round {round_}; rounds: 0" in err
