"""What stopped a script of a training, told by its exit code: on a full disk its log says nothing. No imports but the
standard library: the scripts run in the runtime environment, the controller reads their codes.
"""

import contextlib
import errno
import re
import sys
from collections.abc import Callable

NOT_WHOLE = 3  # a verdict on the model; every other code says that there is none yet
DISK_FULL = 4
NO_MEMORY = 5
NO_PACKAGE = 6

OUT_OF_MEMORY = ("out of memory", "outofmemoryerror", "not enough memory", "cannot allocate memory", "can't allocate")
_FULL = ("no space left on device", "disk quota exceeded")


# as torchrun tells of a process that it had started
_KILLED = re.compile(r"exitcode\s*:\s*-(\d+)|got signal: (\d+)|Signal (\d+) \(SIG")


class Broken(Exception):
    """The saved model is not whole; the text says in one line how."""


def code_of(problem: BaseException) -> int:
    """The exit code for what a script met. Rust and C++ libraries hide the system's error in their own: in its text."""
    said, number = f"{type(problem).__name__}: {problem}".lower(), getattr(problem, "errno", None)
    if isinstance(problem, Broken):
        return NOT_WHOLE
    if number in (errno.ENOSPC, errno.EDQUOT) or any(sign in said for sign in _FULL):
        return DISK_FULL
    if isinstance(problem, MemoryError) or number == errno.ENOMEM or any(sign in said for sign in OUT_OF_MEMORY):
        return NO_MEMORY
    return NO_PACKAGE if isinstance(problem, ImportError) else 1


def signal_of(code: int, log: str) -> int | None:
    """The signal that ended a program, or a process of several that it had started; None where none did."""
    if code < 0:  # who told of it was killed himself, as by the kernel for want of memory
        return -code
    if 128 < code < 193:
        return code - 128
    found = _KILLED.search(log) if code else None
    return int(next(filter(None, found.groups()))) if found else None


def first_line(problem: BaseException) -> str:
    """An exception in one line."""
    return f"{type(problem).__name__}: {(str(problem).strip().splitlines() or [''])[0]}"


def run(work: Callable[[], None]) -> None:
    """Do a script's work; what it meets becomes a line in the log and the exit code."""
    try:
        work()
    except Exception as problem:
        with contextlib.suppress(OSError):  # the log may lie on the disk that is full
            print(first_line(problem), file=sys.stderr, flush=True)
        sys.exit(code_of(problem))
