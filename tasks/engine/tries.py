"""How a request is sent until it is answered: again after a fault, not for ever, and not while too many others fail."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from schemas.config import EngineConfig
from schemas.errors import DependencyError
from tasks.engine.faults import Fault

T = TypeVar("T")
Say = Callable[[str], None]
WINDOW, LEAST = 200, 20  # the last requests that count, and as how many fewer of them count
LONGEST_WAIT_SEC = 60.0  # whatever a server asks for: it may mean milliseconds, or have a wrong clock
MOST_BUSY = 60  # tries of one request at a server that is busy
QUIET_SEC, AGAIN_SEC = 10.0, 60.0  # after which nothing but retries is said, and said again
_LONGEST_BACKOFF_SEC = 8.0


class TooManyFailures(DependencyError):
    """So many requests of the last ones failed that going on would only write rows without content."""


class Watched(Protocol):
    """A server of ours, which is started again when it dies."""

    @property
    def restarts(self) -> int:
        """How often it was started again."""

    async def ready(self) -> None:
        """Wait until it is there; raises DependencyError when it will not come back."""

    async def was_gone(self, restarts: int) -> bool:
        """Whether a fault met since it had been started again that often came from its death."""


class Breaker:
    """Counts which of the last requests failed, over all stages of a model.

    A failed request is one that was refused, or got no answer in all its tries. What a model wrote badly, and what a
    content filter stopped, is no failure of the server and does not count.
    """

    def __init__(self, model: str, most_share: float) -> None:
        self._model, self._most_share = model, most_share
        self._last: deque[bool] = deque(maxlen=WINDOW)

    @property
    def works(self) -> bool:
        """Whether any of the last requests was answered."""
        return any(self._last)

    def note(self, answered: bool, why: str = "") -> None:
        """Count a request.

        Raises:
            TooManyFailures: more than the share that may fail have failed.
        """
        self._last.append(answered)
        failed = len(self._last) - sum(self._last)
        if not answered and failed > self._most_share * max(len(self._last), LEAST):
            raise TooManyFailures(
                f"{failed} of the last {len(self._last)} requests to {self._model} failed, which is more than "
                f"engine.max_failed_share={self._most_share:g} allows; the last one: {' '.join(why.split())[:300]}. "
                "Mend the server or the setting that it refuses, and run the same command again: what is done is kept"
            )


class Patience:
    """Waits between the tries of all requests to a model, and says so where nothing else has happened for a while."""

    def __init__(self, model: str, say: Say) -> None:
        self._model, self._say = model, say
        self._since: float | None = None  # the first wait after the last answer
        self._next_word = 0.0

    def answered(self) -> None:
        """An answer has come."""
        if self._since is not None and self._next_word > self._since + QUIET_SEC:
            self._say(f"{self._model} answers again, after {time.monotonic() - self._since:.0f} s")
        self._since = None

    def _waiting_since(self) -> float | None:
        return self._since  # which others change while one sleeps

    async def wait(self, seconds: float, fault: Fault) -> None:
        """Sleep; after ten seconds of nothing but retries a line says so, once a minute over all that wait."""
        over = time.monotonic() + seconds
        if self._since is None:
            self._since = time.monotonic()
            self._next_word = self._since + QUIET_SEC
        while (word := self._next_word) < over:
            await asyncio.sleep(max(0.0, word - time.monotonic()))
            if word != self._next_word:
                continue  # another one has said it
            self._next_word = word + AGAIN_SEC
            if (since := self._waiting_since()) is not None:
                quiet, left = time.monotonic() - since, max(0.0, over - time.monotonic())
                self._say(f"nothing but retries for {quiet:.0f} s: {fault}; next try in {left:.0f} s")
        await asyncio.sleep(max(0.0, over - time.monotonic()))


class Tries:
    """Makes a request, and makes it again after a fault that may pass.

    Broken connections and 5xx: `max_retries` times, with back-off. 429: as often as `timeout_sec` of waiting allows and
    `MOST_BUSY` times at most, after the time that the server names but in growing steps, of `LONGEST_WAIT_SEC` at most.
    A time-out, which has cost `timeout_sec` already, and a refused key: once. While a server of ours is being started
    again, requests wait for it, and the tries that its death has cost do not count.
    """

    def __init__(self, config: EngineConfig, server: Watched | None = None, patience: Patience | None = None) -> None:
        self._config, self._server = config, server
        self._patience = patience or Patience("", lambda _: None)

    async def __call__(self, send: Callable[[], Awaitable[T]]) -> T:
        """The answer of `send`.

        Raises:
            EngineError: no try was answered.
        """
        failed, once, busy, waited = 0, 0, 0, 0.0
        while True:
            restarts = self._server.restarts if self._server else 0
            if self._server:
                await self._server.ready()
            try:
                answer = await send()
            except Fault as fault:
                if self._server and fault.kind != "busy" and await self._server.was_gone(restarts):
                    continue
                once += fault.kind in ("slow", "unfit")
                busy += fault.kind == "busy"
                failed += fault.kind != "busy"
                wait_sec = wait_of(fault, busy if fault.kind == "busy" else failed)
                waited += wait_sec if fault.kind == "busy" else 0.0
                if failed > self._config.max_retries or once > 1:
                    raise
                if busy >= MOST_BUSY or waited > self._config.timeout_sec:
                    raise
                await self._patience.wait(wait_sec, fault)
            else:
                self._patience.answered()
                return answer


def wait_of(fault: Fault, times: int) -> float:
    """Seconds until the next try, after so many of the kind. They grow, whatever the server asks for, and differ from
    request to request, so that those that failed together do not come back together."""
    asked = fault.after_sec
    if fault.kind != "busy" or asked is None:
        longest = LONGEST_WAIT_SEC if fault.kind == "busy" else _LONGEST_BACKOFF_SEC
        if asked is not None and asked <= LONGEST_WAIT_SEC:
            return asked * random.uniform(1.0, 1.1)
        return float(min(longest, 0.5 * 2.0 ** min(max(times - 1, 0), 10)) * random.uniform(0.75, 1.0))
    grown = 0.02 * 1.5 ** min(times - 1, 30)
    return min(LONGEST_WAIT_SEC, max(asked, grown)) * random.uniform(1.0, 1.1)
