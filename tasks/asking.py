"""How every stage asks a model: try again with a fresh seed after a malformed output, and say why in the end."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from schemas.outputs import Output, bounded_schema
from tasks.engine.protocol import Engine, Generation, Message, Request
from tasks.parse import Malformed, parse
from tasks.plan import ROLE_OF, Plan
from tasks.text import full_sentences

T = TypeVar("T")
O = TypeVar("O", bound=Output)


@dataclass(frozen=True)
class Asked(Generic[T]):
    """What came of asking: a value, or None with the status and the reason of the last try."""

    value: T | None
    generation: Generation | None
    status: str = "ok"
    reason: str | None = None


class Bad(Exception):
    """A check on a parsed output failed; carries the row's status."""

    def __init__(self, status: str, reason: str):
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True)
class Asker:
    """Asks in one stage's role, with its sampling, seed and number of tries."""

    plan: Plan
    stage: str
    engine: Engine

    async def text(
        self, subject_id: str, field: str, prompt: str, read: Callable[[str], T], stop: tuple[str, ...] = (),
        max_tokens: int | None = None,
    ) -> Asked[T]:  # fmt: skip
        """Ask for plain text; `read` checks it and raises `Bad` or `Malformed`.

        Plain text that was cut at max_tokens is read up to its last full sentence; the reason says so.
        """
        return await self._ask(subject_id, field, prompt, read, None, stop, max_tokens)

    async def output(
        self, subject_id: str, field: str, prompt: str, model: type[O], read: Callable[[O], T],
        items: int | None = None, names: list[str] | None = None,
    ) -> Asked[T]:  # fmt: skip
        """Ask for a structured output."""
        output_format = self.plan.config.models[self.plan.model_of(self.stage)].output_format
        schema = (model.__name__, bounded_schema(model, items, names))
        return await self._ask(
            subject_id, field, prompt, lambda text: read(parse(model, text, output_format)), schema
        )  # fmt: skip

    async def _ask(
        self, subject_id: str, field: str, prompt: str, read: Callable[[str], T], output: tuple[str, dict] | None,
        stop: tuple[str, ...] = (), max_tokens: int | None = None,
    ) -> Asked[T]:  # fmt: skip
        sampling = getattr(self.plan.config.sampling, ROLE_OF[self.stage])
        sampling = sampling.model_copy(
            update={"stop": stop or sampling.stop, "max_tokens": min(max_tokens or sampling.max_tokens, sampling.max_tokens)}
        )
        messages: tuple[Message, ...] = ({"role": "user", "content": prompt},)
        last: Asked[T] = Asked(None, None, "malformed", "not asked")
        # the same greedy request would only give the same text again
        tries = self.plan.config.task.max_attempts if sampling.temperature > 0 else 1
        for attempt in range(tries):
            request = Request(
                ROLE_OF[self.stage], subject_id, field, messages, sampling, attempt, self.plan.config.sampling.seed, output
            )  # fmt: skip
            generation = await self.engine.chat(request)
            text, failure, note = generation.text, generation.failure, None
            if failure and failure[0] == "truncated" and output is None and (kept := full_sentences(text)):
                text, failure, note = kept, None, f"{failure[1]}; used up to the last full sentence"
            if failure:
                last = Asked(None, generation, *failure)
                if failure[0] in ("too_long", "rejected"):
                    break
                continue
            try:
                return Asked(read(text), generation, reason=note)
            except Bad as bad:
                last = Asked(None, generation, bad.status, bad.reason)
            except Malformed as malformed:
                last = Asked(None, generation, "malformed", str(malformed))
        return last

    async def fitting(self, render: Callable[[int], str], words: int) -> tuple[str, int]:
        """The prompt `render(n)` with the most words `n` (of at most `words`) that fits the context.

        `render(n)` must shrink with n. Halving steps and then the exact count keep the number of counts small.
        """
        max_tokens = getattr(self.plan.config.sampling, ROLE_OF[self.stage]).max_tokens
        while True:
            prompt = render(words)
            budget = await self.engine.budget([{"role": "user", "content": prompt}], max_tokens)
            if budget.fits or words <= 1:
                return prompt, words
            room = budget.limit - max_tokens
            used = budget.tokens - max_tokens
            words = max(1, min(words - 1, int(words * 0.95 * max(room, 1) / max(used, 1))))
