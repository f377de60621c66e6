"""The suite: an exam is sat by the candidate and by its parent, marked, and told in figures.

Four kinds, one way: prompts are kept as rows, both models answer, every answer gets a mark or a reason why not.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from schemas.ids import content_id
from tasks.evaluation.bench import Bench, Measure, Subject
from tasks.evaluation.exams.figures import Figures, Result
from tasks.evaluation.exams.formats import Paper, read_paper
from tasks.evaluation.exams.marking import Couple, compared, marked, matched
from tasks.evaluation.exams.scoring import win_of
from tasks.evaluation.exams.sitting import answers_of, baseline_row, keep_prompts
from tasks.evaluation.heldout import NotRun
from tasks.evaluation.shares import Marks, marks_of
from tasks.storage.store import Row

MATCHES = ("exact", "contains")


async def exam(bench: Bench) -> list[Measure]:
    """The figures of the exam `bench.exam`.

    Raises:
        NotRun: its answers are compared with a parent's, and there is no parent.
        UserError: its file cannot be used.
    """
    assert bench.exam is not None
    paper = read_paper(bench.exam)
    if paper.kind == "parent" and bench.parent is None:
        raise NotRun("plain prompts are judged against another model's answers: name one with --against")
    keep_prompts(bench, paper)
    figures = Figures(paper, bench.config.evaluation)
    answers = [await answers_of(bench, paper, subject) for subject in bench.subjects]
    if paper.kind == "parent":
        return await _against_parent(bench, paper, figures, *answers)
    results = [await _result(bench, paper, subject, own) for subject, own in zip(bench.subjects, answers, strict=True)]
    each = zip(bench.subjects, results, strict=True)
    found = [one for subject, result in each for one in figures.of_model(subject.model_id, result)]
    if paper.kind == "baseline":
        words = {prompt.problem_id: [float(baseline_row(prompt)["words"])] for prompt in paper.prompts}
        found.append(figures.words(bench.candidate.model_id, "baseline_words", words))
    return found + (figures.against(bench.candidate.model_id, *results) if bench.parent else [])


async def _against_parent(
    bench: Bench, paper: Paper, figures: Figures, ours: list[Row], theirs: list[Row]
) -> list[Measure]:  # fmt: skip
    assert bench.parent is not None
    name = content_id("couple", bench.candidate.file, bench.parent.file)[:12]
    result = await _won(bench, paper, name, ours, theirs)
    other = _marks(paper, theirs, {})
    return [
        *figures.of_model(bench.candidate.model_id, result),
        figures.words(bench.parent.model_id, "words", _words(paper, theirs)),
        *figures.from_half(bench.candidate.model_id, result, other),
    ]


async def _result(bench: Bench, paper: Paper, subject: Subject, answers: list[Row]) -> Result:
    if paper.kind == "baseline":
        rows = {prompt.problem_id: baseline_row(prompt) for prompt in paper.prompts}
        return await _won(bench, paper, subject.file, answers, [rows[row["problem_id"]] for row in answers])
    if paper.kind == "rubric":
        ratings = await marked(bench, paper, subject, answers)
    else:
        ratings = matched(bench, paper, subject, answers)
    score = {row["answer_id"]: row["score"] for row in ratings}
    others = {name: _shares(ratings, {name}) for name in MATCHES} if paper.kind == "gold" else _met(paper, ratings)
    unrated = Counter(row["status"] for row in ratings if row["score"] is None)
    return Result(_marks(paper, answers, score), _words(paper, answers), others=others, unrated=unrated)


async def _won(bench: Bench, paper: Paper, name: str, ours: Sequence[Row], theirs: Sequence[Row]) -> Result:
    """Each of our answers against the one beside it: who says nothing loses to who says something, unasked."""
    prompts = {prompt.problem_id: prompt for prompt in paper.prompts}
    pairs = list(zip(ours, theirs, strict=True))
    couples: list[Couple] = [(prompts[a["problem_id"]], a, b) for a, b in pairs if a["final"] and b["final"]]
    rows = await compared(bench, paper, name, couples)
    verdicts = {(row["first_answer_id"], row["second_answer_id"]): row for row in rows}
    wins: dict[str, float | None] = {}
    gaps: dict[str, list[float | None]] = {prompt: [] for prompt in prompts}
    unrated: Counter[str] = Counter()
    for a, b in pairs:
        win, why = _win(verdicts, a, b)
        wins[a["answer_id"]] = win
        unrated.update([why] if why else [])
        gaps[a["problem_id"]].append(None if win is None else float((a["words"] or 0) - (b["words"] or 0)))
    return Result(_marks(paper, ours, wins), _words(paper, ours), gaps, unrated=unrated)


def _win(verdicts: Mapping[tuple[str, str], Row], a: Row, b: Row) -> tuple[float | None, str | None]:
    """The win of `a` over `b` in 0..1, or None and why it is not known."""
    for row in (a, b):
        if row["final"] is None:
            return None, str(row["status"])
    if not a["final"] or not b["final"]:
        return 0.5 if a["final"] == b["final"] else float(bool(a["final"])), None
    forth, back = verdicts[a["answer_id"], b["answer_id"]], verdicts[b["answer_id"], a["answer_id"]]
    bad = [row["status"] for row in (forth, back) if row["status"] != "ok"]
    return win_of(forth["first_mark"], back["second_mark"]), bad[0] if bad else None


def _marks(paper: Paper, answers: Sequence[Row], score: Mapping[str, float | None]) -> Marks:
    problems = [{"problem_id": prompt.problem_id} for prompt in paper.prompts]
    ratings = [{"answer_id": row["answer_id"], "status": "ok", "score": score.get(row["answer_id"])} for row in answers]
    return marks_of(problems, answers, ratings, paper.settings.answers)


def _words(paper: Paper, answers: Sequence[Row]) -> dict[str, list[float]]:
    words: dict[str, list[float]] = {prompt.problem_id: [] for prompt in paper.prompts}
    for row in answers:
        if row["words"] is not None:
            words[row["problem_id"]].append(float(row["words"]))
    return words


def _met(paper: Paper, ratings: Sequence[Row]) -> dict[str, dict[str, float]]:
    """By prompt, the shares of the criteria with positive and with negative points that are met. A judge who finds
    faults as often as merits, whoever answers, says yes to what it is shown."""
    points = {prompt.problem_id: {item.name: item.points for item in prompt.criteria} for prompt in paper.prompts}
    rows: dict[str, list[Row]] = {key: [] for key in points}
    for row in ratings:
        rows[row["problem_id"]].append(row)
    found = {}
    for name, sign in (("merits_met", 1), ("faults_met", -1)):
        each = [_shares(rows[key], {item for item, p in own.items() if p * sign > 0}) for key, own in points.items()]
        found[name] = {key: value for shares in each for key, value in shares.items()}
    return found


def _shares(ratings: Sequence[Row], names: Collection[str]) -> dict[str, float]:
    """By prompt, the share of its answers' marks of these names that are a yes."""
    found: dict[str, list[float]] = {}
    for row in ratings:
        for mark in row["ratings"] or ():
            if mark["name"] in names and mark["rating"] is not None:
                found.setdefault(row["problem_id"], []).append(mark["rating"])
    return {prompt: sum(values) / len(values) for prompt, values in sorted(found.items())}
