"""Asks a server, by a handful of tiny requests, what it can do: see `tasks.engine.capabilities`.

Servers take parameters that they do not know without a word, so a parameter counts as understood only if its effect is
seen: told to say hello and constrained to a digit, a server that understands says the digit.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar, cast

from schemas.errors import PopError, UserError
from tasks.engine.capabilities import Capabilities, Obeyed, common
from tasks.engine.client import Client
from tasks.engine.dialects import in_order, said, word_logprobs
from tasks.engine.faults import Fault, Rejected
from tasks.engine.parameters import params_of, shaped
from tasks.engine.protocol import EngineError
from tasks.engine.replicas import Replica
from tasks.engine.wire import ODD

T = TypeVar("T")
Body = dict[str, Any]

_LIMIT_SEC = 120.0  # for one tiny request
_DIGITS = ("3", "7")
_PROMPT, _NATURAL = "Say hello.", "Say one digit, 3 or 7."
_SCHEMA = {
    "type": "object", "properties": {"digit": {"type": "string", "enum": list(_DIGITS)}}, "required": ["digit"],
    "additionalProperties": False,
}  # fmt: skip
_CONTEXT = ("max_model_len", "n_ctx", "context_length", "max_context_length", "context_window")
_LEFT_OUT = ("top_logprobs", "logprobs", "top_p", "seed", "stop", "max_tokens", "temperature")  # in this order


async def examine(client: Client, standard: Body) -> tuple[Capabilities, dict[str, Capabilities | str]]:
    """What a model can do at all of its servers, and at each of them, or why it was not asked.

    Args:
        standard: the parameters that requests of its roles will carry.

    Raises:
        UserError: the address, the key or the model's name is wrong.
        EngineError: none of the servers answers.
    """
    outcomes = await asyncio.gather(*(_outcome(client, replica, standard) for replica in client.replicas))
    found = [one for one in outcomes if isinstance(one, Capabilities)]
    if not found:
        error = next(error for error in outcomes if isinstance(error, PopError))
        raise UserError(str(error)) if isinstance(error, Fault) and error.kind == "unfit" else error
    each = {
        replica.url: one if isinstance(one, Capabilities) else str(one)
        for replica, one in zip(client.replicas, outcomes, strict=True)
    }
    return common(found), each


async def _outcome(client: Client, replica: Replica, standard: Body) -> Capabilities | PopError:
    try:
        return await _steady(client, replica, standard)
    except PopError as error:
        if len(client.replicas) > 1 and isinstance(error, EngineError):
            replica.left_out = isinstance(error, Fault) and error.kind == "unfit"
            return error  # the others go on without it
        if isinstance(error, Fault) and error.kind == "unfit":
            raise UserError(str(error)) from None
        raise


async def _steady(client: Client, replica: Replica, standard: Body) -> Capabilities:
    """Of a server of ours that dies while it is asked, what it did not answer says nothing: it is asked anew.

    Raises:
        DependencyError: it died more often than `engine.max_restarts`.
    """
    server = client.server
    if server is None:
        return await Examination(client, replica, standard).whole()
    while True:
        await server.ready()
        restarts = server.restarts
        try:
            found = await Examination(client, replica, standard).whole()
        except PopError:
            if not await server.was_gone(restarts):
                raise
        else:
            if not await server.was_gone(restarts):
                return found


class Examination:
    """Of one model at one server."""

    def __init__(self, client: Client, replica: Replica, standard: Body) -> None:
        self._client, self._replica, self._name = client, replica, client.served_name
        self._changes, self._standard = params_of(client.config), standard
        self._requests = 0

    async def whole(self) -> Capabilities:
        """All questions, one after the other: some answers decide what is asked next."""
        cards = await self._listing()
        card = next((one for one in cards or () if self._name in _names(one)), None)
        answer, refused = await self._plain(cards)
        if cards and card is None:
            await self._require_named(cards)
        owner = str((card or (cards or [{}])[0]).get("owned_by") or "")
        self._standard = {name: value for name, value in self._standard.items() if name not in refused}
        listed = len((_content(answer) or [{}])[0].get("top_logprobs") or []) if answer else 0
        choices, of_choice = await self._choices(owner, listed)
        tokenizer, tokens = await self._tokenizer()
        return Capabilities(
            listed=None if cards is None else card is not None, owner=owner, context=_context(card or {}),
            tokenizer=tokenizer, choices=choices, json_schema=await self._json_schema(), top_logprobs=listed,
            choice_logprobs=of_choice, prompt_logprobs=await self._prompt_logprobs(tokens) if tokens else False,
            refused=refused, requests=self._requests,
        )  # fmt: skip

    async def _listing(self) -> list[Body] | None:
        """The server's list of models; None where it has none.

        Raises:
            UserError: there is one, under another address.
        """
        cards = await self._cards(f"{self._replica.url}/models")
        if cards is not None:
            return cards
        url = self._replica.url
        others = (f"{url}/v1", f"{url.split('/v1')[0]}/v1", f"{'/'.join(url.split('/')[:3])}/v1")
        for other in dict.fromkeys(others):
            if other != url and await self._cards(f"{other}/models"):
                raise UserError(f"{url} is not where the models are; base_urls should say {other}")
        return None

    async def _cards(self, url: str) -> list[Body] | None:
        self._requests += 1
        try:
            async with asyncio.timeout(_LIMIT_SEC):
                response = await self._replica.wire.get(url)
            data = response.json()["data"] if response.status == 200 else None
        except (Fault, TimeoutError, ValueError, KeyError, TypeError):
            return None
        return [card for card in data if isinstance(card, dict)] if isinstance(data, list) else None

    async def _plain(self, cards: Sequence[Body] | None) -> tuple[Body | None, dict[str, str]]:
        """An answer with the parameters that the server takes, and those that it does not, each with its words.

        Raises:
            UserError: it answers none of them, or has no such model.
        """
        wanted = {**self._standard, "logprobs": True, "top_logprobs": 20}
        refused: dict[str, str] = {}
        while True:
            try:
                return await self._patiently(wanted), refused
            except Rejected as no:
                if "output limit was reached" in no.message:  # a thinking model has not come to its answer
                    return None, refused
                name = _spoken_of(no.message, wanted, self._changes)
                if name is None:
                    raise UserError(
                        f"{self._replica.url} refuses every request for {self._name!r}, whatever parameters it has: "
                        f"{no.message[:300]}{_instead(self._name, cards)}"
                    ) from None
                if name in ("top_logprobs", "logprobs"):
                    wanted = _with_fewer(wanted, no.message)
                else:
                    refused[name] = no.message
                    wanted.pop(name)
            except Fault as fault:
                if (
                    fault.kind == "broken" and "logprobs" in wanted
                ):  # some fail at log-probabilities, and at nothing else
                    wanted = _without_logprobs(wanted)
                elif fault.kind == "unfit":
                    message = f"{fault.message}{_instead(self._name, cards)}"
                    raise Fault(self._replica.url, "unfit", message) from None
                else:
                    raise

    async def _patiently(self, body: Body) -> Body:
        """Tried again after a fault; but where there are other replicas, one that is away is not waited for."""
        alone = len(self._client.replicas) == 1
        return await (self._client.tries(lambda: self._chat(body)) if alone else self._chat(body))

    async def _require_named(self, cards: Sequence[Body]) -> None:
        """A name that no list has may be an alias; but a server that answers to any name has not understood it.

        Raises:
            UserError: names what there is.
        """
        mine, self._name = self._name, "no-model-has-this-name"
        answered = await self._optional({"max_tokens": 1}) is not None
        self._name = mine
        if answered:
            raise UserError(
                f"{self._replica.url} has no model {mine!r}, though it answers to any name{_instead(mine, cards)}"
            )

    async def _choices(self, owner: str, listed: int) -> tuple[str, bool]:
        """The dialect in which a choice is obeyed, and whether its words' log-probabilities are listed."""
        for dialect in in_order(owner):
            body = self._standard | {"temperature": 0.0, "max_tokens": dialect.tokens}
            if listed:
                body |= {"logprobs": True, "top_logprobs": listed} | dialect.logprobs(_DIGITS)
            answer = await self._optional(body, dialect.constrain(_DIGITS))
            if answer and said(_text(answer)).strip() in _DIGITS:
                if listed and not _tells(answer):  # of what a model would hardly say, some servers list nothing
                    answer = await self._optional(body, dialect.constrain(_DIGITS), _NATURAL) or answer
                return dialect.name, _tells(answer)
        return "none", False

    async def _json_schema(self) -> Obeyed:
        form = {"type": "json_schema", "json_schema": {"name": "digit", "strict": True, "schema": _SCHEMA}}
        body = self._standard | {"temperature": 0.0, "max_tokens": 32}
        try:
            answer = await self._chat(body, {"response_format": form})
            return "obeyed" if json.loads(_text(answer))["digit"] in _DIGITS else "ignored"
        except Rejected:
            return "refused"
        except (PopError, ValueError, TypeError, KeyError) as error:
            _require_there(error)
            return "ignored"

    async def _tokenizer(self) -> tuple[Any, list[int]]:
        for form, body in (
            ("vllm", {"model": self._name, "prompt": "Say hello.", "add_special_tokens": False}),
            ("llama.cpp", {"content": "Say hello."}),
        ):
            self._requests += 1
            try:
                response = await self._once(self._replica.wire.post("/tokenize", body))
                tokens = response.json()["tokens"]
            except (PopError, ValueError, KeyError, TypeError) as error:
                _require_there(error)
                return "none", []
            if isinstance(tokens, list) and tokens and all(type(token) is int for token in tokens):
                return form, tokens if form == "vllm" else []
        return "none", []

    async def _prompt_logprobs(self, tokens: list[int]) -> bool:
        self._requests += 1
        body = {"model": self._name, "prompt": tokens, "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
        try:
            answer = await self._once(self._replica.wire.ask("completions", body))
            given = answer["choices"][0].get("prompt_logprobs")
            return isinstance(given, list) and len(given) == len(tokens) and str(tokens[-1]) in given[-1]
        except (Rejected, PopError, AttributeError, IndexError, TypeError, KeyError) as error:
            _require_there(error)
            return False

    async def _optional(self, body: Body, constraint: Body | None = None, prompt: str = _PROMPT) -> Body | None:
        """The answer to a request that a server may refuse or fail at; None where it does, twice if it fails."""
        for _ in range(2):
            try:
                return await self._chat(body, constraint, prompt)
            except Fault as fault:
                _require_there(fault)
            except (Rejected, PopError):
                break
        return None

    async def _chat(self, body: Body, constraint: Body | None = None, prompt: str = _PROMPT) -> Body:
        """A chat completion.

        Raises:
            Rejected, UserError, Fault: as `tries.sent`.
        """
        self._requests += 1
        asked = {"model": self._name, "messages": [{"role": "user", "content": prompt}]}
        asked |= shaped(body, self._changes) | (constraint or {})
        whole = await self._once(self._replica.wire.ask("chat/completions", asked))
        if not isinstance(whole, dict) or not isinstance(whole.get("choices"), list) or not whole["choices"]:
            raise Fault(self._replica.url, "broken", ODD)
        return whole

    async def _once(self, asking: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(_LIMIT_SEC):
                return await asking
        except TimeoutError:
            raise Fault(self._replica.url, "slow", f"no answer to a tiny request in {_LIMIT_SEC:.0f} s") from None


def _require_there(error: Exception) -> None:
    """A server that is gone has not said that it cannot."""
    if isinstance(error, Fault) and error.kind == "away":
        raise error


def _tells(answer: Body) -> bool:
    """Whether an answer lists the log-probability of a digit where the digit stands."""
    return any(str(word).strip() in _DIGITS for word, _ in word_logprobs(_text(answer), _content(answer) or []))


def _names(card: Mapping[str, Any]) -> set[str]:
    """What a model is called: llama.cpp goes by the whole path of its file, which nobody writes."""
    aliases = card.get("aliases")
    names = {str(card.get("id")), *map(str, aliases if isinstance(aliases, list) else ())}
    return names | {name.rsplit("/", 1)[-1] for name in names}


def _context(card: Mapping[str, Any]) -> int | None:
    about = card.get("meta")
    places = [card, about if isinstance(about, dict) else {}]
    sizes = [place[name] for place in places for name in _CONTEXT if type(place.get(name)) is int]
    return next((size for size in sizes if size > 0), None)


def _instead(name: str, cards: Sequence[Body] | None) -> str:
    names = [str(card.get("id")) for card in cards or ()]
    if not names or name in names:
        return ""
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"; served_name could be {', '.join(names[:8])}{more}"


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
    if fewer:
        return {**body, "top_logprobs": fewer}
    return _without_logprobs(body)


def _without_logprobs(body: Body) -> Body:
    return {name: value for name, value in body.items() if "logprobs" not in name}


def _sent_as(name: str, changes: Mapping[str, Any]) -> str:
    return re.escape(changes[name] if isinstance(changes.get(name), str) else name)


def _content(answer: Body | None) -> list[Body] | None:
    """The tokens' log-probabilities of an answer, where it has some in the form that it should."""
    try:
        content = cast(Body, answer)["choices"][0]["logprobs"]["content"]
    except (KeyError, TypeError, IndexError):
        return None
    return content if isinstance(content, list) and all(isinstance(one, dict) for one in content) else None


def _text(answer: Body) -> str:
    try:
        content = answer["choices"][0]["message"]["content"]
    except (KeyError, TypeError, IndexError):
        return ""
    return content if isinstance(content, str) else ""
