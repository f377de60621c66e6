"""Whole rounds of the pipeline against a server, for the benchmarks: made-up documents, `pop round`, what it took."""

import json
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.frame import ROOT
from tasks.storage.store import Store

RUN = "bench"
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
        seconds, cpu_sec: of the whole command, Prefect's start included.
        peak_mib: of memory, of its largest process.
    """

    store: Store
    seconds: float
    cpu_sec: float
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
        started_as(started.pid)
        _, status, used = os.wait4(started.pid, 0)
        started.returncode = os.waitstatus_to_exitcode(status)
    if started.returncode:
        raise RuntimeError(f"pop round ended with {started.returncode}: {log.read_text()[-3000:]}")
    cpu = used.ru_utime + used.ru_stime
    return Ran(Store(str(folder / "runs"), run), time.monotonic() - began, cpu, used.ru_maxrss / 1024)


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
