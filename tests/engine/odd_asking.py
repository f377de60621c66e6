"""Small pieces of work at a server of odd faces, and what comes of them in a word or two."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from schemas.config import Config
from schemas.errors import PopError
from tasks.answer import answer
from tasks.engine.client import Client
from tasks.engine.protocol import Engine
from tasks.rate import judged
from tasks.rubric import rubric
from tests.samples import Row, an_answer, config, document, plan_of, problem

Work = Callable[[Config, Engine], Awaitable[list[Row]]]
CRITERIA = [
    {"name": "Cause", "gold": "Air scatters short waves most.", "description": "d", "weight": 3.0},
    {"name": "Treatment", "gold": "There is none to be had.", "description": "d", "weight": 1.0},
]
RUBRIC = {"rubric_id": "r", "problem_id": "p0", "criteria": CRITERIA, "status": "ok", "shown_answer_ids": []}


async def answers(settings: Config, engine: Engine) -> list[Row]:
    """Answers to a problem, without the reference."""
    return (await answer(plan_of(settings), [problem()], engine))[1:]


async def ratings(settings: Config, engine: Engine) -> list[Row]:
    """Two answers rated by two criteria."""
    rated = await judged(plan_of(settings), [problem()], [an_answer("a"), an_answer("b", rollout=1)], [RUBRIC], engine)
    return rated["ratings"]


async def rubrics(settings: Config, engine: Engine) -> list[Row]:
    """A rubric."""
    return await rubric(plan_of(settings), [document(0) | {"document_id": "d0"}], [problem()], [an_answer("a")], engine)


JUDGING: Row = {
    "sampling": {"judge": {"temperature": 0.0}, "rubric": {"temperature": 0.0}},
    "task": {"max_attempts": 1},
}
WORKS: dict[str, tuple[Work, Row]] = {
    "answers": (answers, {"sampling": {"answers": 4}}),
    "sheets": (ratings, {"task": {"dialect": "structured"}, "rating": {"mode": "pointwise"}}),
    "digits": (ratings, {"rating": {"mode": "logprob"}}),
    "facts": (ratings, {"rating": {"mode": "likelihood"}}),
    "words": (ratings, {"task": {"dialect": "stepwise"}, "rating": {"mode": "pairwise"}}),
    "rubrics": (rubrics, {"task": {"dialect": "structured"}}),
}
QUICK: Row = {"engine": {"max_retries": 1, "timeout_sec": 3.0, "max_model_len": 8192}}


def rows_of(work: str, *urls: str, say: Callable[[str], None] | None = None, **changes: Any) -> list[Row]:
    """The rows that these servers are good for."""
    make, layer = WORKS[work]
    settings = config(JUDGING, QUICK, layer, changes)

    async def run() -> list[Row]:
        more: Row = {"say": say} if say else {}
        client = Client("m", settings.models["policy"], settings.engine, urls, asyncio.Semaphore(64), **more)
        try:
            return await make(settings, client)
        finally:
            await client.close()

    return asyncio.run(run())


def outcome(work: str, *urls: str, **changes: Any) -> tuple[str, list[Row] | str]:
    """The status of the rows (several: with `/` between), or the error's name; and the rows or the error's words."""
    try:
        rows = rows_of(work, *urls, **changes)
    except PopError as error:
        return type(error).__name__, str(error)
    return "/".join(sorted({str(row["status"]) for row in rows})), rows
