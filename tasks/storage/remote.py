"""Places that are URLs: an object store, or whatever else fsspec reaches; and what went wrong there, in one line."""

import errno
from typing import Any

import fsspec

from schemas.errors import RETRY, DependencyError, PopError, UserError

_REFUSED = ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError")
_LONGEST = 300  # characters of what a client says


def is_url(place: str) -> bool:
    """Whether a place is a URL, and no folder of this machine."""
    return "://" in place


def reach(url: str, what: str) -> tuple[Any, str]:
    """The file system of a URL, and the path there.

    Args:
        what: the setting or option that names the URL.

    Raises:
        UserError: nothing is known of such URLs here, or a package for them is missing.
    """
    try:
        fs, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise UserError(f"{what}: {url}: {error}") from None
    return fs, path.rstrip("/")


def remote_error(error: BaseException, what: str) -> PopError:
    """The error for a place that cannot be read or written; `what` begins the line.

    By name where the classes are of clients that need not be installed: each store has its own.
    """
    if isinstance(error, PopError):
        return error
    said = " ".join(str(error).split())[:_LONGEST] or type(error).__name__
    if isinstance(error, FileNotFoundError):
        return UserError(f"{what}: it is not there ({said})")
    refused = isinstance(error, PermissionError) or getattr(error, "errno", None) in (errno.EACCES, errno.EPERM)
    if refused or type(error).__name__ in _REFUSED:
        return UserError(f"{what}: the store refuses it ({said}): give this machine credentials that may, {RETRY}")
    return DependencyError(f"{what} ({said}): look at the network and the store, {RETRY}, and it goes on")
