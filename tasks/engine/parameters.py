"""Which parameters a request carries: those of the sampling settings, changed by `models.NAME.params`.

| value in `params` | of a name in `STANDARD_PARAMS` (`max_tokens`, `seed`, …) | of any other name |
| --- | --- | --- |
| `false` | it is left out | sent as it is |
| a text | it is sent under that name | sent as it is |
| a number | only `top_logprobs`: so many at most are asked for | sent as it is |

Well-known families that refuse what everybody else takes have presets, by the model's name at its server.
"""

import re
from collections.abc import Mapping
from typing import Any

from schemas.ids import content_id
from schemas.roles import STANDARD_PARAMS, ModelConfig

Params = dict[str, Any]

# They answer 400 or 422 to what is changed here, so no round made before can have gone without.
FAMILIES: tuple[tuple[str, str, Params], ...] = (
    (
        "GPT-5 and o-series",
        r"(^|/)(gpt-5|o[1-9])(?![a-z\d])",
        {"max_tokens": "max_completion_tokens", "temperature": False, "top_p": False, "stop": False},
    ),
    ("Claude 4.1 and later", r"(^|/)claude-[a-z]+-(4[-.][1-9](?!\d)|[5-9])", {"top_p": False}),
    (
        "Mistral's API",
        r"^(mistral|ministral|magistral|codestral|devstral|pixtral)-([a-z\d]+-)?(latest|\d{4})$",
        {"seed": "random_seed"},
    ),
)


def family_of(model: ModelConfig) -> tuple[str, Params] | None:
    """Name and preset of the family of a model at a server that is not ours."""
    name = (model.served_name or "").lower() if model.base_urls else ""
    return next(((family, params) for family, pattern, params in FAMILIES if re.search(pattern, name)), None)


def params_of(model: ModelConfig) -> Params:
    """The changes to a model's requests: its family's, and over them its own."""
    family = family_of(model)
    return {**(family[1] if family else {}), **model.params}


def with_params(identity: str, model: ModelConfig) -> str:
    """A model's identity with the changes to its requests, by which it writes other texts."""
    changes = params_of(model)
    return f"{identity}+{content_id('params', changes)[:8]}" if changes else identity


def shaped(body: Mapping[str, Any], changes: Mapping[str, Any]) -> Params:
    """A request's parameters as they are sent."""
    sent: Params = {}
    for name, value in body.items():
        change = changes.get(name) if name in STANDARD_PARAMS else None
        if change is False:
            continue
        if isinstance(change, int):
            value = min(value, change)
        sent[change if isinstance(change, str) else name] = value
    if "logprobs" not in body or changes.get("logprobs") is False:
        sent.pop("top_logprobs", None)
    return sent | {name: value for name, value in changes.items() if name not in STANDARD_PARAMS}
