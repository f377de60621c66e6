"""What went wrong between us and the Hugging Face hub, in one line with its mend; for models and datasets alike.

By the names of the errors that `huggingface_hub` and `datasets` raise: to import them takes seconds. They pass on what
their HTTP clients raise, so the causes are looked at too.
"""

import errno
import os

from schemas.errors import DependencyError, PopError, UserError, unwritable

_NOT_THERE = {"RepositoryNotFoundError", "DatasetNotFoundError"}
_CLIENTS = ("httpcore", "httpcore2", "httpx", "httpx2")  # of HTTP: what they say is nearest to the network
_MEND = "look at the network and start again (what has come of a model is kept), or give a local folder"


def hub_error(error: BaseException, what: str, revision: str | None = None) -> PopError:
    """The error for what could not be fetched.

    Args:
        what: `models.policy.path: owner/name`, or `the dataset owner/name`.
        revision: the one that was asked for.
    """
    causes = chain(error)
    names = {type(one).__name__ for one in causes}
    full = next((one for one in causes if getattr(one, "errno", None) in (errno.ENOSPC, errno.EDQUOT)), None)
    if isinstance(full, OSError):
        return unwritable(full.filename or "the hub's cache", full)
    if "GatedRepoError" in names or "gated dataset" in str(error):
        return UserError(f"{what} is gated: ask for access on its page, and set HF_TOKEN to a token that has it")
    if "RevisionNotFoundError" in names:
        return UserError(f"{what} has no revision {revision!r} on the hub: give a branch, a tag or a commit of it")
    if names & _NOT_THERE:
        return UserError(f"{what} is not on the hub, or closed: check the name, or set HF_TOKEN")
    if {getattr(getattr(one, "response", None), "status_code", None) for one in causes} & {401, 403}:
        return UserError(f"{what} is refused by the hub: set HF_TOKEN to a token that may read it")
    if "OfflineModeIsEnabled" in names or offline():
        return DependencyError(f"{what} is not whole in the hub's cache, and HF_HUB_OFFLINE is set: unset it once")
    said = next((one for one in reversed(causes) if type(one).__module__.split(".")[0] in _CLIENTS), error)
    return DependencyError(f"{what} cannot be fetched from the hub ({line(said).partition(' For more')[0]}): {_MEND}")


def offline() -> bool:
    """Whether the user has forbidden to ask the hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def chain(error: BaseException) -> list[BaseException]:
    """An error and what it came of, the first cause last."""
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in found:
        found.append(one)
        one = one.__cause__ or one.__context__
    return found


def line(error: BaseException) -> str:
    """An error's text in one line that can be read."""
    return " ".join(str(error).split())[:300] or type(error).__name__
