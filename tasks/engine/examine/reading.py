"""Whether a server reads a long prompt to its end: some cut it to their context, and answer as if nothing had been.

Asked only of servers that do not tell their context. The prompts begin with what no other prompt has, so that no count
is without a part that was read before.
"""

import uuid

from schemas.errors import PopError
from tasks.engine.examine.asking import Asking, Body, require_there
from tasks.engine.faults import Fault, Rejected
from tasks.engine.replies import count_of

_WORDS = 200  # of the short prompt, by which a word's tokens are known
_OF_CONTEXT = 0.6  # that the long one takes
_LEAST = 0.7  # of its tokens that must have been read


async def cut_at(ask: Asking) -> int | None:
    """The tokens that were read of a prompt that was cut; None where it was read, refused, or nobody says."""
    short = await _read(ask, _WORDS)
    if short is None or short < _WORDS:  # fewer tokens than words: no count
        return None
    words = int(_OF_CONTEXT * ask.assumed * _WORDS / short)
    long = await _read(ask, words) if words > 2 * _WORDS else None
    return long if long is not None and short < long < _LEAST * short * words / _WORDS else None


async def _read(ask: Asking, words: int) -> int | None:
    prompt = f"{uuid.uuid4().hex} " + " ".join(str(1000 + n * 7919 % 9000) for n in range(words))
    body: Body = {name: value for name, value in ask.standard.items() if name != "max_tokens"}
    try:
        answer = await ask.chat(body | ({"max_tokens": 1} if "max_tokens" in ask.standard else {}), prompt=prompt)
    except Fault as fault:
        require_there(fault)
        return None
    except (Rejected, PopError):  # it says that it is too long, as it should
        return None
    usage = answer.get("usage")
    return count_of(usage.get("prompt_tokens")) if isinstance(usage, dict) else None
