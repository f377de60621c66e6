"""Whole rounds of the pipeline against a server, for the benchmarks: made-up documents, `pop round`, what it took."""

import contextlib
import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.frame import ROOT
from tasks.storage.store import Store

RUN = "bench"
EVERY_SEC = 0.05  # a look at memory and CPU time
SETTINGS = """
[corpus]
heldout_documents = 0
heldout_share = 0.0

[task]
type = "general"
dialect = "structured"

[models.policy]
served_name = "policy"

[training]
enabled = false

[evaluation]
probes = 0

[gate]
audits = "off"
"""


@dataclass(frozen=True)
class Ran:
    """A finished round.

    Attributes:
        seconds: of the whole command, Prefect's start included.
        round_cpu_sec: CPU time of the controller alone, from when the run's folder is there to the end.
        peak_mib: of memory.
    """

    store: Store
    seconds: float
    round_cpu_sec: float
    peak_mib: float


def corpus(folder: Path, documents: int, words: int = 350) -> Path:
    """A file of texts that share no sentence; the same for the same numbers."""
    at, draw = folder / f"texts-{documents}-{words}.jsonl", random.Random(documents)
    with at.open("w") as stream:
        for number in range(documents):
            text = " ".join(f"w{draw.randrange(50_000)}" for _ in range(words))
            stream.write(json.dumps({"title": f"Subject{number}", "text": f"Subject{number} {text}."}) + "\n")
    return at


def round_at(
    url: str, folder: Path, documents: int, settings: Sequence[str] = (), run: str = RUN,
    started_as: Callable[[int], None] = lambda _: None,
) -> Ran:  # fmt: skip
    """One round of so many documents against a server, without training, as a person starts it.

    Args:
        started_as: is told the process's id.

    Raises:
        RuntimeError: it failed; with its last words.
    """
    config = folder / "bench.toml"
    config.write_text(SETTINGS)
    made = [f"models.policy.base_urls=[{json.dumps(url)}]", f"corpus.source={corpus(folder, documents)}",
            f"corpus.documents={documents}", *settings]  # fmt: skip
    command = [sys.executable, "-m", "flows.cli", "round", str(config), "--root", str(folder / "runs"), "--run", run]
    log = folder / f"{run}.log"
    began = time.monotonic()
    with log.open("w") as stream:
        started = subprocess.Popen(
            [*command, *(word for one in made for word in ("--set", one))], cwd=ROOT, stdout=stream, stderr=stream
        )
        cpu: list[float] = []
        peak = 0.0
        try:
            started_as(started.pid)
            while started.poll() is None:
                with contextlib.suppress(psutil.Error):
                    process = psutil.Process(started.pid)
                    peak = max(peak, process.memory_info().rss / 2**20)
                    if (folder / "runs" / run).exists():
                        used = process.cpu_times()
                        cpu.append(used.user + used.system)
                time.sleep(EVERY_SEC)
        finally:
            started.terminate()  # where something else has failed; one that has ended hears nothing
            started.wait(20)
    if started.returncode:
        raise RuntimeError(f"pop round ended with {started.returncode}: {log.read_text()[-3000:]}")
    return Ran(Store(str(folder / "runs"), run), time.monotonic() - began, cpu[-1] - cpu[0], peak)


Step = Sequence[float]


def generation(load: dict[str, Any]) -> tuple[float, float]:
    """When a round's generation began and ended, in the modelled server's seconds.

    Before it the pipeline asks the server what it can do, one question at a time.
    """
    steps: list[Step] = load["steps"]
    began = next(step[0] for step in steps if step[2] + step[3] >= 2)
    return began, steps[-1][0] + steps[-1][1]


def busy_share(load: dict[str, Any]) -> float:
    """Share of the generation in which the server had no seat left, or no room for the next one that waited."""
    began, ended = generation(load)
    full = math.fsum(step[1] for step in load["steps"] if step[0] >= began and (step[2] >= load["seats"] or step[3]))
    return full / (ended - began)
