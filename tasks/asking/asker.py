"""How every stage asks a model: try again with a fresh seed after a malformed output, and say why in the end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from schemas.outputs import Output, bounded_schema
from tasks.asking.parse import Malformed, parse
from tasks.engine.protocol import Choice, Engine, Generation, Message, Request
from tasks.staging.plan import ROLE_OF, Plan
from tasks.texts.leaks import leak, without_end
from tasks.texts.measures import full_sentences
from tasks.texts.thoughts import final_answer
from tasks.texts.wholeness import unfinished

T = TypeVar("T")
OutputT = TypeVar("OutputT", bound=Output)


@dataclass(frozen=True)
class Asked(Generic[T]):
    """What came of asking: a value, or None with the status and the reason of the last try."""

    value: T | None
    generation: Generation | None
    status: str = "ok"
    reason: str | None = None


class Bad(Exception):
    """A check on a parsed output failed; carries the row's status.

    Attributes:
        value: what can be used of it all the same, should no try do better; of several, that with the most `merit`.
    """

    def __init__(self, status: str, reason: str, value: Any = None, merit: int = 0) -> None:
        super().__init__(reason)
        self.status, self.reason, self.value, self.merit = status, reason, value, merit


@dataclass(frozen=True)
class Asker:
    """Asks in one stage's role, with its sampling, seed and number of tries."""

    plan: Plan
    stage: str
    engine: Engine

    async def text(
        self, subject_id: str, field: str, prompt: str, read: Callable[[str], T], stop: tuple[str, ...] = (),
        max_tokens: int | None = None, after_leak: str | None = None, whole: bool = True,
        again: Callable[[str, str], str] | None = None,
    ) -> Asked[T]:  # fmt: skip
        """Ask for plain text; `read` checks it and raises `Bad` or `Malformed`.

        What ends in a lead-in or half a sentence (`unfinished`) is asked for again, unless it need not be `whole`.

        `again(status, reason)` makes the prompt of the try after one that a check refused: it can say what was wrong.
        `after_leak` is asked in place of `prompt` once a try was leaky.

        Plain text that was cut at max_tokens is read up to its last full sentence; the reason says so.
        """
        return await self._ask(subject_id, field, prompt, read, None, stop, max_tokens, after_leak, whole, again)

    async def output(
        self, subject_id: str, field: str, prompt: str, model: type[OutputT], read: Callable[[OutputT], T],
        items: int | None = None, names: list[str] | None = None, again: Callable[[str, str], str] | None = None,
    ) -> Asked[T]:  # fmt: skip
        """Ask for a structured output; `again` as in `text`."""
        output_format = self.plan.config.model_of(ROLE_OF[self.stage]).output_format
        schema = (model.__name__, bounded_schema(model, items, names))
        return await self._ask(
            subject_id, field, prompt, lambda text: read(parse(model, text, output_format)), schema, again=again
        )  # fmt: skip

    async def choose(
        self, subject_id: str, field: str, prompt: str, choices: tuple[str, ...], logprobs: bool = False
    ) -> Asked[str]:  # fmt: skip
        """Ask for one of a few words; with logprobs, the value is the JSON of `Engine.choice`."""
        messages: tuple[Message, ...] = ({"role": "user", "content": prompt},)
        generation = await self.engine.choice(
            Choice(ROLE_OF[self.stage], subject_id, field, messages, choices, logprobs)
        )  # fmt: skip
        if generation.failure is not None:
            return Asked(None, generation, *generation.failure)
        if logprobs:
            return Asked(generation.text, generation)
        said = final_answer(generation.text).strip(" \n.*\"'").casefold()
        if said not in choices:
            return Asked(None, generation, "malformed", f"{said[:60]!r} is none of {', '.join(choices)}")
        return Asked(said, generation)

    async def _ask(
        self, subject_id: str, field: str, prompt: str, read: Callable[[str], T],
        output: tuple[str, dict[str, Any]] | None, stop: tuple[str, ...] = (), max_tokens: int | None = None,
        after_leak: str | None = None, whole: bool = False, again: Callable[[str, str], str] | None = None,
    ) -> Asked[T]:  # fmt: skip
        sampling = getattr(self.plan.config.sampling, ROLE_OF[self.stage])
        most = min(max_tokens or sampling.max_tokens, sampling.max_tokens)
        sampling = sampling.model_copy(update={"stop": stop or sampling.stop, "max_tokens": most})
        last: Asked[T] = Asked(None, None, "malformed", "not asked")
        # the same greedy request would only give the same text again
        tries = self.plan.config.task.max_attempts if sampling.temperature > 0 or again else 1
        leaked, best, most_merit = False, None, -1
        for attempt in range(tries):
            salt = self.plan.config.sampling.seed
            leaked = leaked or last.status == "leaky"
            asked = after_leak if after_leak and leaked else prompt
            if again and attempt and last.status not in ("truncated", "empty", "malformed"):
                asked = again(last.status, last.reason or "")
            elif attempt and sampling.temperature == 0:
                break
            messages: tuple[Message, ...] = ({"role": "user", "content": asked},)
            request = Request(ROLE_OF[self.stage], subject_id, field, messages, sampling, attempt, salt, output)
            generation = await self.engine.chat(request)
            text, failure, note = (
                (generation.text, generation.failure, None) if output else _plain(generation, sampling.stop, whole)
            )
            if failure is not None:
                last = Asked(None, generation, failure[0], failure[1])
                if failure[0] in ("too_long", "rejected", "failed"):
                    break
                continue
            try:
                return Asked(read(text), generation, reason=note)
            except Bad as bad:
                last = Asked(bad.value, generation, bad.status, bad.reason)
                if bad.value is not None and bad.merit > most_merit:
                    best, most_merit = last, bad.merit
            except Malformed as malformed:
                last = Asked(None, generation, "malformed", str(malformed))
            except ValidationError as error:  # of a model that a stage made out of plain text
                last = Asked(None, generation, "malformed", error.errors()[0]["msg"])
        return best or last

    async def fitting(self, render: Callable[[int], str], words: int) -> tuple[str, int]:
        """The prompt `render(n)` with the most words `n` (of at most `words`) that fits the context.

        `render(n)` must shrink with n. Steps in proportion to what is too much keep the number of counts small, and
        may stop a few words short of what would just fit.
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


def _plain(generation: Generation, stop: Sequence[str], whole: bool) -> tuple[str, tuple[str, str] | None, str | None]:
    """Text to read, failure and note of a plain-text completion: without thoughts, and if cut, its full sentences."""
    text, failure = without_end(final_answer(generation.text)), generation.failure
    if failure is None:
        if not text:
            return text, ("empty", "nothing is left after the thoughts"), None
        if why := leak(text, "".join(message["content"] for message in generation.messages)):
            return text, ("malformed", why), None
        why = unfinished(text, generation.stopped_at(stop)) if whole else None
        return text, ("unfinished", why) if why else None, None
    if failure[0] == "truncated" and (kept := full_sentences(text)):
        if whole and (why := unfinished(kept)):
            return "", ("unfinished", f"{failure[1]}; {why}"), None
        return kept, None, f"{failure[1]}; used up to the last full sentence"
    return "", failure, None
