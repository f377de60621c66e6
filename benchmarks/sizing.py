"""How large a machine for how many documents: reckoned from measured figures, for the paper's settings; nothing is run.

    python -m benchmarks.sizing [--card a100] [--documents 4096] [--longer 3] [--measure]

What is put in, and where it is from:

    Calls and tokens of a document, by role: `MADE`, from a round of 16 documents with 32 answers, preset paper-health's
        settings, texts of 800 words, pointwise ratings, against the modelled server, whose lengths are assumptions
        (`benchmarks/model_answers.py`). `--measure` makes that round again and prints what to put there.
    Seconds of a GPU for them: the scheduler of `benchmarks/latency_model.py` with Qwen2.5-7B on that card, kept full.
    `FULL`: the share of the generation for which a round really kept that server full, as `benchmarks.busy` saw it with
        256 documents: the rest is lost.
    `CALL_MS`: the controller's CPU time a call, from RESULTS.md (pointwise, on the slower of two machines). It is one
        process with one event loop, so that generating takes no less than its calls do.
    Bytes: what the round's files took on the disk, zstd; its texts are random words, which pack worse than prose.
    Training: 6 · N · tokens operations for the policy (forward and backward) and 2 · N · tokens for the reference
        model's forward pass (arXiv 2001.08361, section 2.1), for a pair a document, at `MFU`. KempnerForge measured
        0.54 to 0.58 with a 7B model on 1 to 4 H200 (its docs/reference/benchmarks.md); half of it is taken, for here
        ZeRO 3 has the optimizer in the host's memory. No more GPUs than one machine's 8 train, and no more than a
        batch of 16 has pairs.
    `STARTS_SEC`: servers, trainer, and writing and checking the model; a guess.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks import frame
from benchmarks.frame import Figure
from benchmarks.latency_model import CARDS, Card, Engine, Job
from benchmarks.model_server import ModelledEngine
from benchmarks.pipeline import RUN, corpus, round_at
from schemas.load import load_config
from tasks.storage.db import connect

GPUS = (1, 8, 64)
FULL, CALL_MS, MFU, STARTS_SEC = 0.96, 1.3, 0.28, 900.0
PARAMETERS, BATCH, A_MACHINE, PER_SHARD, DAY = 7.6e9, 16, 8, 64, 86_400


@dataclass(frozen=True)
class Role:
    """What a document costs in a role: calls, and their tokens together."""

    calls: float
    prompt: float
    written: float


@dataclass(frozen=True)
class Made:
    """A measured round, for each of its documents.

    Attributes:
        cached: share of prompt tokens that the prefix cache had.
        files: written by a shard of documents.
    """

    roles: dict[str, Role]
    cached: float
    table_bytes: float
    files: float
    pair_tokens: float


MADE = Made(
    roles={
        "propose": Role(calls=1, prompt=1660, written=533),
        "answer": Role(calls=32, prompt=2054, written=14_218),
        "rubric": Role(calls=1, prompt=7_473, written=327),
        "judge": Role(calls=66, prompt=45_984, written=7_701),  # every second one reads an answer's own likelihood
    },
    cached=0.36, table_bytes=90_137, files=16, pair_tokens=1_017,
)  # fmt: skip


def gpu_seconds(card: Card, made: Made, documents: int = 48) -> float:
    """Seconds of a full card for a document: all its calls through the scheduler, mixed, those of many at once."""
    engine = Engine(card)
    for _ in range(documents):
        for role in made.roles.values():
            prompt, written = (round(tokens / role.calls) for tokens in (role.prompt * (1 - made.cached), role.written))
            for _ in range(round(role.calls)):
                engine.add(Job(max(1, prompt), max(1, written), lambda: None))
    seconds = 0.0
    while engine.has_work:
        seconds += engine.step()
    return seconds / documents


def longer(made: Made, times: float) -> Made:
    """The same round with answers that many times as long; judges read them, and the rubric's writer does."""
    roles = {
        name: Role(role.calls, role.prompt * (times if name in ("rubric", "judge") else 1), role.written * times)
        for name, role in made.roles.items()
    }
    return replace(made, roles=roles, table_bytes=made.table_bytes * times, pair_tokens=made.pair_tokens * times)


def training_seconds(card: Card, made: Made, documents: int, gpus: int) -> float:
    """Seconds of a training with a pair a document."""
    operations = (6 + 2) * PARAMETERS * made.pair_tokens * documents
    return operations / (min(gpus, A_MACHINE, BATCH) * card.operations_a_sec * MFU)


def sized(card: Card, made: Made, documents: int, gpus: int) -> dict[str, float]:
    """A round on so many GPUs, and what limits it next."""
    a_document = gpu_seconds(card, made) / FULL
    calls = sum(role.calls for role in made.roles.values())
    wanted, controller = a_document * documents / gpus, calls * documents * CALL_MS / 1e3
    generating, training = max(wanted, controller), training_seconds(card, made, documents, gpus)
    whole = generating + training + STARTS_SEC
    return {
        "documents a day": documents * DAY / whole,
        "hours a round": whole / 3600,
        "of them generating": generating / 3600,
        "of them training": training / 3600,
        "GPU hours a round": (generating * gpus + training * min(gpus, A_MACHINE)) / 3600,
        "GB of tables a round": made.table_bytes * documents / 1e9,
        "calls a second while generating": calls * documents / generating,
        "controller's share of its one core": controller / generating,
        "GPUs that one controller keeps full": wanted * gpus / controller,
        "files written a second": made.files * documents / PER_SHARD / generating,
    }


def measured() -> Made:
    """Make a round against the modelled server, and read what a document of it has cost."""
    documents = 16
    paper = load_config("paper-health", []).model_dump(mode="json")
    tokens = [f"sampling.{role}.max_tokens={paper['sampling'][role]['max_tokens']}"
              for role in ("propose", "answer", "rubric", "judge")]  # fmt: skip
    settings = [
        *tokens, f"sampling.answers={paper['sampling']['answers']}", "task.type=health_care", "task.max_attempts=5",
        "rubric.shown_answers=11", "rating.mode=pointwise", "engine.max_model_len=32768", "corpus.long_texts=cut",
        "task.max_similarity=1.0",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="pop-bench-") as made, ModelledEngine(card="a100", speed=8) as server:
        folder = Path(made)
        texts = corpus(folder, documents, 800)
        ran = round_at(server.url, folder, documents, [*settings, f"corpus.source={texts}"], started_as=server.watch)
        load, con = server.load(), connect(ran.store)
        roles = con.execute(
            "SELECT role, count(*), sum(prompt_tokens), sum(completion_tokens) FROM generations GROUP BY 1 ORDER BY 1"
        ).fetchall()
        ((pair,),) = con.execute(
            "SELECT 2 * avg(g.prompt_tokens + g.completion_tokens) FROM generations g WHERE role = 'answer'"
        ).fetchall()
        files = list((folder / "runs" / RUN).rglob("*.parquet"))
        size = sum(file.stat().st_size for file in files)
    found = {role: Role(*(number / documents for number in numbers)) for role, *numbers in roles}
    return Made(found, load["hits"] / load["queries"], size / documents, len(files), pair)


def as_table(card: Card, rows: dict[int, dict[str, float]]) -> str:
    """Markdown."""
    names = list(next(iter(rows.values())))
    lines = [f"| Qwen2.5-7B, {card.name} | " + " | ".join(f"{gpus} GPU{'s' * (gpus > 1)}" for gpus in rows) + " |"]
    lines.append("| --- |" + " ---: |" * len(rows))
    lines += [f"| {name} | " + " | ".join(frame.shown(row[name]) for row in rows.values()) + " |" for name in names]
    return "\n".join(lines)


def measure(given: argparse.Namespace) -> list[Figure]:
    """The figures of one card."""
    made = longer(MADE, given.longer)
    rows = {gpus: sized(CARDS[given.card], made, given.documents, gpus) for gpus in GPUS}
    if not given.json:
        print(as_table(CARDS[given.card], rows), "\n")
    return [Figure(f"{gpus} GPUs: {name}", value, "") for gpus, row in rows.items() for name, value in row.items()]


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--card", choices=CARDS, default="a100")
    parser.add_argument("--documents", type=int, default=4096)
    parser.add_argument("--longer", type=float, default=1.0, help="all that is written is so many times as long")


main = partial(frame.main, __doc__, measure, options, 1)

if __name__ == "__main__":
    if "--measure" in sys.argv:
        print(measured())
    else:
        sys.exit(main())
