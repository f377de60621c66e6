"""What a stage asks of a model and what it gets back, apart from how it travels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from schemas.errors import DependencyError
from schemas.ids import content_id, seed_of
from schemas.roles import Sampling

Message = dict[str, str]
# Why a call has no answer, or a part of one: kept as a row's reason, and asked again by the next start.
UNANSWERED = ("too_long", "rejected", "failed", "unscored", "partly_scored")
# What servers call it, in any case of letters, when the model came to its end. The list is closed: an answer whose end
# is not known to be its own (`abort`, `error`, nothing at all, …) may be half of one, and is never used.
WHOLE = frozenset({
    "stop", "eos", "eos_token", "end_of_text", "stop_sequence", "end_turn", "end", "complete", "completed",
    "chosen", "scored", "partly_scored",
})  # fmt: skip
CUT = frozenset({
    "length", "max_tokens", "max_length", "max_new_tokens", "max_output_tokens", "model_length", "token_limit",
    "model_context_window_exceeded",
})  # fmt: skip
FILTERED = frozenset({
    "content_filter", "content_filtered", "filtered", "safety", "image_safety", "recitation", "blocklist", "sensitive",
    "prohibited_content", "spii", "guardrail_intervened",
})  # fmt: skip


class EngineError(DependencyError):
    """The server is gone or keeps failing; what is journaled so far is kept.

    Attributes:
        worth_another: whether the whole stage may fare better when it is tried again a little later.
    """

    worth_another = True


def _once(request: object, model: str, make: Callable[[], str]) -> str:
    """An id that is asked for several times a call, and hashes all of its prompt."""
    known: dict[str, str] = request.__dict__.setdefault("_ids", {})
    if model not in known:
        known[model] = make()
    return known[model]


@dataclass(frozen=True)
class Request:
    """One chat completion asked for.

    Attributes:
        role: who asks: propose, answer, rubric or judge.
        subject_id: the row this call works for, so that any row can be followed to its calls.
        field: which call of that row (a stepwise row takes several).
        attempt: 0, then 1, 2, … for tries with a fresh seed after a malformed output.
        output: name and JSON schema of the wanted output, where it is structured.
        logprobs: whether it is kept how likely the text was to the model; the text stays what it is without.
    """

    role: str
    subject_id: str
    field: str
    messages: tuple[Message, ...]
    sampling: Sampling
    attempt: int = 0
    salt: int = 0
    output: tuple[str, dict[str, Any]] | None = None
    logprobs: bool = False

    def generation_id(self, model: str) -> str:
        """Identity of this call at `model`; the sampling seed derives from it."""
        return _once(self, model, lambda: content_id(
            "generation", self.role, self.subject_id, self.field, self.attempt, self.salt, model, list(self.messages),
            self.sampling.identity(), self.output, *["logprobs"] * self.logprobs,
        ))  # fmt: skip

    def seed(self, model: str) -> int:
        """Sampling seed, 31 bits."""
        return seed_of((replace(self, logprobs=False) if self.logprobs else self).generation_id(model))


@dataclass(frozen=True)
class Likelihood:
    """Asks how likely each of `targets` is as the continuation of `context` (no text is generated)."""

    role: str
    subject_id: str
    context: str
    targets: tuple[str, ...]
    field: str = "likelihood"

    def generation_id(self, model: str) -> str:
        """Identity of this call at `model`."""
        return _once(self, model, lambda: content_id(
            "likelihood", self.role, self.subject_id, self.field, model, self.context, self.targets
        ))  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """Asks which of `choices` the model would say next, greedily: a constrained answer of one word or digit.

    Attributes:
        logprobs: whether the log-probabilities of the first token's alternatives are wanted, too.
    """

    role: str
    subject_id: str
    field: str
    messages: tuple[Message, ...]
    choices: tuple[str, ...]
    logprobs: bool = False

    def generation_id(self, model: str) -> str:
        """Identity of this call at `model`."""
        return _once(self, model, lambda: content_id(
            "choice", self.role, self.subject_id, self.field, model, list(self.messages), self.choices, self.logprobs
        ))  # fmt: skip


@dataclass(frozen=True)
class Generation:
    """One call as it went over the wire: a row of `generations`.

    Attributes:
        stop_reason: see `Reply.stop_reason`.
    """

    generation_id: str
    subject_id: str
    role: str
    model: str
    endpoint: str
    messages: list[Message]
    params: str
    completion: str | None
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float
    attempt: int
    mean_logprob: float | None = None  # of the tokens of the completion, in nats; None where it was not asked for
    stop_reason: str | None = None

    def stopped_at(self, stop: Sequence[str]) -> str:
        """Which of the stop texts asked for ended it; empty for none. Of a server that does not say, the first: it may
        have."""
        if self.stop_reason is None:
            return stop[0] if stop else ""
        return self.stop_reason if self.stop_reason in stop else ""

    @property
    def failure(self) -> tuple[str, str] | None:
        """Status and reason of a completion that must not be parsed; None where there is text to parse."""
        finish, words = self.finish_reason.casefold(), " ".join(self.text.split())[:300]
        if finish in CUT:
            after = "" if self.completion_tokens is None else f" after {self.completion_tokens} tokens"
            return "truncated", f"cut{after} (max_tokens)"
        if finish in FILTERED:
            return (
                "refused",
                f"the server's content filter stopped it ({words if finish == 'filtered' else self.finish_reason})",
            )
        if finish == "refusal":
            return "refused", f"the model declined: {words}"
        if finish == "unscored":
            return "unrateable", self.text
        if finish in ("too_long", "rejected", "failed"):
            return finish, words
        if finish not in WHOLE:
            return "unfinished", f"the server ended it with {self.finish_reason!r}: not known to be whole"
        if not words:
            return "empty", "the model wrote nothing"
        return None

    @property
    def answered(self) -> bool:
        """Whether it is worth keeping; what is not is asked for again by the next start."""
        finish = self.finish_reason.casefold()
        known = finish in WHOLE | CUT | FILTERED or finish == "refusal"
        return known and self.finish_reason not in UNANSWERED

    @property
    def text(self) -> str:
        """The completion; empty where there is none."""
        return self.completion or ""


@dataclass
class Budget:
    """What fits a model's context: `tokens` counted exactly where the server can, else estimated (3 bytes a token)."""

    tokens: int
    limit: int
    exact: bool = field(default=False)

    @property
    def fits(self) -> bool:
        """Whether the request can be sent."""
        return self.tokens <= self.limit


class Engine(Protocol):
    """A named model as a stage sees it."""

    model: str

    @property
    def scores_prompts(self) -> bool:
        """Whether `likelihood` can be asked for."""

    async def chat(self, request: Request) -> Generation:
        """One chat completion; an answer of an earlier attempt is given again without a call."""

    async def likelihood(self, request: Likelihood) -> Generation:
        """Log-probabilities; `completion` is a JSON list of {tokens, logprob} (sum in nats), one a target."""

    async def choice(self, request: Choice) -> Generation:
        """One of a few words; with logprobs: JSON {choice, logprobs: [token, nats] of the first one}."""

    async def budget(self, messages: Sequence[Message], max_tokens: int) -> Budget:
        """Whether messages and `max_tokens` fit the context."""
