"""How a server draws words: which parameters beyond OpenAI's protocol it takes, and what it fills in by itself.

Most servers fill in what a request leaves open: vLLM, SGLang and `transformers serve` from the model's own
`generation_config.json`, llama.cpp from defaults of its own (`top_k = 40`, `min_p = 0.05`). So a server that is not
ours is sent every parameter that it understands, off where the settings have it off.

| ours | vLLM, SGLang | llama.cpp | `transformers serve` |
| --- | --- | --- | --- |
| `top_k` | `top_k` | `top_k` | `generation_config`, a text of JSON that holds all three, |
| `min_p` | `min_p` | `min_p` | and `do_sample`, without which it never draws |
| `repetition_penalty` | `repetition_penalty` | `repeat_penalty` | |

What a server understands is found out by asking (`tasks.engine.examine.drawing`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

Params = dict[str, Any]
NAMES = ("top_k", "min_p", "repetition_penalty")
OFF: Params = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}  # 0 is all tokens at some servers only, -1 at most
IN_JSON = "generation_config"
# what changes nothing; of parameters that no setting has, a server may have defaults too
_NEUTRAL: dict[str, tuple[float, ...]] = {
    "top_k": (0, -1), "min_p": (0,), "repeat_penalty": (1,), "presence_penalty": (0,), "frequency_penalty": (0,),
    "typical_p": (1,), "typ_p": (1,), "xtc_probability": (0,), "dry_multiplier": (0,), "mirostat": (0,),
    "dynatemp_range": (0,), "top_n_sigma": (-1,),
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """Of one server.

    Attributes:
        draws: whether a temperature changes what it says; None where it takes none.
        sent_as: our names of the parameters that it understands, and its own.
        all_tokens: the `top_k` that means every token.
        fills_in: what it says that it fills in, where that changes anything.
    """

    draws: bool | None = True
    sent_as: Mapping[str, str] = field(default_factory=dict)
    all_tokens: int = -1
    fills_in: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, stored: Mapping[str, Any] | None) -> "Drawing | None":
        """Out of a manifest, of this version or another."""
        known = {one.name for one in fields(cls)}
        return None if stored is None else cls(**{name: value for name, value in stored.items() if name in known})

    @property
    def unknown(self) -> list[str]:
        """Parameters that it does not understand."""
        return [name for name in NAMES if name not in self.sent_as]

    @property
    def open(self) -> Params:
        """What it fills in and no request of ours takes back."""
        return {name: value for name, value in self.fills_in.items() if name not in self.sent_as.values()}

    def params(self, wanted: Mapping[str, Any], temperature: float) -> Params:
        """What a request carries beside OpenAI's parameters.

        Args:
            wanted: what the settings have, by our names; what is missing is off.
        """
        values = OFF | {"top_k": self.all_tokens} | dict(wanted)
        sent = {self.sent_as[name]: values[name] for name in NAMES if name in self.sent_as}
        if IN_JSON in sent:
            values = {name: values[name] for name in NAMES}
            return {IN_JSON: json.dumps({"do_sample": temperature > 0, **values})}
        return sent

    def stored(self) -> Params:
        """For a manifest."""
        return asdict(self)


def filled_in(defaults: Any) -> Params:
    """Those of a server's defaults that change what is drawn."""
    if not isinstance(defaults, Mapping):
        return {}
    found = {name: defaults[name] for name in _NEUTRAL if type(defaults.get(name)) in (int, float)}
    return {name: round(value, 4) for name, value in found.items() if not _neutral(name, value)}


def _neutral(name: str, value: float) -> bool:
    return any(abs(value - neutral) < 1e-6 for neutral in _NEUTRAL[name])


def common_drawing(found: Sequence[Drawing | None]) -> Drawing | None:
    """What all of a model's replicas understand; None where none of them needs to be told."""
    told = [one for one in found if one is not None]
    if not told:
        return None
    one = told[0]
    same = {name: sent for name, sent in one.sent_as.items() if all(o.sent_as.get(name) == sent for o in told)}
    draws = next((o.draws for o in told if o.draws is not True), True)
    fills = {name: value for o in told for name, value in o.fills_in.items()}
    return Drawing(draws, same, max(o.all_tokens for o in told), fills)
