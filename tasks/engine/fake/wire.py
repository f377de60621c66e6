"""The requests that the fake engine takes, as vLLM takes them, and how it refuses them."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field


class Part(BaseModel):
    """A piece of a message's content."""

    text: str = ""


class Message(BaseModel):
    """One turn of a conversation."""

    role: str
    content: str | list[Part] | None = None

    def plain(self) -> str:
        """The content as one text."""
        return "".join(p.text for p in self.content) if isinstance(self.content, list) else self.content or ""


class JsonSchema(BaseModel):
    """`response_format.json_schema`."""

    name: str
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(BaseModel):
    """`response_format`: text, json_object or json_schema."""

    type: str
    json_schema: JsonSchema | None = None


class StructuredOutputs(BaseModel):
    """vLLM's own `structured_outputs`, as far as it is faked."""

    json_: dict[str, Any] | None = Field(None, alias="json")
    choice: list[str] | None = Field(None, min_length=1)


class Sampling(BaseModel):
    """What both generation endpoints take. Unknown fields are ignored, as vLLM does."""

    model: str | None = None
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    seed: int | None = None
    top_k: int | None = Field(None, ge=-1)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0)
    n: int | None = Field(None, ge=1, le=1024)
    stop: str | list[str] | None = None
    stream: bool | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None

    def drawn(self) -> tuple[float | int | None, ...]:
        """What a completion depends on; a temperature of 0, or one token to draw from, makes it greedy."""
        temperature = 1.0 if self.temperature is None else self.temperature
        greedy = not temperature or self.top_k == 1 or self.min_p == 1
        found = (0.0, None, None) if greedy else (temperature, self.top_p, self.seed)
        more = (None if greedy else self.top_k or None, None if greedy else self.min_p or None, self.repetition_penalty)
        off = (more[0] in (None, -1), more[1] is None, more[2] in (None, 1))
        return found if all(off) else (*found, *more)

    def stops(self) -> list[str]:
        """All strings that end the completion."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []


class ChatRequest(Sampling):
    """POST /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)


class CompletionRequest(Sampling):
    """POST /v1/completions. The prompt's four forms are told apart by `prompts`."""

    prompt: Any
    prompt_logprobs: int | None = Field(None, ge=0, le=20)
    logprobs: int | None = Field(None, ge=0, le=20)


class TokenizeRequest(BaseModel):
    """POST /tokenize, of a text or of a conversation."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    add_generation_prompt: bool = True


class DetokenizeRequest(BaseModel):
    """POST /detokenize."""

    model: str | None = None
    tokens: list[int]


class RequestError(Exception):
    """A request that is refused, with its HTTP status."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def rendered(messages: Sequence[Message], add_generation_prompt: bool) -> str:
    """A conversation as one prompt, as a chat template makes it."""
    turns = "".join(f"<|im_start|>{message.role}\n{message.plain()}<|im_end|>\n" for message in messages)
    return turns + ("<|im_start|>assistant\n" if add_generation_prompt else "")


def prompts(prompt: Any) -> list[str | list[int]]:
    """One or several prompts, as text or as token ids."""
    prompts = prompt if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else [prompt]
    for one in prompts:
        if not isinstance(one, str) and not (isinstance(one, list) and all(type(token) is int for token in one)):
            raise RequestError("prompt must be a text, token ids, or a list of either")
    return prompts


def wanted(asked: Sampling) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The JSON schema and the choices that the completion must keep to."""
    output, form = asked.structured_outputs, asked.response_format
    if output is not None:
        if output.json_ is None and not output.choice:
            raise RequestError("of structured_outputs, the fake engine knows json and choice")
        return output.json_, tuple(dict.fromkeys(output.choice or ()))
    if form is None or form.type == "text":
        return None, ()
    if form.type == "json_object":
        return {"type": "object", "minProperties": 1}, ()
    if form.type != "json_schema" or form.json_schema is None:
        raise RequestError("response_format must be text, json_object or json_schema with its json_schema")
    return form.json_schema.schema_, ()
