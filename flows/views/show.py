"""`pop show ID`: one row of any table with everything that it came from and everything that was made of it."""

import json
from typing import Any

import duckdb
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from flows.views.plain import plain
from schemas.errors import UserError
from schemas.tables import TABLES
from tasks.storage.db import connect, rows_of
from tasks.storage.store import Store

Row = dict[str, Any]
STORY = ("documents", "problems", "answers", "rubrics", "ratings", "comparisons", "pairs", "probes")
EXCERPT, ANSWER = 700, 500  # characters
FEWEST = 4  # characters of an id


def show(store: Store, wanted: str, round_: int | None, out: Console) -> None:
    """Print the row that has this id (or the only one that begins with it) and its story.

    Raises:
        UserError: no row has it, or several ids begin with it.
    """
    with connect(store) as con:
        table, number, id_ = find(con, wanted, round_)
        row = rows_of(con, f'SELECT * FROM "{table}" WHERE {TABLES[table].key} = ? AND round = ?', [id_, number])[0]
        out.print(Text.assemble((f"{table[:-1]} ", "bold"), plain(id_, "bold cyan"), f"  {store.run}, round {number}"))
        problems = _problems(con, table, row, number)
        if len(problems) == 1 and table != "generations":
            _story(con, problems[0], number, id_, out)
            if table in ("documents", "problems"):
                return
        _fields(row, out, hidden=set() if table not in STORY else {"text", "final", "ratings", "criteria"})
        if table == "generations":
            _messages(row, out)
            out.print(Text.assemble("it worked for: pop show ", plain(row["subject_id"] or "–")))
        elif len(problems) > 1:
            _list(con, problems, number, out)


def find(con: duckdb.DuckDBPyConnection, wanted: str, round_: int | None) -> tuple[str, int, str]:
    """Table, round (the newest that has it, where none is asked for) and full id.

    Raises:
        UserError: see `show`.
    """
    if len(wanted) < FEWEST:
        raise UserError(f"{wanted!r} is too short: give at least {FEWEST} characters of an id")
    scans = [
        f"SELECT '{name}' AS t, {place} AS place, round, {table.key} AS id FROM \"{name}\" "
        f"WHERE starts_with({table.key}, $wanted) AND ($round IS NULL OR round = $round)"
        for place, (name, table) in enumerate(TABLES.items())
    ]
    query = f"SELECT DISTINCT * FROM ({' UNION ALL '.join(scans)}) ORDER BY id <> $wanted, id, round DESC, place"
    rows = con.execute(query, {"wanted": wanted, "round": round_}).fetchall()
    ids = list(dict.fromkeys(row[3] for row in rows))
    if not ids:
        where = "" if round_ is None else f" in round {round_}"
        raise UserError(f"no row{where} has an id that begins with {wanted!r}; see: pop sql, or pop sql --all")
    if ids[0] != wanted and len(ids) > 1:
        some = ", ".join(f"{id_} ({next(row[0] for row in rows if row[3] == id_)})" for id_ in ids[:4])
        raise UserError(f"{len(ids)} ids begin with {wanted!r}: {some}{' …' if len(ids) > 4 else ''}; give more of it")
    table, _, number, id_ = next(row for row in rows if row[3] == ids[0])
    return table, number, id_


def _problems(con: duckdb.DuckDBPyConnection, table: str, row: Row, number: int) -> list[str]:
    """The problems that a row belongs to, or that were made of it."""
    if row.get("problem_id"):
        return [row["problem_id"]]
    if table == "preferences":
        found = con.execute("SELECT problem_id FROM pairs WHERE pair_id = ? AND round = ?", [row["pair_id"], number])
    elif table == "documents":
        query = "SELECT DISTINCT problem_id FROM problems WHERE document_id = ? AND round = ? ORDER BY 1"
        found = con.execute(query, [row["document_id"], number])
    else:
        return []
    return [problem for (problem,) in found.fetchall()]


def _story(con: duckdb.DuckDBPyConnection, problem_id: str, number: int, id_: str, out: Console) -> None:
    """Document, problem, rubric, answers with their ratings, and pair of one problem; the wanted id is marked."""
    where = "WHERE problem_id = ? AND round = ?"
    tables = {name: rows_of(con, f'SELECT * FROM "{name}" {where}', [problem_id, number]) for name in STORY[1:]}
    if not tables["problems"]:
        return
    problem = tables["problems"][0]
    query = "SELECT * FROM documents WHERE document_id = ? AND round = ? ORDER BY status <> 'ok' LIMIT 1"
    for document in rows_of(con, query, [problem["document_id"], number]):
        title = Text.assemble("document ", plain(document["title"] or ""), " ", _id(document["document_id"], id_))
        subtitle = plain(f"{document['source']}, {document['words']} words, {document['split']}")
        out.print(Panel(plain(_cut(document["text"], EXCERPT)), title=title, subtitle=subtitle, title_align="left"))
    body = [plain(problem["problem"] or "–", "bold"), _outcome(problem)]
    out.print(Panel(Group(*body), title=Text.assemble("problem ", _id(problem_id, id_)), title_align="left"))
    for rubric in tables["rubrics"]:
        out.print(_rubric(rubric, tables["ratings"], tables["answers"], id_))
    _answers(tables, id_, out)
    controls = con.execute("SELECT control FROM rounds WHERE round = ?", [number]).fetchone() or (None,)
    for pair in tables["pairs"]:
        _pair(pair, tables["answers"], id_, out, controls[0])
    if tables["probes"]:
        out.print(_grid("probes", ("kind", "score", "expected", "passed"), tables["probes"]))


def _id(text: str, wanted: str) -> Text:
    return plain(text, "bold black on yellow" if text == wanted else "cyan")


def _outcome(row: Row) -> Text:
    """Status and reason of a row, where it is not simply ok."""
    if row["status"] == "ok" and not row["reason"]:
        return Text("ok", style="green")
    return plain(f"{row['status']}: {row['reason'] or '–'}", "green" if row["status"] == "ok" else "red")


def _cut(text: str | None, length: int) -> str:
    text = text or "–"
    return text if len(text) <= length else f"{text[:length]} … ({len(text)} characters)"


def _names(answers: list[Row]) -> dict[str, str]:
    names = {a["answer_id"]: "reference" if a["rollout"] == -1 else f"answer {a['rollout']}" for a in answers}
    return names | {a["answer_id"]: f"answer {a['rollout']}, hinted" for a in answers if a["hint"] is not None}


def _rubric(rubric: Row, ratings: list[Row], answers: list[Row], wanted: str) -> RenderableType:
    """Criteria as a table, with the reference's rating and the range of the answers'."""
    names = _names(answers)
    table = Table("criterion", "gold fact", "weight", "reference", "answers", expand=True)
    for criterion in rubric["criteria"] or []:
        marks: dict[bool, list[float]] = {True: [], False: []}
        for rating in ratings:
            for mark in rating["ratings"] or []:
                if mark["name"] == criterion["name"] and mark["rating"] is not None:
                    marks[names.get(rating["answer_id"]) == "reference"].append(mark["rating"])
        reference, others = (
            "–" if not m else " to ".join(sorted({f"{min(m):.2f}", f"{max(m):.2f}"})) for m in marks.values()
        )
        fact = plain(criterion["gold"] or criterion["description"] or "–")
        gold = Group(fact, rests) if (rests := _rests_on(criterion)) else fact
        table.add_row(plain(criterion["name"], "bold"), gold, f"{criterion['weight']:g}", reference, others)
    title = Text.assemble("rubric ", _id(rubric["rubric_id"], wanted))
    return Panel(
        Group(table, _outcome(rubric)) if rubric["criteria"] else _outcome(rubric), title=title, title_align="left"
    )


def _rests_on(criterion: Row) -> Text | None:
    """The passage of the document that a gold fact rests on, and how much of the fact it holds."""
    if criterion.get("support") is None:
        return None
    grounded = criterion.get("status") in (None, "ok")
    said = f"{criterion['support']:.0%} of it in: {criterion['evidence'] or 'nothing'}"
    return plain(said if grounded else f"not rated by, {said}", "dim" if grounded else "red")


def _answers(tables: dict[str, list[Row]], wanted: str, out: Console) -> None:
    """Every answer, best first, with its ratings beside it."""
    ratings = {row["answer_id"]: row for row in tables["ratings"]}
    table = Table("answer", "text", "ratings", "score", expand=True, show_lines=True)

    def order(answer: Row) -> tuple[bool, float]:
        score = (ratings.get(answer["answer_id"]) or {}).get("score")
        return answer["rollout"] != -1, -(score if score is not None else -1.0)

    names = _names(tables["answers"])
    for answer in sorted(tables["answers"], key=order):
        rating = ratings.get(answer["answer_id"])
        marked = rating is not None and rating["rating_id"] == wanted
        label = Group(Text(names[answer["answer_id"]]), _id(answer["answer_id"], wanted))
        text = plain(_cut(answer["final"] or answer["text"], ANSWER))
        if answer["status"] != "ok":
            text = Group(text, _outcome(answer))  # type: ignore[assignment]
        marks = [f"{_number(m['rating'])}  {m['name']}" for m in (rating or {}).get("ratings") or []]
        score = Text(_number(rating["score"]) if rating else "–", style="bold black on yellow" if marked else "bold")
        beside: RenderableType = plain("\n".join(marks))
        if rating and rating["status"] != "ok":
            beside = _outcome(rating)
        table.add_row(label, text, beside, score)
    out.print(table)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _pair(pair: Row, answers: list[Row], wanted: str, out: Console, control: str | None) -> None:
    """Chosen and rejected side by side, or why there is no pair; a control is named as one."""
    finals = {row["answer_id"]: row for row in answers}
    title = Text.assemble("pair ", _id(pair["pair_id"], wanted), f" (a control: {control})" if control else "")
    panels = []
    for side, style in (("chosen", "green"), ("rejected", "red")):
        answer = finals.get(pair[f"{side}_answer_id"])
        if answer:
            head = f"{side}: {_number(pair[f'{side}_score'])}, {answer['words']} words"
            panels.append(Panel(plain(answer["final"] or "–"), title=head, border_style=style, title_align="left"))
    width = max((out.width - 6) // 2, 20)
    body: list[RenderableType] = [Columns(panels, width=width, expand=True)] if panels else []
    out.print(Panel(Group(*body, _outcome(pair)), title=title, title_align="left"))


def _grid(title: str, columns: tuple[str, ...], rows: list[Row]) -> Table:
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(plain(f"{v:.2f}" if isinstance(v := row[name], float) else v) for name in columns))
    return table


def _fields(row: Row, out: Console, hidden: set[str]) -> None:
    """A row as it stands in its table."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in row.items():
        if name not in hidden | {"run", "round", "messages"} and value is not None:
            shown = json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)
            grid.add_row(name, plain(_cut(shown, 2 * EXCERPT)))
    out.print(Panel(grid, title="the row itself", title_align="left"))


def _messages(row: Row, out: Console) -> None:
    for message in row["messages"] or []:
        out.print(Panel(plain(message["content"]), title=plain(message["role"]), title_align="left"))


def _list(con: duckdb.DuckDBPyConnection, problems: list[str], number: int, out: Console) -> None:
    """The problems made from a document, one line each."""
    query = "SELECT problem, status FROM problems WHERE problem_id = ? AND round = ?"
    for problem in problems:
        row = rows_of(con, query, [problem, number])[0]
        out.print(Text.assemble("pop show ", plain(problem, "cyan"), "  ", plain(f"{row['status']}: {row['problem']}")))
