"""Where the command `pop` begins: it finds its own packages first.

They are called `flows`, `tasks` and `schemas`, as those of a user may be, who has them on PYTHONPATH or stands in their
folder. This module has a name of its own, and looks for the three beside itself, before any other place.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

OWN = frozenset({"flows", "tasks", "schemas"})


class OwnPackages:
    """Finds the project's packages in the folder that this module lies in."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:  # fmt: skip
        """The package's place; None for all that is not the project's."""
        if path is None and name in OWN:
            return PathFinder.find_spec(name, [str(Path(__file__).resolve().parent)], target)
        return None


def main() -> None:
    """Entry point of `pop`."""
    sys.meta_path.insert(0, OwnPackages)  # type: ignore[arg-type]
    from flows.cli import main as pop

    pop()


if __name__ == "__main__":
    main()
