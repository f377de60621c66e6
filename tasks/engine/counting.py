"""Tokens, counted and made: here where the model's own tokenizer is at hand, else by its server, and each text once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from schemas.errors import UserError
from tasks.engine.faults import Fault, refusal
from tasks.engine.protocol import Message
from tasks.engine.replicas import Replica
from tasks.engine.replies import count_of
from tasks.engine.tokenizer import LocalTokenizer

T = TypeVar("T")
_REMEMBERED = 5_000  # counts of prompts, and ids of short texts: what is asked for again is asked for soon
_SHORT = 1000  # characters: facts and problems come with every answer


class Tokens:
    """Of one model, at servers that have the name `name` for it.

    Attributes:
        form: whose form `/tokenize` has; `none` where there is none.
        local: the model's own tokenizer, where it is known to make what the server makes.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.form = "vllm"
        self.local: LocalTokenizer | None = None
        self._has_counted: bool | None = None  # None: not asked yet
        self._counts: dict[tuple[int, int], int | None] = {}
        self._ids: dict[tuple[str, bool], list[int]] = {}
        self._asking: WeakValueDictionary[object, asyncio.Lock] = WeakValueDictionary()

    @property
    def can_count(self) -> bool:
        """Whether a conversation's tokens may be counted."""
        here = self.local is not None and self.local.renders
        return here or self.form == "llama.cpp" or self.makes_ids

    @property
    def makes_ids(self) -> bool:
        """Whether the server makes token ids of a text, as far as is known."""
        return self.form == "vllm" and self._has_counted is not False

    async def agrees(self, tokenizer: LocalTokenizer, replica: Replica) -> bool:
        """Whether a tokenizer makes of texts, and of a conversation if it `renders` any, what the server makes.

        A server that counts nothing has no other word on it than the folder that is named for its model.
        """
        if self.form == "none":
            return True
        mine = tokenizer.prompt_ids(tokenizer.PROBE_MESSAGES)
        if self.form == "llama.cpp":  # a text apart is never asked for there
            return mine is not None and await llama_cpp_count(replica, tokenizer.PROBE_MESSAGES) == len(mine)
        try:
            for text, special in tokenizer.PROBES:
                if tokenizer.ids(text, special) != await self._asked(replica, text, special):
                    return False
            theirs = await self.prompt_ids(replica, tokenizer.PROBE_MESSAGES)
        except (Fault, UserError):
            return False
        tokenizer.renders = tokenizer.renders and mine is not None and mine == theirs
        return True

    async def count(self, replica: Replica, messages: Sequence[Message]) -> int | None:
        """Tokens of a conversation as the model is asked with it; None where nobody says.

        Raises:
            Fault: the server may say when it is asked again.
        """
        whole = "\0".join(f"{message['role']}\0{message['content']}" for message in messages)
        key = (hash(whole), len(whole))
        if (local := self.local) is not None and local.renders:
            return await self._once(self._counts, key, lambda: local.count(messages))
        return await self._once(self._counts, key, lambda: self._counted(replica, messages))

    async def ids(self, replica: Replica, text: str, special: bool = False) -> list[int]:
        """Token ids of a text.

        Args:
            special: with what the tokenizer puts before and behind a text.

        Raises:
            UserError: the server has no /tokenize.
            Fault: it may say when it is asked again.
        """
        if (local := self.local) is not None:
            return local.ids(text, special)
        if len(text) > _SHORT:
            return await self._asked(replica, text, special)
        return await self._once(self._ids, (text, special), lambda: self._asked(replica, text, special))

    async def prompt_ids(self, replica: Replica, messages: Sequence[Message]) -> list[int] | None:
        """The token ids that the server makes of a conversation; None where it does not say."""
        if not self.makes_ids:
            return None
        response = await self._post(replica, {"messages": list(messages), "add_generation_prompt": True})
        found = response.get("tokens") if response else None
        return found if found and isinstance(found, list) and all(isinstance(one, int) for one in found) else None

    async def _once(self, known: dict[Any, T], key: Any, make: Callable[[], Awaitable[T]]) -> T:
        """What is known under the key, or is made now; who comes meanwhile waits for it."""
        if (found := known.get(key)) is not None:
            return found
        lock = self._asking.get(key)
        if lock is None:
            self._asking[key] = lock = asyncio.Lock()
        async with lock:
            if (found := known.get(key)) is None:
                found = await make()
                if len(known) >= _REMEMBERED:
                    known.clear()
                if found is not None:
                    known[key] = found
            return found

    async def _counted(self, replica: Replica, messages: Sequence[Message]) -> int | None:
        if self.form == "llama.cpp":
            return await llama_cpp_count(replica, messages)
        response = await self._post(replica, {"messages": list(messages), "add_generation_prompt": True})
        if response is None:
            return None
        tokens = response.get("tokens")
        return count_of(response.get("count")) or (len(tokens) if isinstance(tokens, list) and tokens else None)

    async def _asked(self, replica: Replica, text: str, special: bool) -> list[int]:
        response = await self._post(replica, {"prompt": text, "add_special_tokens": special})
        tokens = response.get("tokens") if response is not None else None
        if isinstance(tokens, list) and tokens and all(type(token) is int and token >= 0 for token in tokens):
            self._has_counted = True
            return tokens
        if self._has_counted:  # it could before: one odd reply
            raise Fault(replica.url, "broken", "/tokenize answers without tokens")
        raise UserError(
            f"{replica.url} has no /tokenize that gives token ids, which rating.mode='likelihood' needs (vLLM has it); "
            "set rating.mode=pointwise or another judge"
        )

    async def _post(self, replica: Replica, body: dict[str, Any]) -> dict[str, Any] | None:
        """What /tokenize says; None where the server has none, or it is not an object.

        Raises:
            Fault: it may say something when it is asked again.
        """
        answer = await replica.wire.post("/tokenize", {"model": self._name, **body})
        if answer.status != 200:
            why = refusal(replica.url, answer.status, answer.body, answer.headers, "/tokenize")
            if isinstance(why, Fault) and why.kind != "unfit" and answer.status != 501:
                raise why
            self._has_counted = self._has_counted or False
            return None
        return answer.body if isinstance(answer.body, dict) else None


async def llama_cpp_count(replica: Replica, messages: Sequence[Message]) -> int | None:
    """How many tokens a conversation has at llama.cpp, which renders with one endpoint and cuts into tokens with
    another; None where the server does not say."""
    try:
        rendered = await replica.wire.post("/apply-template", {"messages": list(messages)})
        body = {"content": rendered.json()["prompt"], "add_special": True, "parse_special": True}
        tokens = (await replica.wire.post("/tokenize", body)).json()["tokens"]
    except (Fault, ValueError, KeyError, TypeError):
        return None
    return len(tokens) if isinstance(tokens, list) else None
