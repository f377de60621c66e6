"""What a row of an exam says, recognised by its columns.

| kind | its columns beside the prompt | as in |
| --- | --- | --- |
| rubric | `rubrics`: a list of `criterion`, `points` (also negative) and `tags` | HealthBench |
| baseline | `baseline`, or a file of its own with the baseline's answers | Arena-Hard |
| gold | `reference`, `answer`, `gold` or `target`: the right answer, or a list of them | short answers |
| parent | none: the candidate's answers are compared with its parent's | plain prompts |

The first of these columns that a row has decides; `kind` in the configuration overrides it.
"""

import contextlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from schemas.exams import ExamConfig, Kind
from schemas.ids import content_id
from tasks.evaluation.exams.reading import BadExam, Numbered, Row, rows_of

PROMPTS = ("prompt", "question", "problem", "instruction", "messages", "turns")
RUBRICS = ("rubrics", "rubric")
BASELINES = ("baseline", "baseline_answer")
GOLDS = ("reference", "reference_answer", "answer", "gold", "target")
UNSHOWN = ("choices", "options", "input", "context", "passage")  # beside the question; nobody would be shown them
CATEGORIES = ("cluster", "category", "theme")
IDS = ("prompt_id", "question_id", "uid", "id")
ROLES = ("system", "developer", "user", "assistant")


@dataclass(frozen=True)
class Item:
    """A criterion of a prompt's own rubric; `points` are lost where a negative one is met."""

    name: str
    description: str
    points: float
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prompt:
    """A question of an exam: a conversation that ends with the user's turn."""

    problem_id: str
    place: str
    messages: tuple[dict[str, str], ...]
    category: str | None = None
    criteria: tuple[Item, ...] = ()
    baseline: str | None = None
    golds: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The conversation as a judge reads it; a single question is just that."""
        if len(self.messages) == 1:
            return self.messages[0]["content"]
        return "\n\n".join(f"{message['role']}: {message['content']}" for message in self.messages)


@dataclass(frozen=True)
class Paper:
    """An exam as it was read."""

    settings: ExamConfig
    kind: Kind
    prompts: tuple[Prompt, ...]

    @property
    def identity(self) -> str:
        """Of the prompts, with their categories, and of how they are put: all that the figures depend on."""
        settings = self.settings.model_dump(exclude={"file", "baseline", "limit"})
        return content_id("paper", settings, self.kind, [[one.problem_id, one.category] for one in self.prompts])


def read_paper(settings: ExamConfig) -> Paper:
    """The exam of a file.

    Raises:
        BadExam: the file cannot be used; the line names the row and what is wrong.
    """
    rows = [(place, _named(row)) for place, row in rows_of(settings.file)]
    try:
        kind = settings.kind or _kind_of(rows, settings)
        answers = baseline_answers(settings.baseline) if settings.baseline else {}
        prompts = [_prompt(settings.name, kind, place, row, answers) for place, row in rows]
        _refuse_twins(prompts)
    except BadExam as bad:
        raise BadExam(f"evaluation.exams: {settings.file}, {bad}") from None
    count = min(settings.limit or len(prompts), len(prompts))
    return Paper(settings, kind, tuple(prompts[n * len(prompts) // count] for n in range(count)))


def _named(row: Row) -> Row:
    """A row whose columns have the names known here, also where a file has them in capitals or with spaces around."""
    known = {name: str(name).strip().casefold() for name in row}
    return {name if short in row else short: row[name] for name, short in known.items()}


def _first(row: Row, names: Sequence[str]) -> tuple[str, Any] | None:
    """The first of these columns that the row has something in."""
    return next(((name, row[name]) for name in names if _is_there(row.get(name))), None)


def _is_there(value: Any) -> bool:
    """Whether a cell holds something; NaN is how tables of pandas write that it does not."""
    return value is not None and value != [] and not (isinstance(value, float) and math.isnan(value))


def _own_kind(row: Row) -> Kind:
    if _first(row, RUBRICS):
        return "rubric"
    if _first(row, BASELINES):
        return "baseline"
    return "gold" if _first(row, GOLDS) else "parent"


def _kind_of(rows: Sequence[Numbered], settings: ExamConfig) -> Kind:
    """The kind of all rows: one exam has one."""
    if settings.baseline:
        return "baseline"
    kind = _own_kind(rows[0][1])
    for place, row in rows:
        if (other := _own_kind(row)) != kind:
            raise BadExam(
                f"{place}: of the kind {other!r}, and {rows[0][0]} is of {kind!r}: an exam is of one kind; split the "
                "file, or set the exam's kind"
            )
    return kind


def _prompt(exam: str, kind: Kind, place: str, row: Row, answers: dict[str, str]) -> Prompt:
    try:
        prompt = Prompt("", place, _messages(row), _category(row))
        if kind == "rubric":
            prompt = replace(prompt, criteria=_criteria(row))
        elif kind == "baseline":
            prompt = replace(prompt, baseline=_baseline(row, answers))
        elif kind == "gold":
            prompt = replace(prompt, golds=_golds(row))
    except BadExam as bad:
        raise BadExam(f"{place}: {bad}") from None
    rubric = [[item.description, item.points] for item in prompt.criteria]
    own = content_id("exam", exam, list(prompt.messages), rubric, prompt.baseline, list(prompt.golds))
    return replace(prompt, problem_id=own)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadExam(f"{what} is {'empty' if value is None or value == '' else 'no text, or an empty one'}")
    return value


def _messages(row: Row) -> tuple[dict[str, str], ...]:
    if (found := _first(row, PROMPTS)) is None:
        raise BadExam(f"no prompt: an exam needs one of the columns {', '.join(PROMPTS)} (it has {', '.join(row)})")
    if (beside := _first(row, UNSHOWN)) and beside[1] != "":
        raise BadExam(
            f"{beside[0]} beside the question, which nobody would be shown: write it into the prompt (and a right "
            "answer as it is to be given), or take the column out"
        )
    name, value = found
    if name == "turns" and isinstance(value, list) and all(isinstance(one, str) for one in value):  # as in MT-Bench
        value = [{"content": one} for one in value]
    if isinstance(value, str):
        return ({"role": "user", "content": _text(value, name)},)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise BadExam(f"{name} is neither a text nor a list of messages")
    if name == "turns" and len(value) > 1:
        raise BadExam("several turns: an exam asks for one answer; give the conversation as messages")
    messages = tuple(
        {"role": str(one.get("role", "user")), "content": _text(one.get("content"), f"{name}: a message's content")}
        for one in value
    )
    if odd := sorted({message["role"] for message in messages} - set(ROLES)):
        raise BadExam(f"{name}: the role {odd[0]!r} is none of {', '.join(ROLES)}")
    if messages[-1]["role"] != "user":
        raise BadExam(f"{name}: the conversation must end with the user's turn, not with the {messages[-1]['role']}'s")
    return messages


def _category(row: Row) -> str | None:
    if found := _first(row, CATEGORIES):
        return str(found[1]).strip() or None
    tags = row.get("example_tags") or []
    themes = [tag.removeprefix("theme:") for tag in tags if isinstance(tag, str) and tag.startswith("theme:")]
    return themes[0] if themes else None


def _criteria(row: Row) -> tuple[Item, ...]:
    found = _first(row, RUBRICS)
    if found is None or not isinstance(found[1], list) or not all(isinstance(one, dict) for one in found[1]):
        raise BadExam("no rubric: a list of objects with criterion and points is wanted in the column rubrics")
    items = []
    for number, one in enumerate(found[1], 1):
        points = one.get("points")
        if isinstance(points, bool) or not isinstance(points, int | float) or not math.isfinite(points) or not points:
            raise BadExam(f"criterion {number}: points {points!r} are no number other than 0")
        tags = tuple(str(tag) for tag in one.get("tags") or ())
        items.append(Item(f"c{number}", _text(one.get("criterion"), f"criterion {number}"), float(points), tags))
    if not any(item.points > 0 for item in items):
        raise BadExam("no criterion has positive points: there is nothing to reach")
    return tuple(items)


def _golds(row: Row) -> tuple[str, ...]:
    if (found := _first(row, GOLDS)) is None:
        raise BadExam(f"no right answer: one of the columns {', '.join(GOLDS)} is wanted")
    values = found[1] if isinstance(found[1], list) else _listed(found[1])
    return tuple(_gold(one, found[0]) for one in values)


def _listed(value: Any) -> list[Any]:
    """The right answers of one cell: a CSV file has a list of them as JSON."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with contextlib.suppress(ValueError, RecursionError):
            several = json.loads(value)
            if several and all(isinstance(one, str) for one in several):
                return [*several, value]
    return [value]


def _gold(value: Any, name: str) -> str:
    """A right answer; of a worked solution that ends with `#### 72` (as GSM8K's) what follows the mark."""
    if isinstance(value, float) and not math.isfinite(value):
        raise BadExam(f"{name} is {value}: no right answer")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(int(value) if value == int(value) else value)
    text = _text(value, name)
    _, mark, result = text.rpartition("\n#### ")
    return result if mark and result.strip() and "\n" not in result.strip() else text


def _baseline(row: Row, answers: dict[str, str]) -> str:
    key = _first(row, IDS)
    if answers and key:
        if (known := answers.get(str(key[1]))) is None:
            raise BadExam(f"the baseline's file has no answer to {key[0]} {key[1]!r}")
        return known
    if (found := _first(row, (*BASELINES, *GOLDS))) is None:
        raise BadExam(f"no baseline answer: one of the columns {', '.join(BASELINES)} is wanted")
    return _text(found[1], found[0])


def baseline_answers(file: str) -> dict[str, str]:
    """The answers of a baseline by their prompt's id, as Arena-Hard keeps them (`choices` or `messages`), or plain.

    Raises:
        BadExam: a row has no id, or no answer.
    """
    found: dict[str, str] = {}
    for place, row in rows_of(file):
        if (key := _first(row, IDS)) is None:
            raise BadExam(f"baseline {file}, {place}: no id; one of {', '.join(IDS)} is wanted")
        found[str(key[1])] = _text(_answer_in(row), f"baseline {file}, {place}: the answer")
    return found


def _answer_in(row: Row) -> Any:
    value: Any = row.get("answer", row.get("output", row.get("baseline")))
    try:
        if "choices" in row:
            value = row["choices"][0]["turns"][0]["content"]
        elif "messages" in row:
            value = row["messages"][-1]["content"]
    except (LookupError, TypeError):
        return None
    return value.get("answer") if isinstance(value, dict) else value


def _refuse_twins(prompts: Sequence[Prompt]) -> None:
    """The same question twice would count twice in every mean, and its interval would be too narrow."""
    seen: dict[str, str] = {}
    for prompt in prompts:
        said = [[message["role"], *message["content"].split()] for message in prompt.messages]
        before = seen.setdefault(content_id("prompt", said), prompt.place)
        if before != prompt.place:
            raise BadExam(f"{prompt.place}: the same prompt as {before}; leave one of them out")
