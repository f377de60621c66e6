"""Share of the generation in which the server is full: no seat left, or somebody waiting.

    python -m benchmarks.busy [--documents 256] [--answers 16] [--card a100] [--speed 4]

The modelled server tells what each of its steps was. Generation is the time from the round's first request to its last
answer, beginning and end included, in which no round can keep a server full.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import frame, sampler
from benchmarks.frame import Figure
from benchmarks.model_server import ModelledEngine
from benchmarks.pipeline import busy_share, generation, round_at


def measure(given: argparse.Namespace) -> list[Figure]:
    """One round."""
    server = ModelledEngine(card=given.card, speed=given.speed)
    with tempfile.TemporaryDirectory(prefix="pop-bench-") as folder, server:
        settings = sampler.settings(given, given.mode)
        round_at(server.url, Path(folder), given.documents, settings, started_as=server.watch)
        load = server.load()
    sampler.an_hour(given.documents, load)
    began, ended = generation(load)
    waiting = sum(step[1] * step[3] for step in load["steps"] if step[0] >= began) / (ended - began)
    return [
        Figure("server full", 100 * busy_share(load), "%", ">= 95"),
        Figure("sequences waiting, mean", waiting, ""),
        Figure("prefix cache hits", 100 * load["hits"] / max(1, load["queries"]), "% of tokens"),
        Figure("tokens written", load["written_tokens"] / (ended - began), "a second"),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    sampler.options(parser)
    parser.add_argument("--mode", default="pointwise", help="rating.mode")


main = partial(frame.main, __doc__, measure, options)

if __name__ == "__main__":
    sys.exit(main())
