"""What the tests of the rating modes share: a rubric, answers, and a judge who says what a function says."""

import asyncio
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import settings

from tasks.asking.asker import Asker
from tasks.engine.protocol import Budget, Choice, Generation, Likelihood, Message, Request
from tasks.judging import MODES
from tasks.judging.case import Case, Judgement, Row
from tests.samples import an_answer, config, plan_of

few = settings(max_examples=60, deadline=None)
CRITERIA = [
    {"name": "Cause", "gold": "Air scatters short waves most.", "description": "d", "weight": 3.0},
    {"name": "Treatment", "gold": "There is none to be had.", "description": "d", "weight": 1.0},
]
RUBRIC = {"rubric_id": "r", "problem_id": "p0", "criteria": CRITERIA, "status": "ok"}
Reply = Callable[[Any], str]


class Judge:
    """An engine that says what a function of the request says."""

    model = "judge"
    scores_prompts = False

    def __init__(self, reply: Reply) -> None:
        self.reply, self.asked = reply, list[Any]()

    async def _say(self, request: Request | Choice | Likelihood) -> Generation:
        self.asked.append(request)
        text = self.reply(request)
        finish = "length" if text == "CUT" else "stop"
        return Generation(
            request.generation_id(self.model), request.subject_id, "judge", self.model, "", [], "", text, finish, 1, 1, 0.1, 0  # noqa: E501
        )  # fmt: skip

    async def chat(self, request: Request) -> Generation:
        """See `Engine`."""
        return await self._say(request)

    async def choice(self, request: Choice) -> Generation:
        """See `Engine`."""
        return await self._say(request)

    async def likelihood(self, request: Likelihood) -> Generation:
        """See `Engine`."""
        return await self._say(request)

    async def budget(self, messages: Sequence[Message], max_tokens: int) -> Budget:
        """See `Engine`."""
        return Budget(1, 9999)


def judge(mode: str, reply: Reply, answers: list[Row], criteria: list[Row] | None = None, **rating: Any) -> Judgement:
    """What a judge with these replies makes of the answers."""
    words = {"temperature": 0.5, "max_tokens": 60}
    plan = plan_of(config(rating={"mode": mode, **rating}, sampling={"judge": words}, task={"max_attempts": 1}))
    case = Case("Why is the sky blue?", RUBRIC | {"criteria": criteria or CRITERIA}, answers)
    return asyncio.run(MODES[mode](Asker(plan, "rate", Judge(reply)), case))


def scores(judgement: Judgement) -> dict[str, float | None]:
    """Answer to score."""
    return {verdict.answer["answer_id"]: verdict.score for verdict in judgement.verdicts}


def answers_of(*names: str) -> list[Row]:
    """Answers, each a word long more than the one before; `ref` is the reference."""
    return [
        an_answer(name, words=50 + n, rollout=-1 if name == "ref" else n, final=f"<{name}>")
        for n, name in enumerate(names)
    ]


def sheet(*ratings: Any) -> str:
    """A mark sheet in the rubric's order."""
    marks = [{"name": c["name"], "thoughts": "", "rating": r} for c, r in zip(CRITERIA, ratings, strict=False)]
    return json.dumps({"marks": marks})


def nats(**shares: float) -> list[tuple[str, float]]:
    """Log-probabilities of tokens; `_2` is the token ` 2`."""
    return [(token.replace("_", " ").replace("d", ""), math.log(share)) for token, share in shares.items()]
