"""Which of the usual parameters a server refuses: they are left out one by one, until it answers."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.errors import UserError
from tasks.engine.examine.asking import Asking, Body
from tasks.engine.examine.listing import instead
from tasks.engine.faults import Fault, Rejected

_LEFT_OUT = ("top_logprobs", "logprobs", "top_p", "seed", "stop", "max_tokens", "temperature")  # in this order


async def plain(ask: Asking, cards: Sequence[Body] | None) -> tuple[Body | None, dict[str, str]]:
    """An answer with the parameters that the server takes, and those that it does not, each with its words.

    Raises:
        UserError: it answers none of them, or has no such model.
    """
    wanted = {**ask.standard, "logprobs": True, "top_logprobs": 20}
    refused: dict[str, str] = {}
    while True:
        try:
            return await ask.patiently(wanted), refused
        except Rejected as no:
            if "output limit was reached" in no.message:  # a thinking model has not come to its answer
                return None, refused
            name = _spoken_of(no.message, wanted, ask.changes)
            if name is None:
                raise UserError(
                    f"{ask.url} refuses every request for {ask.name!r}, whatever parameters it has: "
                    f"{no.message[:300]}{instead(ask.name, cards)}"
                ) from None
            if name in ("top_logprobs", "logprobs"):
                wanted = _with_fewer(wanted, no.message)
            else:
                refused[name] = no.message
                wanted.pop(name)
        except Fault as fault:
            if fault.kind == "broken" and "logprobs" in wanted:  # some fail at log-probabilities, and at nothing else
                wanted = _without_logprobs(wanted)
            elif fault.kind == "unfit":
                raise Fault(ask.url, "unfit", f"{fault.message}{instead(ask.name, cards)}") from None
            else:
                raise


def _spoken_of(message: str, body: Body, changes: Mapping[str, Any]) -> str | None:
    """The parameter that a server complains of; where it names none, the first that may be left out."""
    there = [name for name in _LEFT_OUT if name in body]
    spoken = [name for name in there if re.search(rf"\b{_sent_as(name, changes)}\b", message)]
    return next(iter(spoken or there), None)


def _with_fewer(body: Body, message: str) -> Body:
    """A request for as many log-probabilities as the server says that it gives, else for 5, else for none."""
    now = body["top_logprobs"]
    told = [int(number) for number in re.findall(r"\b\d{1,2}\b", message) if 0 < int(number) < now]
    fewer = max(told, default=5 if now > 5 else 0)
    return {**body, "top_logprobs": fewer} if fewer else _without_logprobs(body)


def _without_logprobs(body: Body) -> Body:
    return {name: value for name, value in body.items() if "logprobs" not in name}


def _sent_as(name: str, changes: Mapping[str, Any]) -> str:
    return re.escape(changes[name] if isinstance(changes.get(name), str) else name)
