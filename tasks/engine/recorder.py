"""Puts a journal before an engine: what was answered once is not asked again, and every call is kept for the tables."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from tasks.engine.journal import Journal
from tasks.engine.protocol import Budget, Choice, Engine, Generation, Likelihood, Message, Request
from tasks.engine.turns import turn


class Recorder:
    """An `Engine` that remembers: the journal's calls, and `known` ones of files that were set aside.

    `used` holds every call of this shard, for `generations`. A stage that asks no model has no engine behind it.
    """

    def __init__(
        self, engine: Engine | None, journal: Journal, on_call: Callable[[], None] = lambda: None,
        known: Mapping[str, Generation] | None = None,
    ) -> None:  # fmt: skip
        self._behind, self._journal, self._on_call, self._known = engine, journal, on_call, known or {}
        self._running: dict[str, asyncio.Future[Generation]] = {}
        self.model = engine.model if engine else ""
        self.used: dict[str, Generation] = {}
        self._stopped = False

    @property
    def _engine(self) -> Engine:
        assert self._behind is not None, "a stage that asks no model has asked one"
        return self._behind

    @property
    def scores_prompts(self) -> bool:
        """See `Engine.scores_prompts`."""
        return self._behind is not None and self._behind.scores_prompts

    async def stop(self) -> None:
        """End the calls in flight and take no more: a stage that failed must not go on beside its own retry."""
        self._stopped = True
        for call in self._running.values():
            call.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def chat(self, request: Request) -> Generation:
        """See `Engine.chat`."""
        return await self._once(request)

    async def likelihood(self, request: Likelihood) -> Generation:
        """See `Engine.likelihood`."""
        return await self._once(request)

    async def choice(self, request: Choice) -> Generation:
        """See `Engine.choice`."""
        return await self._once(request)

    async def budget(self, messages: Sequence[Message], max_tokens: int) -> Budget:
        """See `Engine.budget`."""
        return await self._engine.budget(messages, max_tokens)

    async def _once(self, request: Request | Likelihood | Choice) -> Generation:
        await turn()
        identity = request.generation_id(self.model)
        known = self._journal.get(identity) or self._known.get(identity)
        if known is None:
            if self._stopped:
                raise asyncio.CancelledError
            if identity not in self._running:
                self._running[identity] = asyncio.ensure_future(self._call(request))
            known = await self._running[identity]
        self.used[identity] = known
        return known

    async def _call(self, request: Request | Likelihood | Choice) -> Generation:
        if isinstance(request, Request):
            generation = await self._engine.chat(request)
        elif isinstance(request, Choice):
            generation = await self._engine.choice(request)
        else:
            generation = await self._engine.likelihood(request)
        try:
            await turn()
        finally:  # also when it is ended meanwhile: what was answered is kept
            if generation.answered:
                self._journal.add(generation)
        self._on_call()
        return generation
