"""Propose: the model reads a document, writes a self-contained problem and a reference answer (paper section 3.1)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from prefect import task

from schemas.config import TaskConfig
from schemas.ids import content_id
from schemas.outputs import ProposedProblem
from tasks.asking.asker import Asked, Asker, Bad
from tasks.asking.parse import MAX_CHARS, Malformed, format_instructions
from tasks.engine.protocol import Engine
from tasks.engine.turns import together
from tasks.prompts import data
from tasks.staging.plan import Plan, least_reference_support
from tasks.staging.stage import TASK_OPTIONS, Round, run_stage
from tasks.texts.duplicates import Known
from tasks.texts.evidence import support_of
from tasks.texts.length import first_words, has_unspaced, word_count
from tasks.texts.measures import overlap, points_at_source, repeats_itself, shares_a_word, words_of
from tasks.texts.phrases import ANSWER_LABELS, QUESTION_LABELS
from tasks.texts.refusals import refuses
from tasks.texts.scripts import ends_as_question, language_of, may_be_question, share_a_script
from tasks.texts.wholeness import unfinished

Row = dict[str, Any]
LEAST_WORDS = 4  # of a problem
LEAK_SHARE = 0.5  # of the reference's 5-grams found in the problem


async def propose(plan: Plan, documents: list[Row], engine: Engine) -> list[Row]:
    """`task.problems_per_document` problem rows for each document that is to be trained on."""
    chosen = [row for row in documents if row["status"] == "ok" and row["split"] == "train"]
    per_document = await together(_document(plan, row, engine) for row in chosen)
    return [row for rows in per_document for row in rows]


async def _document(plan: Plan, document: Row, engine: Engine) -> list[Row]:
    """One problem after the other, each told of those before it."""
    rows: list[Row] = []
    for number in range(plan.config.task.problems_per_document):
        rows.append(await _one(plan, document, number, [row for row in rows if row["status"] == "ok"], engine))
    return rows


async def _one(plan: Plan, document: Row, number: int, before: list[Row], engine: Engine) -> Row:
    problem_id = content_id("problem", plan.keys["propose"], document["document_id"], number)
    asker = Asker(plan, "propose", engine)
    write = _structured if plan.config.dialect_of("propose") == "structured" else _stepwise
    checks = Checks(plan, before, document["text"])
    asked, used_words = await write(asker, problem_id, document, checks)
    reason = asked.reason
    if asked.status == "ok" and used_words < document["words"]:
        reason = f"the document was cut to its first {used_words} words to fit the context"
    return {
        "problem_id": problem_id, "document_id": document["document_id"], "task": plan.config.task.type,
        "problem": asked.value.problem if asked.value else None,
        "reference_answer": asked.value.reference_answer if asked.value else None,
        "status": asked.status, "reason": reason,
        "generation_id": asked.generation.generation_id if asked.generation else None,
        "support": checks.support(asked.value) if asked.value else None,
    }  # fmt: skip


class Checks:
    """What a problem must hold, beside its form; `before` are the problems that its document has already. Without a
    document, a reference's support is not looked at."""

    def __init__(self, plan: Plan, before: Sequence[Row] = (), document: str | None = None) -> None:
        self._config, self._document = plan.config.task, document
        self._least = least_reference_support(plan.config)
        self._known = Known(plan.config.task.max_similarity)
        for row in before:
            self._known.add(row["problem_id"], row["problem"])
        self.others = "".join(f"- {data(' '.join(row['problem'].split()))}\n" for row in before)

    def problem(self, text: str) -> str:
        """Refuse a problem that cannot stand on its own or was asked of this document already.

        Raises:
            Bad: `leaky` or `duplicate`.
        """
        if phrase := points_at_source(text):
            raise Bad("leaky", f"the problem points at its source: {phrase!r}")
        if found := self._known.like(text):
            raise Bad("duplicate", f"{found[1]:.0%} alike (word 3-grams) to the document's problem {found[0]}")
        return text

    def both(self, proposed: ProposedProblem) -> ProposedProblem:
        """Refuse a reference answer that is too short, that the problem gives away, or that speaks of its source.

        Its readers (the judge, and whoever trains on it) see no document, as those of the problem do not.

        Raises:
            Bad: `leaky`, `duplicate`, `unfinished`, `refused` or `unsupported`.
            Malformed: too short, or it repeats itself.
        """
        if words_in(proposed.problem) < LEAST_WORDS:
            raise Malformed(f"not a problem: {proposed.problem[:60]!r}")
        self.problem(proposed.problem)
        words = words_in(proposed.reference_answer)
        if words < (least := least_reference_words(self._config)):
            raise Malformed(f"the reference answer has {words} words, and not {least} or more")
        if phrase := points_at_source(proposed.reference_answer):
            raise Bad("leaky", f"the reference answer points at its source: {phrase!r}")
        if why := unfinished(proposed.reference_answer):
            raise Bad("unfinished", f"the reference answer is not whole: {why}")
        if refuses(proposed.reference_answer, proposed.problem):
            raise Bad("refused", "the reference answer declines to answer")
        if repeats_itself(proposed.reference_answer):
            raise Malformed("the reference answer repeats itself")
        held = self.support(proposed)
        if held is not None and held < self._least:
            raise Bad("unsupported", f"{held:.0%} of the reference answer's words stand in the document")
        n = min(5, len(words_of(proposed.reference_answer)))
        if (share := overlap(proposed.reference_answer, proposed.problem, n)) >= LEAK_SHARE:
            raise Bad("leaky", f"{share:.0%} of the reference answer's {n}-grams stand in the problem")
        return proposed

    def support(self, proposed: ProposedProblem) -> float | None:
        """Share of the reference answer's words that stand in the document, without those of the problem; None where it
        has no others, or none of its letters are the document's."""
        answer = proposed.reference_answer
        if self._document is None or not share_a_script(answer, self._document):
            return None
        return support_of(answer, self._document, proposed.problem)


def words_in(text: str) -> int:
    """Words of a text by the measure of every script; marks alone are no words."""
    return word_count(text) if has_unspaced(text) else len(words_of(text))


def least_reference_words(config: TaskConfig) -> int:
    """As configured, else by the kind of problem: some have an answer of one word."""
    return config.min_reference_words or (1 if config.type in ("knowledge", "math") else 5)


# said at the next try to a model whose reference answer spoke of its source
OF_ITSELF = "Answer as if you knew it by heart, for a reader who has never seen a text about it."
Written = tuple[Asked[ProposedProblem], int]  # and how many words of the document were in view


async def _structured(asker: Asker, problem_id: str, document: Row, checks: Checks) -> Written:
    output_format = asker.plan.config.model_of("propose").output_format
    values = {"title": data(document["title"] or "untitled").replace('"', "'")}
    values |= {"topic": values["title"], "format": format_instructions(ProposedProblem, output_format)}
    values |= {"others": f"\nAsked already; ask about something else:\n{checks.others}" if checks.others else ""}

    language = language_of(document["text"])

    def render(words: int) -> str:
        shown = {"document": data(first_words(document["text"], words))}
        return asker.plan.prompts.render("propose", values | shown, language)

    prompt, words = await asker.fitting(render, document["words"])
    return await asker.output(problem_id, "problem", prompt, ProposedProblem, checks.both), words


async def _stepwise(asker: Asker, problem_id: str, document: Row, checks: Checks) -> Written:
    """A call for the problem, then one for its reference answer."""
    values = {"title": data(document["title"] or "untitled"), "topic": topic(document)}
    values |= {"others": f"\nNot these, they were asked already:\n{checks.others}" if checks.others else ""}

    language = language_of(document["text"])

    def render(words: int) -> str:
        shown = {"document": data(first_words(document["text"], words))}
        return asker.plan.prompts.render("problem_step", values | shown, language)

    prompt, words = await asker.fitting(render, document["words"])
    # a prompt file that ends so wants a question; a writing task has none
    question = asker.plan.prompts.text("problem_step").endswith("Question:")
    read = partial(_question, title=document["title"], checks=checks, question=question)
    asked = await asker.text(problem_id, "problem", prompt, read, stop=("\n",), max_tokens=80)
    if asked.value is None:
        return Asked(None, asked.generation, asked.status, asked.reason), words
    problem = asker.plan.prompts.render("problem_frame", {"problem": data(asked.value)})
    values |= {"problem": problem}

    def render_reference(words: int) -> str:
        shown = {"document": data(first_words(document["text"], words))}
        return asker.plan.prompts.render("reference_step", values | shown, language)

    reference_prompt, words = await asker.fitting(render_reference, words)  # longer than the first by the problem
    read_reference = partial(_with_reference, problem, checks=checks)
    told, answer, end = reference_prompt.rpartition("\nAnswer:")
    again = f"{told or end}\n{OF_ITSELF}{answer}{end if told else ''}"
    asked_for = asker.text(problem_id, "reference", reference_prompt, read_reference, stop=("\n\n",), after_leak=again)
    return await asked_for, words


def topic(document: Row) -> str:
    """What the problem is to be about: the title, where the document has one."""
    return data(document["title"]) if document["title"] else "its main subject"


def _question(text: str, title: str | None, checks: Checks, question: bool = False) -> str:
    """The first line, without quotes and labels before it; it must name what it asks about."""
    if len(text) > MAX_CHARS:
        raise Malformed(f"{len(text)} characters: too long to be a problem")
    line = text.strip().splitlines()[0]
    label, sep, rest = line.replace("：", ":", 1).partition(":")
    line = rest if sep and label.strip(" *#").lower() in QUESTION_LABELS else line
    line = line.strip(' \t"“”*#')
    line = line[1:-1] if line[:1] in "「『" and line[-1:] in "」』" else line
    if words_in(line) < LEAST_WORDS:
        raise Malformed(f"not a problem: {line[:60]!r}")
    checks.problem(line)
    if question and not may_be_question(line):
        raise Malformed(f"not a question: {line[:60]!r}")
    if title and ends_as_question(line) and not shares_a_word(line, title):
        raise Malformed(f"the question does not name its subject, {title}")
    return line


def _with_reference(problem: str, text: str, checks: Checks) -> ProposedProblem:
    text = text.strip()
    for label in ("Answer:", "**Answer:**"):
        text = text.removeprefix(label).strip()
    label, colon, rest = text.replace("：", ":", 1).partition(":")
    text = rest.strip() if colon and label.strip(" *").casefold() in ANSWER_LABELS else text
    return checks.both(ProposedProblem(problem=problem, reference_answer=text[:16000]))


@task(name="propose", task_run_name="propose {shard}", **TASK_OPTIONS)
async def propose_task(round_: Round, shard: str) -> Any:
    """documents → problems."""

    async def work(plan: Plan, documents: list[Row], engine: Engine) -> list[Row]:
        return await round_.shard_order.mark(shard, await propose(plan, documents, engine))

    done = await run_stage(round_, "propose", shard, ("documents",), work)
    round_.shard_order.finish(shard)
    return done
