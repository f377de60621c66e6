"""Asks a server, by a handful of tiny requests, what it can do: see `tasks.engine.capabilities`.

Servers take parameters that they do not know without a word, so a parameter counts as understood only if its effect is
seen: told to say hello and constrained to a digit, a server that understands says the digit.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from schemas.errors import PopError, UserError
from tasks.engine.capabilities import Capabilities, common
from tasks.engine.client import Client
from tasks.engine.examine.asking import Asking, content_of
from tasks.engine.examine.constraints import choices, held_unasked, json_schema, prompt_logprobs, tokenizer
from tasks.engine.examine.drawing import drawing
from tasks.engine.examine.listing import context, listing, names, require_named
from tasks.engine.examine.reading import cut_at
from tasks.engine.examine.refusing import plain
from tasks.engine.faults import Fault
from tasks.engine.protocol import EngineError
from tasks.engine.replicas import Replica

__all__ = ["examine"]


async def examine(
    client: Client, standard: Mapping[str, Any], adds_nothing: bool = False
) -> tuple[Capabilities, dict[str, Capabilities | str]]:  # fmt: skip
    """What a model can do at all of its servers, and at each of them, or why it was not asked.

    Args:
        standard: the parameters that requests of its roles will carry.
        adds_nothing: the servers are known to fill in nothing that a request leaves open, so this is not asked.

    Raises:
        UserError: the address, the key or the model's name is wrong.
        EngineError: none of the servers answers.
    """
    outcomes = await asyncio.gather(*(_outcome(client, replica, standard, adds_nothing) for replica in client.replicas))
    found = [one for one in outcomes if isinstance(one, Capabilities)]
    if not found:
        error = next(error for error in outcomes if isinstance(error, PopError))
        raise UserError(str(error)) if isinstance(error, Fault) and error.kind == "unfit" else error
    each = {
        replica.url: one if isinstance(one, Capabilities) else str(one)
        for replica, one in zip(client.replicas, outcomes, strict=True)
    }
    return common(found), each


async def _outcome(
    client: Client, replica: Replica, standard: Mapping[str, Any], adds_nothing: bool
) -> Capabilities | PopError:  # fmt: skip
    try:
        return await _steady(client, replica, standard, adds_nothing)
    except PopError as error:
        if len(client.replicas) > 1 and isinstance(error, EngineError):
            replica.left_out = isinstance(error, Fault) and error.kind == "unfit"
            return error  # the others go on without it
        if isinstance(error, Fault) and error.kind == "unfit":
            raise UserError(str(error)) from None
        raise


async def _steady(
    client: Client, replica: Replica, standard: Mapping[str, Any], adds_nothing: bool
) -> Capabilities:  # fmt: skip
    """Of a server of ours that dies while it is asked, what it did not answer says nothing: it is asked anew.

    Raises:
        DependencyError: it died more often than `engine.max_restarts`.
    """
    server = client.server
    if server is None:
        return await _whole(Asking(client, replica, standard), adds_nothing)
    while True:
        await server.ready()
        restarts = server.restarts
        try:
            found = await _whole(Asking(client, replica, standard), adds_nothing)
        except PopError:
            if not await server.was_gone(restarts):
                raise
        else:
            if not await server.was_gone(restarts):
                return found


async def _whole(ask: Asking, adds_nothing: bool) -> Capabilities:
    """All questions, one after the other: some answers decide what is asked next."""
    cards = await listing(ask)
    card = next((one for one in cards or () if ask.name in names(one)), None)
    answer, refused = await plain(ask, cards)
    if cards and card is None:
        await require_named(ask, cards)
    owner = str((card or (cards or [{}])[0]).get("owned_by") or "")
    ask.standard = {name: value for name, value in ask.standard.items() if name not in refused}
    listed = len((content_of(answer) or [{}])[0].get("top_logprobs") or []) if answer else 0
    dialect, of_choice, only = await choices(ask, owner, listed)
    held = await held_unasked(ask, dialect, listed) if listed and not only else None
    form, tokens = await tokenizer(ask)
    schema = await json_schema(ask)
    of_prompts = await prompt_logprobs(ask, tokens) if tokens else False
    cut = await cut_at(ask) if context(card or {}) is None else None
    drawn = None if adds_nothing else await drawing(ask, owner)
    return Capabilities(
        listed=None if cards is None else card is not None, owner=owner, context=context(card or {}), tokenizer=form,
        choices=dialect, json_schema=schema, top_logprobs=listed, choice_logprobs=of_choice, choices_only=only,
        digits_hold=held, prompt_logprobs=of_prompts, refused=refused, requests=ask.requests, drawing=drawn, cut_at=cut,
    )  # fmt: skip
