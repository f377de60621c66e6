"""Run by the runtime environment's python: import what a round needs, and say how that went, a JSON line each.

Usage: probe.py MODULE…   The name is said before the import, so that a crash of the interpreter can be placed.
"""

import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import sys


def main(modules: list[str]) -> None:
    """Write one line before and after each import, then one with what is installed."""
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the packages print is no part of the answer

    def tell(**fact: object) -> None:
        print(json.dumps(fact), file=lines, flush=True)

    for name in modules:
        tell(importing=name)
        try:
            importlib.import_module(name)
            tell(imported=name)
        except BaseException as error:
            tell(failed=name, error=f"{type(error).__name__}: {error}".splitlines()[0])
    torch = sys.modules.get("torch")
    tell(
        versions={
            re.sub("[-_.]+", "-", found.name).lower(): found.version
            for found in importlib.metadata.distributions()
            if found.name
        },
        cuda=bool(torch and torch.cuda.is_available()),
        torchvision=importlib.util.find_spec("torchvision") is not None,
        python=sys.version.split()[0],
    )


if __name__ == "__main__":
    main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # some packages leave threads behind
