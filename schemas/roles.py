"""Of the configuration: the models, which roles they play, and how their text is drawn."""

import json
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from schemas.section import Dialect, Positive, Section, Share

# what every request carries by the other settings; `params` may leave it out or give it another name
STANDARD_PARAMS = ("temperature", "top_p", "max_tokens", "seed", "stop", "logprobs", "top_logprobs")
_NOT_PARAMS = {"model", "messages", "prompt", "n", "stream", "response_format", "structured_outputs", "api_key"}


class ModelConfig(Section):
    """A model that a role can be played by."""

    path: str | None = Field(
        None,
        description="smollm2-135m-instruct, a local folder, a name on the HF hub, or a folder's URL in an object store",
    )
    revision: str | None = Field(None, description="revision on the HF hub")
    chat_template: str | None = Field(
        None, min_length=1, description="chatml, plain, or a file: for base models, which have none of their own"
    )
    base_urls: tuple[str, ...] = Field((), description="OpenAI-compatible servers that already run this model")
    served_name: str | None = Field(None, description="the model's name at those servers")
    api_key_env: str | None = Field(None, description="environment variable that holds the key")
    output_format: Literal["json_schema", "tags"] = Field(
        "json_schema", description="json_schema: the server constrains the output; tags: parsed from tagged text"
    )
    max_model_len: int | None = Field(None, ge=256, description="context in tokens, where the server does not say")
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="of every request: added (top_k = 20), left out (seed = false), or under another name "
        '(max_tokens = "max_completion_tokens")',
    )
    dialect: Dialect | None = Field(None, description="how this model is asked; empty: as task.dialect says")
    trust_remote_code: bool = Field(False, description="Python code in the model's own folder may run here")
    usd_per_million_prompt_tokens: float | None = Field(None, ge=0, description="price; empty: not known")
    usd_per_million_completion_tokens: float | None = Field(None, ge=0, description="price; empty: not known")

    @field_validator("params")
    @classmethod
    def _known_changes(cls, params: dict[str, Any]) -> dict[str, Any]:
        for name, value in params.items():
            if name in _NOT_PARAMS:
                raise ValueError(f"{name} is none of the parameters that can be set here")
            number = name == "top_logprobs" and type(value) is int and 1 <= value <= 20
            if name in STANDARD_PARAMS and value is not False and not number and not (isinstance(value, str) and value):
                other = "sampling.<role>" if name in ("temperature", "top_p", "max_tokens", "stop") else "sampling.seed"
                raise ValueError(
                    f'{name} = false leaves it out, {name} = "another_name" renames it; its value is {other}\'s'
                )
        try:
            json.dumps(params, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError("a parameter is a text, a number, true, false, or a list or table of them") from None
        return params

    @model_validator(mode="after")
    def _one_source(self) -> "ModelConfig":
        if self.path is None and not self.base_urls:
            raise ValueError("a model needs a path (to be served here) or base_urls (of servers that run it)")
        if self.chat_template and self.path is None:
            raise ValueError("chat_template needs a path: weights that only a server has are asked as that server does")
        if self.base_urls and self.served_name is None:
            raise ValueError("base_urls need served_name: the model's name at those servers")
        if any(urlsplit(url).scheme not in ("http", "https") for url in self.base_urls):
            raise ValueError("base_urls begin with http:// or https://")
        # they stand in `generations`, and no key may
        if any("@" in urlsplit(url).netloc or urlsplit(url).query for url in self.base_urls):
            raise ValueError("base_urls must not hold a key or password: name its variable in api_key_env")
        return self


class RolesConfig(Section):
    """Which model plays each role: `policy` (all by it is self-play, the paper's way), `frozen` (the policy that the
    run began with), or one named under `models`."""

    propose: str = Field("policy", description="writes problems and reference answers")
    answer: str = Field("policy", description="answers without the document")
    rubric: str = Field("policy", description="writes rubrics with the document in view")
    judge: str = Field("policy", description="rates answers by the rubric")


class Sampling(Section):
    """How one role's text is drawn."""

    temperature: float = Field(1.0, ge=0.0, le=5.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    max_tokens: Positive = Field(6144, description="tokens to generate at most")
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field((), description="texts at which generation ends")
    top_k: int = Field(0, ge=0, description="likeliest tokens to draw from; 0: all")
    min_p: Share = Field(0.0, description="tokens less likely than this share of the likeliest are not drawn; 0: off")
    repetition_penalty: float = Field(1.0, gt=0.0, le=10.0, description="above 1: what was said is less likely; 1: off")
    from_model: bool = Field(
        False,
        description="temperature, top_p, top_k, min_p and repetition_penalty as the model's generation_config.json "
        "states them; what it leaves open stays as set here",
    )

    def beyond_openai(self) -> dict[str, Any]:
        """The parameters that OpenAI's protocol does not have, where they are set: servers may refuse them."""
        return self.model_dump(include={"top_k", "min_p", "repetition_penalty"}, exclude_defaults=True)

    def identity(self) -> dict[str, Any]:
        """What shapes a text. A parameter that is off is left out: so it was before there was a setting for it."""
        plain = self.model_dump(include={"temperature", "top_p", "max_tokens", "stop"})
        return plain | self.beyond_openai()


class SamplingConfig(Section):
    """Sampling of each role (defaults: the paper's)."""

    answers: Positive = Field(32, description="answers a problem")
    propose: Sampling = Sampling()
    answer: Sampling = Sampling()
    rubric: Sampling = Sampling(temperature=0.0, max_tokens=8192)
    judge: Sampling = Sampling(temperature=0.0, max_tokens=4096)
    cut_answers: Literal["drop", "sentence"] = Field(
        "drop", description="an answer cut at max_tokens: not used, or used up to its last full sentence"
    )
    seed: int = Field(0, description="another seed draws other texts from the same prompts")
    hints: Share = Field(
        0.0,
        description="beyond the paper: this share of the answers sees a sentence of the document; they may be chosen, "
        "are never rejected, and are trained on without it",
    )
    own_likelihood: bool = Field(
        False, description="keep how likely each answer was to the model that wrote it (answers.own_logprob)"
    )
