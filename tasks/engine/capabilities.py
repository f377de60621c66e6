"""What a server was found to be able to do, and which roles and rating modes that is enough for."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from schemas.config import Config
from schemas.errors import UserError
from tasks.engine.drawing import Drawing, common_drawing

ROLES = ("propose", "answer", "rubric", "judge")
# what stands in `params` for a parameter that a server refuses, where it is not simply left out
LEAST_SHARE = 0.5  # of the probability that a judge's digits hold; with less, it was about to say something else
_OTHER_NAMES = {"max_tokens": "max_completion_tokens", "seed": "random_seed"}

Obeyed = Literal["obeyed", "ignored", "refused"]


@dataclass(frozen=True)
class Capabilities:
    """Of a model at a server.

    Attributes:
        listed: whether the server's list has the name; None where it has no list.
        owner: what the list calls the model's owner: vllm, llamacpp, …
        context: in tokens; None where the server does not say.
        tokenizer: whose form `/tokenize` has; `none` where there is none.
        choices: the dialect (`tasks.engine.dialects`) in which a choice is obeyed.
        json_schema: what becomes of a `response_format` with a schema.
        top_logprobs: how many log-probabilities a token are listed, of 20 asked for.
        choice_logprobs: whether those of a choice's words are.
        choices_only: whether these are of the words alone, and not of all that could be said without the constraint.
        digits_hold: else, their share of the probability when a judge is asked for one; None where it was not asked.
        prompt_logprobs: whether a prompt's tokens have log-probabilities, by vLLM's `prompt_logprobs`.
        refused: parameters that the server refuses, each with its own words.
        requests: that it took to find out.
        cut_at: tokens that it read of a longer prompt, which it cut without a word; None where it is not known to.
        drawing: how it draws words; None where it is known to fill in nothing that a request leaves open.
    """

    listed: bool | None = True
    owner: str = "vllm"
    context: int | None = None
    tokenizer: Literal["vllm", "llama.cpp", "none"] = "vllm"
    choices: str = "choice"
    json_schema: Obeyed = "obeyed"
    top_logprobs: int = 20
    choice_logprobs: bool = True
    choices_only: bool = True
    digits_hold: float | None = None
    prompt_logprobs: bool = True
    refused: Mapping[str, str] = field(default_factory=dict)
    requests: int = 0
    drawing: Drawing | None = None
    cut_at: int | None = None

    def beyond(self, wanted: Mapping[str, Any], temperature: float) -> dict[str, Any]:
        """What a request carries beside OpenAI's parameters; `wanted` is what the settings have of them."""
        return dict(wanted) if self.drawing is None else self.drawing.params(wanted, temperature)

    def stored(self) -> dict[str, Any]:
        """For a manifest."""
        return asdict(self)

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> "Capabilities":
        """Out of a manifest, of this version or another."""
        known = {one.name for one in fields(cls)}
        found = {name: value for name, value in stored.items() if name in known}
        return cls(**found | {"drawing": Drawing.read(stored.get("drawing"))})


# vLLM, and the stand-in that speaks as it does: what is assumed of a server until it is asked
VLLM = Capabilities()


def common(found: Sequence[Capabilities]) -> Capabilities:
    """What all of a model's replicas can do."""
    one = found[0]
    if len(found) == 1:
        return one
    same = all(other.choices == one.choices for other in found)
    return Capabilities(
        listed=one.listed, owner=one.owner,
        context=min((other.context for other in found if other.context), default=None),
        tokenizer=one.tokenizer if all(other.tokenizer == one.tokenizer for other in found) else "none",
        choices=one.choices if same else "none",
        json_schema=next((other.json_schema for other in found if other.json_schema != "obeyed"), "obeyed"),
        top_logprobs=min(other.top_logprobs for other in found),
        choice_logprobs=same and all(other.choice_logprobs for other in found),
        choices_only=same and all(other.choices_only for other in found),
        digits_hold=min((one.digits_hold for one in found if one.digits_hold is not None), default=None),
        prompt_logprobs=all(other.prompt_logprobs for other in found),
        refused={name: why for other in found for name, why in other.refused.items()},
        requests=sum(other.requests for other in found), drawing=common_drawing([other.drawing for other in found]),
        cut_at=min((one.cut_at for one in found if one.cut_at is not None), default=None),
    )  # fmt: skip


def modes(able: Capabilities) -> dict[str, str | None]:
    """Each rating mode: None where a judge at that server can play it, else what the server lacks."""
    likelihood = None
    if able.tokenizer != "vllm":
        likelihood = "/tokenize in vLLM's form"
    elif not able.prompt_logprobs:
        likelihood = "log-probabilities of the prompt (vLLM's prompt_logprobs)"
    logprob = None
    if able.top_logprobs < 3:
        logprob = "log-probabilities of what could be written"
    elif able.digits_hold is not None and able.digits_hold < LEAST_SHARE:
        logprob = (
            f"log-probabilities of the digits alone, and of all that could be written they hold {able.digits_hold:.0%} "
            f"(at least {LEAST_SHARE:.0%} are needed)"
        )
    return {"pointwise": None, "logprob": logprob, "likelihood": likelihood, "pairwise": None, "anchor": None}


def require(config: Config, name: str, able: Capabilities) -> None:
    """Say at the start what would only fail when answers and rubrics are paid for.

    Raises:
        UserError: a role of this model cannot be played at its server; names what would work.
    """
    roles = [role for role in ROLES if getattr(config.roles, role) == name]
    if not roles:
        return
    if able.refused:
        raise UserError(_refused(name, able))
    if able.cut_at is not None:
        raise UserError(
            f"models.{name}: the server cuts prompts to some {able.cut_at} tokens and says nothing of it: start it "
            f"with a larger context (Ollama: OLLAMA_CONTEXT_LENGTH), or set models.{name}.max_model_len={able.cut_at}"
        )
    if able.drawing is not None:
        _require_drawing(config, name, able.drawing, roles)
    writes = [role for role in roles if role != "judge" or config.rating.mode not in ("likelihood", "logprob")]
    structured = (
        any(config.dialect_of(role) == "structured" for role in writes)
        and config.models[name].output_format == "json_schema"
    )
    if structured and able.json_schema == "refused" and any(role != "answer" for role in writes):
        raise UserError(
            f"models.{name}: the server refuses JSON schemas (response_format), which structured outputs are asked "
            f"with; set models.{name}.output_format=tags"
        )
    if "judge" in roles and (lacks := modes(able).get(config.rating.mode)):
        work = ", ".join(mode for mode, lack in modes(able).items() if lack is None)
        raise UserError(
            f"rating.mode={config.rating.mode} cannot work with the judge models.{name}: its server has no {lacks}; "
            f"set rating.mode to one of {work}, or roles.judge to another model"
        )


def _require_drawing(config: Config, name: str, drawing: Drawing, roles: Sequence[str]) -> None:
    changes = config.models[name].params
    for role in roles:
        sampling = getattr(config.sampling, role)
        for parameter, value in sampling.beyond_openai().items():
            if parameter not in drawing.sent_as and parameter not in changes:
                raise UserError(
                    f"sampling.{role}.{parameter}={value}: the server of models.{name} shows no effect of it; leave it "
                    f"off, or say in models.{name}.params what that server calls it"
                )
    if drawing.draws is False and "answer" in roles and config.sampling.answer.temperature > 0:
        raise UserError(
            f"models.{name}: its server says the same at any temperature, so all answers to a problem would be one; "
            "start it so that it draws (do_sample in the model's generation_config.json), or set roles.answer to "
            "another model"
        )


def _refused(name: str, able: Capabilities) -> str:
    """The one line of settings that makes a server take what it refused."""
    mend = ", ".join(f"{one} = {_instead(one, why)}" for one, why in able.refused.items())
    words = " ".join(next(iter(able.refused.values())).split())[:200]
    return (
        f"models.{name}: the server refuses {' and '.join(able.refused)} ({words}); set models.{name}.params={{{mend}}}"
    )


def _instead(name: str, why: str) -> str:
    other = _OTHER_NAMES.get(name)
    return f'"{other}"' if other and other in why else "false"
