"""Names that become folders, and the root that holds them: refused alike by command line, flows and `Store`."""

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from schemas.errors import UserError

# a letter, digit, dash or underscore, then dots too: such a name cannot leave the folder that it is put under
PATTERN = r"^[\w\-][\w.\-]*$"
LONGEST = 100  # characters
_NAME = re.compile(r"[\w\-][\w.\-]*")


def run_fault(name: str) -> str | None:
    """What is wrong with a run's name; None where it can be used."""
    if not _NAME.fullmatch(name):
        return f"--run {name!r}: use letters, digits, dots, dashes and underscores"
    if len(name) > LONGEST or len(name.encode()) > 2 * LONGEST:
        return f"--run {name[:20]}…: a name has at most {LONGEST} characters, this one has {len(name)}"
    return None


def root_fault(root: str) -> str | None:
    """What is wrong with a root; None where it can be used."""
    if not root.strip():
        return "--root is empty: name the folder or object store URL that holds the runs"
    if root.startswith("~") and os.path.expanduser(root).startswith("~"):  # noqa: PTH111
        return f"--root {root}: there is no such home; name another folder"
    if any(not c.isprintable() for c in root):
        return f"--root {root!r} has characters that cannot be printed: name another folder"
    return None


def checked_run(name: str) -> str:
    """The name as it is.

    Raises:
        UserError: it could not be a folder's name under the root.
    """
    if fault := run_fault(name):
        raise UserError(fault)
    return name


def checked_root(root: str) -> str:
    """The root as it is.

    Raises:
        UserError: it names no place.
    """
    if fault := root_fault(root):
        raise UserError(fault)
    return root


def _valid_run(name: str) -> str:
    if fault := run_fault(name):
        raise ValueError(fault.partition(": ")[2])
    return name


def _valid_root(root: str) -> str:
    if fault := root_fault(root):
        raise ValueError(fault)
    return root


# the parameters of the flows: a form in the UI shows the pattern, and the server refuses what does not fit it
RunName = Annotated[str, Field(pattern=PATTERN, min_length=1, max_length=LONGEST), AfterValidator(_valid_run)]
Root = Annotated[str, Field(min_length=1), AfterValidator(_valid_root)]
RoundNumber = Annotated[int, Field(ge=0, le=99_999)]


def expanded(path: str | Path) -> Path:
    """A path with its `~` as a home; one of nobody's (`~gone/x`, or a user without one) stays, and is at no place."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises where there is no such home
