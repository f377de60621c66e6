"""Which sampling parameters beyond OpenAI's protocol a server understands: those whose effect is seen.

At a temperature of 2 no two draws of a dozen words are the same, unless `top_k = 1` or `min_p = 1` leaves one word to
draw; and a penalty on what was said before changes what is likeliest.
"""

from collections.abc import Mapping
from typing import Any

from tasks.engine.drawing import IN_JSON, NAMES, Drawing, filled_in
from tasks.engine.examine.asking import Asking, Body, text_of

_PROMPT = "List ten random words."
_HEATS = (2.0, 1.0)  # some servers take no more than 1
_ONE_WORD: dict[str, Any] = {"top_k": 1, "min_p": 1.0}
_PENALTY = 5.0
_PENALTIES = {"llamacpp": ("repeat_penalty", "repetition_penalty")}


async def drawing(ask: Asking, owner: str) -> Drawing:
    """How a server draws, and what it must be told so that it draws as the settings say."""
    fills_in = await _told(ask)
    likeliest = await _text(ask, {"temperature": 0.0})
    heat, drawn = await _drawn(ask)
    if likeliest is None or drawn is None:  # it takes no temperature
        return Drawing(None, {}, -1, fills_in)
    if drawn == likeliest:
        return await _in_json(ask, likeliest, heat, fills_in)
    sent_as = {
        name: name
        for name, value in _ONE_WORD.items()
        if name not in ask.changes and await _same(ask, likeliest, {"temperature": heat, name: value})
    }
    for name in _PENALTIES.get(owner, ("repetition_penalty", "repeat_penalty")):
        if name in ask.changes:
            break
        other = await _text(ask, {"temperature": 0.0, name: _PENALTY})
        if other not in (None, likeliest):
            sent_as["repetition_penalty"] = name
            break
    found = Drawing(True, sent_as, -1, fills_in)
    if sent_as and await _text(ask, {"temperature": heat, **found.params({}, heat)}) is None:
        return Drawing(True, sent_as, 0, fills_in)
    return found


async def _told(ask: Asking) -> Mapping[str, Any]:
    """What it says that it fills in: llama.cpp does."""
    props = await ask.get("/props")
    defaults = props.get("default_generation_settings") if isinstance(props, dict) else None
    return filled_in(defaults.get("params")) if isinstance(defaults, dict) else {}


async def _drawn(ask: Asking) -> tuple[float, str | None]:
    for heat in _HEATS:
        if (drawn := await _text(ask, {"temperature": heat})) is not None:
            return heat, drawn
    return _HEATS[-1], None


async def _in_json(ask: Asking, likeliest: str, heat: float, fills_in: Mapping[str, Any]) -> Drawing:
    """A server that does not draw, whatever the temperature: `transformers serve` may be told to, in JSON."""
    told = Drawing(True, dict.fromkeys(NAMES, IN_JSON), 0, fills_in)

    async def text(**wanted: Any) -> str | None:
        return await _text(ask, {"temperature": heat, **told.params(wanted, heat)})

    if await text() in (None, likeliest) or await text(top_k=1) != likeliest:
        return Drawing(False, {}, -1, fills_in)
    return told


async def _same(ask: Asking, likeliest: str, body: Body) -> bool:
    """Whether only one word is left to draw: the likeliest, or at least the same by another seed."""
    first = await _text(ask, body)
    if first is None or first == likeliest:
        return first is not None
    return first == await _text(ask, {**body, "seed": 2})


async def _text(ask: Asking, body: Body) -> str | None:
    """A dozen words; None where the request is refused."""
    if "temperature" not in ask.standard or ask.changes.get("temperature") is False:
        return None
    standard = {name: value for name, value in ask.standard.items() if name not in ("stop", "top_p")}
    answer = await ask.optional({**standard, "max_tokens": 16, **body}, prompt=_PROMPT)
    return text_of(answer) if answer else None
