"""A reference answer that spoke of its source is asked for again, with a word of what was wrong."""

import asyncio
from dataclasses import replace

from tasks.engine.protocol import Budget, Generation, Request
from tasks.propose import OF_ITSELF, propose
from tests.asking.samples import generation
from tests.samples import config, document, plan_of


class Parrot:
    """Speaks of "the text" until it is told not to."""

    model = "parrot"

    def __init__(self) -> None:
        self.prompts: list[str] = []

    async def chat(self, request: Request) -> Generation:
        prompt = request.messages[0]["content"]
        self.prompts.append(prompt)
        if request.field == "problem":
            said = "What does Subject0 cause in the end?"
        else:
            said = (
                "In Subject0 the fact0x1 causes effect1."
                if OF_ITSELF in prompt
                else "The text says that it causes effects."
            )
        return replace(generation(said), generation_id=request.generation_id("parrot"))

    async def budget(self, messages: object, max_tokens: int) -> Budget:
        return Budget(100, 4096)


def test_the_next_try_says_what_was_wrong_and_still_ends_where_the_answer_begins() -> None:
    parrot = Parrot()
    [row] = asyncio.run(propose(plan_of(config({"task": {"dialect": "stepwise"}})), [document(0)], parrot))  # type: ignore[arg-type]
    assert (row["status"], row["reference_answer"]) == ("ok", "In Subject0 the fact0x1 causes effect1.")
    first, again = parrot.prompts[-2:]
    assert OF_ITSELF not in first and again.endswith(f"{OF_ITSELF}\nAnswer:")
