"""Pair: best against worst answer becomes a preference pair, if it passes the filters (paper section 3.5).

Two figures stand beside a pair. Its `place` is where the problem's answers lie between one that tells nothing (0) and
the reference (1): the mean of their scores over the reference's; far below, the model cannot know what is asked, and
far above it knows already. Its `margin_spreads` is the margin in units of the judge's own spread: of what its
judgements of one answer differ by where it judged several times, else of the deviation of the problem's answers.

Controls (`pairing.control`) leave everything as it is but what a training is to show the worth of: the order of the
two (`shuffled`, `reversed`, `flipped` in a share), or the judge, in whose place stands what costs nothing
(`own_likelihood`: the mean log-probability of its tokens by the model that wrote it; `length`: words). These two make
as many pairs of the same problems as the judge does, so that budgets are equal; scores and margin of the row stay the
judge's, and tell by `margin > 0` how often it would agree. Short and repetitive texts are likely ones a token: within
`max_length_gap_words` that is what this control would teach.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from prefect import task
from prefect.states import Completed

from schemas.ids import content_id, seed_of
from schemas.preferences import PairingConfig
from schemas.tables import REFERENCE
from tasks.answer import prompt_messages
from tasks.judging.case import COMPARING
from tasks.judging.pairs import MEASURES, Beside, Outcome, Rated, Two, by_measure, choose, cutoff_of, usual_spread
from tasks.staging.plan import Plan
from tasks.staging.stage import TASK_OPTIONS, Round, off_the_loop
from tasks.texts.thoughts import split

Row = dict[str, Any]
READ = {  # no more of them: criteria and thoughts are most of what there is
    "problems": ("problem_id", "problem", "status"),
    "answers": ("answer_id", "problem_id", "rollout", "text", "final", "words", "own_logprob", "hint"),
    "rubrics": ("problem_id", "status"),
    "ratings": ("answer_id", "score", "status", "spread"),
}  # fmt: skip


def pair(
    plan: Plan, problems: list[Row], answers: list[Row], rubrics: list[Row], ratings: list[Row],
    cutoff: float | None = None,
) -> list[Row]:  # fmt: skip
    """At least one row for each problem that is ok: its pairs, or why there is none.

    `cutoff` is the least margin that `top_fraction` keeps, known once every shard is rated.
    """
    rows = []
    config = plan.config
    for problem_id, both, rubric_status in _by_problem(problems, answers, rubrics, ratings):
        reference = next((answer.score for answer in both if answer.reference), None)
        beside = Beside(None if config.rating.mode in COMPARING else reference, usual_spread(both))
        rated = both if config.pairing.include_reference else [answer for answer in both if not answer.reference]
        if rubric_status != "ok":
            outcomes = [Outcome(None, "no_rubric", f"the rubric is {rubric_status or 'missing'}")]
        else:
            outcomes = choose(rated, config.pairing, seed_of(problem_id), cutoff, beside)
            if (measure := MEASURES.get(config.pairing.control)) is not None:
                outcomes = by_measure(rated, outcomes, config.pairing, measure)
        rows += [_row(plan, problem_id, outcome, beside, both) for outcome in outcomes]
    return rows


def _by_problem(
    problems: list[Row], answers: list[Row], rubrics: list[Row], ratings: list[Row]
) -> Iterator[tuple[str, list[Rated], str | None]]:
    """Each problem that is ok with its rated answers, the reference among them, and its rubric's status."""
    scores = {row["answer_id"]: row for row in ratings if row["status"] == "ok" and row["score"] is not None}
    rated: dict[str, list[Rated]] = {}
    for a in answers:
        if (found := scores.get(a["answer_id"])) is not None:
            one = Rated(
                a["answer_id"], a["final"], a["words"], found["score"], a.get("own_logprob"), found.get("spread"),
                a["rollout"] == REFERENCE, a.get("hint") is not None,
            )  # fmt: skip
            rated.setdefault(a["problem_id"], []).append(one)
    status = {row["problem_id"]: row["status"] for row in rubrics}
    for row in problems:
        if row["status"] == "ok":
            yield row["problem_id"], rated.get(row["problem_id"], []), status.get(row["problem_id"])


def _row(plan: Plan, problem_id: str, outcome: Outcome, beside: Beside, rated: list[Rated]) -> Row:
    two = outcome.two
    spreads = beside.spreads(two) if two else None
    if two and _turned(plan.config.pairing, seed_of("/".join([problem_id, *_ids(two)]))):
        two = (two[1], two[0])
    best, worst = two or (None, None)
    names = _ids(two) if two else [outcome.status]
    return {
        "pair_id": content_id("pair", plan.keys["pair"], problem_id, names), "problem_id": problem_id,
        "chosen_answer_id": best.answer_id if best else None, "rejected_answer_id": worst.answer_id if worst else None,
        "chosen_score": best.score if best else None, "rejected_score": worst.score if worst else None,
        "margin": best.score - worst.score if best and worst else None, "status": outcome.status,
        "reason": outcome.reason, "place": beside.place(rated), "margin_spreads": spreads,
    }  # fmt: skip


def _ids(two: Two) -> list[str]:
    return [answer.answer_id for answer in two]


def _turned(config: PairingConfig, lot: int) -> bool:
    """Whether a control lets the worse answer be the chosen one; what 12 % turn round, 25 % do too."""
    if config.control == "flipped":
        return (lot >> 1) % 10_000 < round(config.flipped_share * 10_000)
    return config.control == "reversed" or (config.control == "shuffled" and lot % 2 == 1)


def round_cutoff(round_: Round, shards: Sequence[str]) -> float | None:
    """The cutoff over all shards of a round, which must be rated; None for strategies that have none."""
    config = round_.plan.config.pairing
    if config.strategy != "top_fraction" or all(round_.done("pair", shard) for shard in shards):
        return None
    margins, judges = [], config.model_copy(update={"control": "none"})
    plan = replace(round_.plan, config=round_.plan.config.model_copy(update={"pairing": judges}))
    for shard in shards:
        problems, answers, rubrics, ratings = (round_.read(table, shard, columns) for table, columns in READ.items())
        rows = pair(plan, problems, answers, rubrics, ratings)
        margins += [abs(row["margin"]) for row in rows if row["status"] == "ok"]
    return cutoff_of(margins, config.top_fraction)


def preferences(plan: Plan, problems: list[Row], answers: list[Row], pairs: list[Row]) -> list[Row]:
    """What the trainer reads: the messages that were answered, and the two answers as they were judged.

    With `training.target = "text"`, a thinking model's thoughts stand before what was judged.
    """
    texts = {row["problem_id"]: row["problem"] for row in problems}
    by_id = {row["answer_id"]: row for row in answers}

    def reply(answer_id: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": trained_on(by_id[answer_id], plan.config.training.target)}]

    return [
        {
            "pair_id": row["pair_id"], "prompt": list(prompt_messages(plan, texts[row["problem_id"]])),
            "chosen": reply(row["chosen_answer_id"]), "rejected": reply(row["rejected_answer_id"]),
        }
        for row in pairs
        if row["status"] == "ok"
    ]  # fmt: skip


def trained_on(answer: Row, target: str) -> str:
    """`final`, or with `target = "text"` the thoughts and then `final` (which may be shorter than what was written)."""
    thoughts, _ = split(answer["text"])
    return f"{thoughts.rstrip()}\n\n{answer['final']}" if target == "text" and thoughts else str(answer["final"])


@task(name="pair", task_run_name="pair {shard}", **TASK_OPTIONS)
async def pair_task(round_: Round, shard: str) -> Any:
    """problems, answers, rubrics, ratings → pairs and preferences. No model is asked: there is nothing to journal."""
    if round_.done("pair", shard):
        round_.progress.shard("pair", reused=True)
        return Completed(name="Reused", message=f"{shard} is there already")
    plan, store = round_.plan, round_.store

    def work() -> dict[str, Any]:
        problems, answers, rubrics, ratings = (round_.read(table, shard, columns) for table, columns in READ.items())
        pairs = pair(plan, problems, answers, rubrics, ratings, round_.cutoff)
        footer = plan.footer("pair") | {"shard": shard}
        wanted = preferences(plan, problems, answers, pairs)
        store.write("preferences", plan.round, shard, wanted, footer)
        store.write("pairs", plan.round, shard, pairs, footer)
        return {"shard": shard, "rows": len(pairs), "pairs": len(wanted)}

    done = await off_the_loop(work)
    round_.progress.shard("pair", reused=False)
    return done
