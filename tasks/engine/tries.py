"""How a request is sent until it is answered: again after a fault, not for ever, and not while too many others fail."""

import asyncio
import email.utils
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, Protocol, TypeVar

import openai

from schemas.config import EngineConfig
from schemas.errors import DependencyError, UserError
from tasks.engine.protocol import EngineError
from tasks.texts.secrets import struck

T = TypeVar("T")
WINDOW, LEAST = 200, 20  # the last requests that count, and as how many fewer of them count
_LONGEST_BACKOFF_SEC = 8.0

Kind = Literal["busy", "slow", "away", "broken"]


class Rejected(Exception):
    """This request gets no answer, now or ever: a row with a status, not a failure of the stage."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message := struck(message))  # what a server says may repeat the key
        self.status, self.message = status, message


class Fault(EngineError):
    """A try that failed and may succeed when it is made again."""

    def __init__(self, url: str, kind: Kind, message: str, after_sec: float | None = None) -> None:
        super().__init__(f"{url} keeps failing: {(message := struck(message))}")
        self.kind, self.message, self.after_sec = kind, message, after_sec


class TooManyFailures(DependencyError):
    """So many requests of the last ones failed that going on would only write rows without content."""


class Watched(Protocol):
    """A server of ours, which is started again when it dies."""

    restarts: int

    async def ready(self) -> None:
        """Wait until it is there; raises DependencyError when it will not come back."""

    async def was_gone(self, restarts: int) -> bool:
        """Whether a fault met since it had been started again that often came from its death."""


class Breaker:
    """Counts which of the last requests failed, over all stages of a model.

    A failed request is one that was refused, or got no answer in all its tries. What a model wrote badly is no failure
    of the server and does not count.
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


class Tries:
    """Makes a request, and makes it again after a fault that may pass.

    Broken connections and 5xx: `max_retries` times, with back-off. 429: as often as `timeout_sec` of waiting allows,
    after the time that the server names. A time-out, which has cost `timeout_sec` already: once. While a server of
    ours is being started again, requests wait for it, and the tries that its death has cost do not count.
    """

    def __init__(self, config: EngineConfig, server: Watched | None = None) -> None:
        self._config, self._server = config, server

    async def __call__(self, send: Callable[[], Awaitable[T]]) -> T:
        """The answer of `send`.

        Raises:
            EngineError: no try was answered.
        """
        failed, slow, waited = 0, 0, 0.0
        while True:
            restarts = self._server.restarts if self._server else 0
            if self._server:
                await self._server.ready()
            try:
                return await send()
            except Fault as fault:
                if self._server and fault.kind != "busy" and await self._server.was_gone(restarts):
                    continue
                slow += fault.kind == "slow"
                failed += fault.kind != "busy"
                wait_sec = _wait_sec(fault, failed)
                waited += wait_sec if fault.kind == "busy" else 0.0
                if failed > self._config.max_retries or slow > 1 or waited > self._config.timeout_sec:
                    raise
            await asyncio.sleep(wait_sec)


def _wait_sec(fault: Fault, failed: int) -> float:
    if fault.after_sec is not None:
        return fault.after_sec
    backoff_sec: float = min(_LONGEST_BACKOFF_SEC, 0.5 * 2 ** max(failed - 1, 0))
    return backoff_sec * random.uniform(0.75, 1.0)


async def sent(url: str, call: Callable[..., Awaitable[T]], **arguments: object) -> T:
    """Send once, and say in our own words what went wrong.

    Raises:
        Rejected: the request is refused as such.
        UserError: the key or the address is wrong.
        Fault: it may be worth another try.
    """
    try:
        return await call(**arguments)
    except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
        raise Rejected("too_long" if "context length" in error.message else "rejected", error.message) from None
    except (openai.AuthenticationError, openai.PermissionDeniedError):
        raise UserError(f"{url} refuses the API key; check api_key_env") from None
    except openai.NotFoundError as error:
        raise UserError(f"{url}: {struck(error.message)}") from None
    except openai.APIStatusError as error:
        if error.status_code == 413:
            raise Rejected("too_long", error.message) from None
        after_sec = _retry_after(error.response.headers)
        busy = error.status_code == 429 or (error.status_code == 503 and after_sec is not None)
        kind: Kind = "busy" if busy else "broken"
        raise Fault(url, kind, f"{type(error).__name__}: {error.message}", after_sec) from None
    except openai.APITimeoutError:
        raise Fault(url, "slow", "no answer in time (engine.timeout_sec)") from None
    except openai.APIConnectionError as error:
        raise unreachable(url, error.__cause__ or error) from None
    except (openai.APIError, ValueError):  # a JSONDecodeError is a ValueError
        raise Fault(url, "broken", "it answers with something that is not JSON") from None


def unreachable(url: str, error: BaseException) -> Fault:
    """A connection that could not be made, or broke before the answer was whole."""
    name = type(error).__name__  # by name: the openai client brings an httpx of its own
    kind: Kind = "away" if name in ("ConnectError", "ConnectTimeout") else "broken"
    slow = name in ("ReadTimeout", "WriteTimeout", "PoolTimeout")
    return Fault(url, "slow" if slow else kind, f"{name}{': ' * bool(str(error))}{error}")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, out of the header Retry-After: a number, or a date."""
    text = headers.get("retry-after", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        date = email.utils.parsedate_tz(text)
        return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None
