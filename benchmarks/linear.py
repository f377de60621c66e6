"""What the controller costs at 1, 10 and 100 times the documents.

    python -m benchmarks.linear [--documents 16] [--answers 4] [--mode pointwise]

The stand-in server without latency answers. Time is the controller's own CPU time from the run's lock to the end, so
that neither the server nor the start of Prefect is in it. A fixed part is left (the examination of the server, the
report), which makes the ratio to the smallest round easy to reach; so the cost of a further document is told too: from
10 to 100 times, against from 1 to 10 times.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import frame
from benchmarks.frame import Figure
from benchmarks.pipeline import round_at
from tasks.engine.fake import FakeEngine

TIMES = (1, 10, 100)


def measure(given: argparse.Namespace) -> list[Figure]:
    """One round of each size."""
    settings = [f"sampling.answers={given.answers}", f"rating.mode={given.mode}", "corpus.documents_per_shard=16"]
    cost: dict[int, float] = {}
    peaks: dict[int, float] = {}
    with tempfile.TemporaryDirectory(prefix="pop-bench-") as folder, FakeEngine(max_model_len=32768) as server:
        for times in TIMES:
            ran = round_at(server.url, Path(folder), given.documents * times, settings, run=f"times-{times}")
            cost[times], peaks[times] = ran.round_cpu_sec, ran.peak_mib
            frame.note(f"{given.documents * times} documents: {cost[times]:.1f} s of CPU, {peaks[times]:.0f} MiB")
    further = (cost[100] - cost[10]) / 90 / ((cost[10] - cost[1]) / 9)
    return [
        *(Figure(f"{given.documents * times} documents", cost[times], "s of CPU") for times in TIMES),
        Figure("100x documents, times the cost of 1x", cost[100] / cost[1], "x", "<= 105"),
        Figure("a further document, 10x to 100x against 1x to 10x", further, "x", "<= 1.05"),
        Figure("peak memory, 100x against 10x", peaks[100] / peaks[10], "x"),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--documents", type=int, default=16)
    parser.add_argument("--answers", type=int, default=4)
    parser.add_argument("--mode", default="pointwise", help="rating.mode")


main = partial(frame.main, __doc__, measure, options)

if __name__ == "__main__":
    sys.exit(main())
