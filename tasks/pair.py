"""Pair: best against worst answer becomes a preference pair, if it passes the filters (paper section 3.5)."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from prefect import task
from prefect.states import Completed

from schemas.config import PairingConfig
from schemas.ids import content_id
from tasks.answer import REFERENCE, prompt_messages
from tasks.plan import Plan
from tasks.stage import TASK_OPTIONS, Round

Row = dict[str, Any]


@dataclass(frozen=True)
class Rated:
    """An answer with its score."""

    answer_id: str
    final: str
    words: int
    score: float


Outcome = tuple[tuple[Rated, Rated] | None, str, str | None]
LEAST_MARGIN = 1e-12  # what floating point may make of equal scores


def pair(plan: Plan, problems: list[Row], answers: list[Row], rubrics: list[Row], ratings: list[Row]) -> list[Row]:
    """One row for each problem that is ok: the pair, or why there is none."""
    scores = {row["answer_id"]: row["score"] for row in ratings if row["status"] == "ok" and row["score"] is not None}
    rubric_status = {row["problem_id"]: row["status"] for row in rubrics}
    rows = []
    for problem in (row for row in problems if row["status"] == "ok"):
        rated = [
            Rated(a["answer_id"], a["final"], a["words"], scores[a["answer_id"]])
            for a in answers
            if a["problem_id"] == problem["problem_id"] and a["rollout"] != REFERENCE and a["answer_id"] in scores
        ]
        rows.append(_row(plan, problem["problem_id"], rated, rubric_status.get(problem["problem_id"])))
    return rows


def _row(plan: Plan, problem_id: str, rated: list[Rated], rubric_status: str | None) -> Row:
    if rubric_status != "ok":
        outcome: Outcome = None, "no_rubric", f"the rubric is {rubric_status or 'missing'}"
    else:
        outcome = choose(rated, plan.config.pairing)
    chosen, status, reason = outcome
    best, worst = chosen or (None, None)
    ids = [answer.answer_id for answer in chosen or ()]
    return {
        "pair_id": content_id("pair", plan.keys["pair"], problem_id, ids), "problem_id": problem_id,
        "chosen_answer_id": best.answer_id if best else None, "rejected_answer_id": worst.answer_id if worst else None,
        "chosen_score": best.score if best else None, "rejected_score": worst.score if worst else None,
        "margin": best.score - worst.score if best and worst else None, "status": status, "reason": reason,
    }  # fmt: skip


def choose(rated: list[Rated], config: PairingConfig) -> Outcome:
    """The widest pair inside the length window, or the status and reason why there is none."""
    if len(rated) < config.min_answers:
        return None, "few_answers", f"{len(rated)} rated answers; {config.min_answers} are needed"
    scores = [answer.score for answer in rated]
    deviation = statistics.pstdev(scores)
    if deviation < config.min_deviation or max(scores) - min(scores) < LEAST_MARGIN:
        return None, "tie", f"the scores' deviation {deviation:.4f} is below {config.min_deviation}, or none at all"
    first = None
    for best, worst in _by_margin(rated):
        first = first or (best, worst)
        if best.score - worst.score < max(config.min_margin, LEAST_MARGIN):
            break
        if best.final.strip() == worst.final.strip():
            continue
        if abs(best.words - worst.words) <= config.max_length_gap_words:
            return (best, worst), "ok", None
    assert first is not None
    widest = first[0].score - first[1].score
    if widest < config.min_margin:
        return first, "low_margin", f"the widest margin {widest:.3f} is below {config.min_margin}"
    gap = abs(first[0].words - first[1].words)
    if gap <= config.max_length_gap_words:
        return first, "duplicate", "the answers that differ in score have the same text"
    most = config.max_length_gap_words
    return first, "length_gap", f"no two answers within {most} words; the widest pair differs by {gap}"


def _by_margin(rated: list[Rated]) -> Iterator[tuple[Rated, Rated]]:
    """Every two answers, better one first, widest margin first; ties in margin by length gap, then by id."""

    def order(two: tuple[Rated, Rated]) -> tuple[float, int, str, str]:
        best, worst = two
        return worst.score - best.score, abs(best.words - worst.words), best.answer_id, worst.answer_id

    ranked = sorted(rated, key=lambda answer: (-answer.score, answer.answer_id))
    yield from sorted(combinations(ranked, 2), key=order)


def preferences(plan: Plan, problems: list[Row], answers: list[Row], pairs: list[Row]) -> list[Row]:
    """What the trainer reads: the messages that were answered, and the two answers as they were judged."""
    texts = {row["problem_id"]: row["problem"] for row in problems}
    finals = {row["answer_id"]: row["final"] for row in answers}

    def reply(answer_id: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": finals[answer_id]}]

    return [
        {
            "pair_id": row["pair_id"], "prompt": list(prompt_messages(plan, texts[row["problem_id"]])),
            "chosen": reply(row["chosen_answer_id"]), "rejected": reply(row["rejected_answer_id"]),
        }
        for row in pairs
        if row["status"] == "ok"
    ]  # fmt: skip


@task(name="pair", task_run_name="pair {shard}", **TASK_OPTIONS)
async def pair_task(round_: Round, shard: str) -> Any:
    """problems, answers, rubrics, ratings → pairs and preferences. No model is asked: there is nothing to journal."""
    if round_.done("pair", shard):
        round_.progress.shard("pair", reused=True)
        return Completed(name="Reused", message=f"{shard} is there already")
    tables = ("problems", "answers", "rubrics", "ratings")
    problems, answers, rubrics, ratings = (round_.read(name, shard) for name in tables)
    pairs = pair(round_.plan, problems, answers, rubrics, ratings)
    footer = round_.plan.footer("pair") | {"shard": shard}
    wanted = preferences(round_.plan, problems, answers, pairs)
    round_.store.write("preferences", round_.plan.round, shard, wanted, footer)
    round_.store.write("pairs", round_.plan.round, shard, pairs, footer)
    round_.progress.shard("pair", reused=False)
    return {"shard": shard, "rows": len(pairs), "pairs": len(wanted)}
