"""The errors that a person meets: one line that names the mend, and an exit code (DESIGN section 5)."""

import errno
from pathlib import Path

RETRY = "run the same command again"
AGAIN = f"free space, {RETRY}, and it goes on where it stopped"


class PopError(Exception):
    """An expected failure. Its text is shown as it is, without a traceback."""

    exit_code = 1


class CheckFailed(PopError):
    """A check of the result failed: too few pairs, a model that does not answer, a blocking audit."""

    exit_code = 1


class UnfitModel(CheckFailed):
    """Training has ended with a model that must not be used: no finite weights, no answer, no weights at all."""


class UserError(PopError):
    """The user's mistake: the text says what to change."""

    exit_code = 2


class CorpusUsedUp(UserError):
    """Every document of the corpus was drawn in an earlier round of the run."""


class DependencyError(PopError):
    """Something this machine should provide is missing or down: an environment, a server, the disk."""

    exit_code = 3


def unwritable(path: str | Path, error: OSError) -> PopError:
    """The one line for a file that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"the disk is full, {path} cannot be written: {AGAIN}")
    return DependencyError(f"cannot write {path} ({error.strerror or error}): mend it, then {AGAIN.partition(', ')[2]}")


# what fsspec reaches object stores by
_STORES = {"botocore", "aiobotocore", "aiohttp", "google", "gcsfs", "azure", "adlfs"}


def of_a_library(error: BaseException) -> PopError | None:
    """The one line for what a library raises where something outside is missing or away; None for what is a bug."""
    said = " ".join(str(error).split())[:300] or type(error).__name__
    # what a store answers becomes an OSError, made of what its client raised
    if any(type(one).__module__.partition(".")[0] in _STORES for one in (error, error.__cause__)):
        if isinstance(error, PermissionError):
            return UserError(
                f"the object store refuses it ({said}): give this machine credentials that may, then {RETRY}"
            )
        return DependencyError(f"the object store does not answer as it should ({said}): mend it, then {RETRY}")
    if isinstance(error, ImportError) and "socksio" in said:
        return DependencyError(
            "a SOCKS proxy is set (ALL_PROXY), which is not supported here: unset it, or name an HTTP one"
        )
    return None
