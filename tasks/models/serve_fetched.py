"""Fetch a model where it is to be served, then become its server. For a cluster's nodes, each with a cache of its own.

CONTROLLER_PYTHON serve_fetched.py URL COMMAND...       # `{model}` in the command is the model's folder
"""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from schemas.errors import PopError
from tasks.models.fetching import fetch

MODEL = "{model}"


def command(url: str, serve: list[str]) -> list[str]:
    """The command line that does so, by this environment's Python, which the nodes see at the same path."""
    return [sys.executable, str(Path(__file__).resolve()), url, *serve]


def _say(text: str) -> None:
    print(text, flush=True)


def main(url: str, *serve: str) -> None:
    """Replace this process; it ends by itself only where the model cannot be had."""
    try:
        folder = fetch(url, _say)
    except PopError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
    filled = [str(folder) if word == MODEL else word for word in serve]
    os.execvp(filled[0], filled)


if __name__ == "__main__":
    main(*sys.argv[1:])
