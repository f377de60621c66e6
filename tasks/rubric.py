"""Rubric: the same model, with document and reference in view, writes weighted criteria (paper section 3.3).

Seeing the document makes verifying easier than generating: that gap is the signal.
"""

import re
from typing import Any, TypeVar

from prefect import task

from schemas.ids import content_id
from schemas.outputs import Criterion, GroundedCriterion, GroundedRubric, Output, Rubric
from schemas.tables import REFERENCE
from tasks.asking.asker import Asked, Asker, Bad
from tasks.asking.parse import Malformed, format_instructions
from tasks.engine.protocol import Engine
from tasks.engine.turns import together
from tasks.prompts import data
from tasks.propose import topic
from tasks.staging.plan import Plan, least_support, shown_answers
from tasks.staging.stage import TASK_OPTIONS, Round, run_stage
from tasks.texts.evidence import evidence_of, is_quoted, support_of
from tasks.texts.length import WORD, first_words, length
from tasks.texts.measures import overlap, points_at_source, sentences, shingles
from tasks.texts.scripts import ends_as_question, is_latin, language_of

Row = dict[str, Any]
RubricT = TypeVar("RubricT", bound=Rubric | GroundedRubric)
UNGROUNDED = "ungrounded"
QUOTE = (
    '"evidence" is the passage of the document that the gold fact rests on: one to three sentences, copied from there '
    "word for word; empty where there is no gold fact. A criterion whose evidence is not in the document is not used."
)
AGAIN = (
    "Write the rubric again; copy every piece of evidence from the document word for word, and state no other facts."
)
COPIED = 12  # words in a row: fewer may be the plain way to say it ("equivalent forms earn full marks")
AGAIN_FACTS = "Use only what the text says, in its own words."
Criteria = list[Row]  # as in the table, with evidence, support and status
# neither "2.5 mg" nor "-5 °C" loses a part
_BULLET = re.compile(r"^\s*(?:-(?!\d)|[*•・●]|[(（]?\d{1,2}[.)）](?!\d)|\d{1,2}[、．]|[①-⑳])\s*")


async def rubric(
    plan: Plan, documents: list[Row], problems: list[Row], answers: list[Row], engine: Engine
) -> list[Row]:  # fmt: skip
    """One rubric row for each problem that is ok."""
    by_id = {row["document_id"]: row for row in documents if row["status"] == "ok"}
    candidates: dict[str, list[Row]] = {}
    for row in answers:
        if row["status"] == "ok" and row["rollout"] != REFERENCE and row.get("hint") is None:
            candidates.setdefault(row["problem_id"], []).append(row)
    usable = [row for row in problems if row["status"] == "ok"]
    return await together(
        _one(plan, by_id[p["document_id"]], p, candidates.get(p["problem_id"], []), engine) for p in usable
    )


async def _one(plan: Plan, document: Row, problem: Row, answers: list[Row], engine: Engine) -> Row:
    shown = by_length_rank(answers, shown_answers(plan.config))
    asker = Asker(plan, "rubric", engine)
    rubric_id = content_id("rubric", plan.keys["rubric"], problem["problem_id"], [row["answer_id"] for row in shown])
    write = _fixed if plan.config.rubric.criteria else _WRITE[plan.config.dialect_of("rubric")]
    asked, shown, note = await write(asker, rubric_id, document, problem, shown)
    status, reason = outcome(asked, note)
    return {
        "rubric_id": rubric_id, "problem_id": problem["problem_id"], "document_id": problem["document_id"],
        "criteria": asked.value, "shown_answer_ids": [row["answer_id"] for row in shown], "status": status,
        "reason": reason, "generation_id": asked.generation.generation_id if asked.generation else None,
    }  # fmt: skip


def outcome(asked: Asked[Criteria], note: str | None) -> tuple[str, str | None]:
    """A rubric's status and reason. It is ok with what it has of criteria that hold; without any it is ungrounded."""
    if not asked.value:
        return asked.status, asked.reason or note
    lacking = [criterion for criterion in asked.value if criterion["status"] != "ok"]
    if not lacking:
        return "ok", asked.reason if asked.status == "ok" and asked.reason else note
    said = f"{len(lacking)} of {len(asked.value)} criteria rest on nothing in the document"
    if len(lacking) == len(asked.value):
        return "ungrounded", said
    return "ok", f"{said} and are not used" + (f"; {note}" if note else "")


def by_length_rank(answers: list[Row], count: int) -> list[Row]:
    """`count` answers at even steps of the length ranking, so that short, middling and long ones are in view."""
    ranked = sorted(answers, key=lambda row: (row["words"], row["answer_id"]))
    if count >= len(ranked):
        return ranked
    if count <= 1:
        return ranked[len(ranked) // 2 :][:count]
    return [ranked[round(i * (len(ranked) - 1) / (count - 1))] for i in range(count)]


Written = tuple[Asked[Criteria], list[Row], str | None]


async def _structured(asker: Asker, rubric_id: str, document: Row, problem: Row, shown: list[Row]) -> Written:
    config = asker.plan.config
    model: type[Output] = GroundedRubric if config.rubric.show_document else Rubric
    form = format_instructions(model, config.model_of("rubric").output_format)
    form = f"{QUOTE}\n\n{form}" if model is GroundedRubric else form
    values = {
        "problem": data(problem["problem"]), "max_criteria": str(config.rubric.max_criteria), "format": form,
    }  # fmt: skip

    language = language_of(document["text"])

    def render(answers: list[Row], words: int) -> str:
        material = _material(document, problem, words) if config.rubric.show_document else ""
        some = _shown(answers, config.rubric.shown_answer_max_words)
        return asker.plan.prompts.render("rubric", values | {"material": material, "answers": some}, language)

    note = None
    asked_for = len(shown)
    while len(shown) > 1 and not (await _fits(asker, render(shown, document["words"]))):
        shown = by_length_rank(shown, len(shown) - 2 if len(shown) > 3 else 1)
    if len(shown) < asked_for:
        note = f"{len(shown)} instead of {asked_for} answers in view, to fit the context"
    prompt, words = await asker.fitting(lambda n: render(shown, n), document["words"])
    if words < document["words"]:
        note = f"{note + '; ' if note else ''}{_cut_to(words)}"
    most, least = config.rubric.max_criteria, least_support(config)
    instructions = f"{asker.plan.prompts.ours('rubric')}\n{form}"

    def again(status: str, reason: str) -> str:
        return (
            f"{prompt}\n\nYour last reply could not be used: {data(reason)}. {AGAIN}"
            if status == UNGROUNDED
            else prompt
        )

    def read(written: Output) -> Criteria:
        assert isinstance(written, Rubric | GroundedRubric)
        return grounded(usable(written, most), document, least, instructions)

    asked = await asker.output(rubric_id, "rubric", prompt, model, read, most, again=again if least else None)
    return asked, shown, note


def usable(rubric: RubricT, max_criteria: int) -> RubricT:
    """Refuse what a server without structured output lets through.

    Raises:
        Malformed: too many criteria, or two that the judge could not tell apart.
    """
    if len(rubric.criteria) > max_criteria:
        raise Malformed(f"{len(rubric.criteria)} criteria; at most {max_criteria} were asked for")
    if len({data(criterion.name) for criterion in rubric.criteria}) < len(rubric.criteria):
        raise Malformed("two criteria have the same name")
    return rubric


def grounded(rubric: Rubric | GroundedRubric, document: Row, least: float, instructions: str = "") -> Criteria:
    """The criteria with what their gold facts rest on: the quote that was given, where the document has it.

    Raises:
        Bad: `ungrounded`, with the criteria as they are: a fact is not supported by its quote, the quote is made up, or
            a criterion repeats the instructions, as small models do.
    """
    rows: Criteria = []
    asked = shingles(instructions, COPIED)
    faults: list[str] = []
    for criterion in rubric.criteria:
        row = criterion.model_dump() | {"evidence": None, "support": None, "status": "ok"}
        quote = criterion.evidence if isinstance(criterion, GroundedCriterion) else None
        if asked & (shingles(criterion.description, COPIED) | shingles(criterion.gold or "", COPIED)):
            row |= {"status": UNGROUNDED, "support": 0.0 if criterion.gold else None}
            faults.append(f"{criterion.name!r} repeats the instructions")
        elif criterion.gold:
            there = bool(quote) and is_quoted(quote or "", document["text"])
            if not isinstance(rubric, GroundedRubric):
                row["evidence"], row["support"] = evidence_of(criterion.gold, document["text"], document["title"])
            elif there:
                held = support_of(criterion.gold, f"{document['title'] or ''} {quote}")
                row |= {"evidence": quote, "support": 1.0 if held is None else held}
            else:
                row["support"] = 0.0
            if row["support"] < least:
                row["status"] = UNGROUNDED
                said = f"{' '.join((quote or '').split())[:80]!r}"
                lacks = "says too little of its gold fact" if there else "is not there"
                faults.append(
                    f"{criterion.name!r} " + (f"quotes {said}, which {lacks}" if quote else "has no evidence")
                )
        rows.append(row)
    if faults:
        held_up = sum(row["status"] == "ok" for row in rows)
        raise Bad(UNGROUNDED, f"not in the document: {'; '.join(faults)}"[:900], rows, held_up)
    return rows


def _cut_to(words: int) -> str:
    return f"the document was cut to its first {words} words"


async def _fits(asker: Asker, prompt: str) -> bool:
    budget = await asker.engine.budget(
        [{"role": "user", "content": prompt}], asker.plan.config.sampling.rubric.max_tokens
    )  # fmt: skip
    return budget.fits


def _material(document: Row, problem: Row, words: int) -> str:
    return (
        f"\n<document>\n{data(first_words(document['text'], words))}\n</document>\n"
        f"\n<reference_answer>\n{data(problem['reference_answer'])}\n</reference_answer>\n"
    )


def _shown(answers: list[Row], max_words: int) -> str:
    if not answers:
        return ""
    blocks = [f"<answer>\n{data(first_words(row['final'], max_words))}\n</answer>" for row in answers]
    return "\nSome of the answers:\n" + "\n".join(blocks) + "\n"


async def _stepwise(asker: Asker, rubric_id: str, document: Row, problem: Row, _: list[Row]) -> Written:
    """One call for the gold facts; every fact is a criterion of weight 1.

    Neither answers nor the reference are in view: a small model would copy the reference, and a reference that is
    measured by itself says nothing.
    """
    config = asker.plan.config
    most = config.rubric.max_criteria
    values = {"problem": data(problem["problem"]), "topic": topic(document), "max_criteria": str(most)}

    def render(words: int) -> str:
        material = f'Text:\n"""\n{data(first_words(document["text"], words))}\n"""\n\n'
        seen = values | {"material": material if config.rubric.show_document else ""}
        return asker.plan.prompts.render("facts_step", seen, language_of(document["text"]))

    prompt, words = await asker.fitting(render, document["words"])
    collected = Facts(document, problem["problem"], most, least_support(config))
    again = (
        None if not collected.least else lambda status, _: f"{prompt} {AGAIN_FACTS}" if status == UNGROUNDED else prompt
    )
    asked = await asker.text(rubric_id, "facts", prompt, collected.read, whole=False, again=again)
    return asked, [], _cut_to(words) if words < document["words"] else None


class Facts:
    """The facts of a rubric over the tries that it takes: what the document supports is kept, the rest asked again."""

    def __init__(self, document: Row, problem: str, most: int, least: float) -> None:
        self._document, self._problem, self._most, self.least = document, problem, most, least
        self._kept: list[Row] = []

    def read(self, text: str) -> Criteria:
        """Criteria from a try's text and those before it.

        Raises:
            Malformed: no line states a fact.
            Bad: `ungrounded`, with the criteria as they are: there is room for more, and a fact rests on nothing.
        """
        lacking: list[Row] = []
        for criterion in facts_rubric(text, self._problem, 10).criteria:
            fact = criterion.gold or ""
            if any(overlap(fact, row["gold"], 3) >= 0.6 for row in self._kept) or len(self._kept) == self._most:
                continue
            passage, support = evidence_of(fact, self._document["text"], self._document["title"])
            row = {"gold": fact, "evidence": passage, "support": support}
            (self._kept if support >= self.least else lacking).append(row)
        rows = [row | {"status": "ok"} for row in self._kept]
        rows += [row | {"status": UNGROUNDED} for row in lacking[: self._most - len(rows)]]
        criteria = [_criterion(n, row["gold"]).model_dump() | row for n, row in enumerate(rows, 1)]
        if len(self._kept) < self._most and lacking:
            said = "; ".join(repr(row["gold"][:80]) for row in lacking)
            raise Bad(UNGROUNDED, f"not in the document: {said}"[:900], criteria, len(self._kept))
        return criteria


async def _fixed(asker: Asker, *_: Any) -> Written:
    """The user's own criteria; no model is asked."""
    given = asker.plan.config.rubric.criteria
    rows = [criterion.model_dump() | {"evidence": None, "support": None, "status": "ok"} for criterion in given]
    return Asked(rows, None), [], None


_WRITE = {"structured": _structured, "stepwise": _stepwise}


def facts_rubric(text: str, problem: str, max_criteria: int) -> Rubric:
    """Criteria from sentences that state facts, numbered lines or not. A fact that only says the problem again would
    count for every answer: left out, as are repetitions."""
    lines = [_BULLET.sub("", line).strip(' *"“”') for line in text.splitlines()]
    stated = [fact for line in lines for fact in (sentences(line) or [line])]
    facts: list[str] = []
    for fact in stated:
        if len(facts) == max_criteria:
            break
        if not _stated(fact) or fact.endswith((":", "：")) or ends_as_question(fact) or points_at_source(fact):
            continue
        if overlap(fact, problem, 3) >= 0.6 or any(overlap(fact, other, 3) >= 0.6 for other in facts):
            continue
        facts.append(fact)
    if not facts:
        raise Malformed("no line that states a fact")
    return Rubric(criteria=[_criterion(n, fact) for n, fact in enumerate(facts, 1)])


def _stated(fact: str) -> bool:
    """Whether a line is as long as a statement. Four words in Latin letters; where others write articles and
    prepositions as part of a word, as Arabic, Hebrew, Korean and Russian do, three."""
    return WORD * (4 if is_latin(fact) else 3) <= length(fact) <= 60 * WORD


def _criterion(number: int, fact: str) -> Criterion:
    label = " ".join(first_words(fact, 5).split())[:60]
    description = f"The answer says: {fact}"[:900]
    return Criterion(name=f"{number} {label}", gold=fact[:600], description=description, weight=1.0)


@task(name="rubric", task_run_name="rubric {shard}", **TASK_OPTIONS)
async def rubric_task(round_: Round, shard: str) -> Any:
    """documents, problems, answers → rubrics."""
    return await run_stage(round_, "rubric", shard, ("documents", "problems", "answers"), rubric)
