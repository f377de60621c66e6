"""A server's list of models: is the model there, under which name, and how long is its context?"""

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.errors import UserError
from tasks.engine.examine.asking import Asking, Body

_CONTEXT = ("max_model_len", "n_ctx", "context_length", "max_context_length", "context_window")


async def listing(ask: Asking) -> list[Body] | None:
    """The server's list of models; None where it has none.

    Raises:
        UserError: there is one, under another address.
    """
    cards = await _cards(ask, f"{ask.url}/models")
    if cards is not None:
        return cards
    url = ask.url
    others = (f"{url}/v1", f"{url.split('/v1')[0]}/v1", f"{'/'.join(url.split('/')[:3])}/v1")
    for other in dict.fromkeys(others):
        if other != url and await _cards(ask, f"{other}/models"):
            raise UserError(f"{url} is not where the models are; base_urls should say {other}")
    return None


async def _cards(ask: Asking, url: str) -> list[Body] | None:
    answer = await ask.get(url)
    data = answer.get("data") if isinstance(answer, dict) else None
    return [card for card in data if isinstance(card, dict)] if isinstance(data, list) else None


async def require_named(ask: Asking, cards: Sequence[Body]) -> None:
    """A name that no list has may be an alias; but a server that answers to any name has not understood it.

    Raises:
        UserError: names what there is.
    """
    mine, ask.name = ask.name, "no-model-has-this-name"
    answered = await ask.optional({"max_tokens": 1}) is not None
    ask.name = mine
    if answered:
        raise UserError(f"{ask.url} has no model {mine!r}, though it answers to any name{instead(mine, cards)}")


def names(card: Mapping[str, Any]) -> set[str]:
    """What a model is called: llama.cpp goes by the whole path of its file, which nobody writes."""
    aliases = card.get("aliases")
    found = {str(card.get("id")), *map(str, aliases if isinstance(aliases, list) else ())}
    return found | {name.rsplit("/", 1)[-1] for name in found}


def context(card: Mapping[str, Any]) -> int | None:
    """In tokens; None where the list does not say."""
    about = card.get("meta")
    places = [card, about if isinstance(about, dict) else {}]
    sizes = [place[name] for place in places for name in _CONTEXT if type(place.get(name)) is int]
    return next((size for size in sizes if size > 0), None)


def instead(name: str, cards: Sequence[Body] | None) -> str:
    """The names that there are, for the end of a line; nothing where the name is one of them."""
    found = [str(card.get("id")) for card in cards or ()]
    if not found or name in found:
        return ""
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return f"; served_name could be {', '.join(found[:8])}{more}"
