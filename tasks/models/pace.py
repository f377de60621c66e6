"""How far a model has come on its way, said now and then."""

import time
from collections.abc import Callable

from tasks.models.contents import sized

EVERY_SEC = 10.0


class Pace:
    """Counts bytes, and says so every ten seconds."""

    def __init__(self, what: str, whole: int, say: Callable[[str], None], done: int = 0) -> None:
        self._what, self._whole, self._say = what, whole, say
        self._done, self._new, self._begun = done, 0, time.monotonic()
        self._next = self._begun + EVERY_SEC

    def __call__(self, size: int) -> None:
        """So many bytes more."""
        self._done, self._new = self._done + size, self._new + size
        if (now := time.monotonic()) >= self._next:
            self._next = now + EVERY_SEC
            speed = f"{sized(self._new / (now - self._begun))} a second"
            self._say(f"{self._what}: {sized(self._done)} of {sized(self._whole)}, {speed}")
