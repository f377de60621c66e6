"""How much memory the controller needs for what it reads and writes, by the size of a round: 256 and 4,096 documents.

    python -m benchmarks.memory [--answers 32] [--words 350] [--folder DIR]

The shard stage over a corpus of 8,192 texts of a thousand words, the pair stage over made-up tables with answers of
about 2,000 characters, and the pairs' way into the trainer's file; each in a process of its own, whose peak with all
imports is told. What model calls hold is `benchmarks.cases --memory`. DIR keeps the tables.
"""

import argparse
import asyncio
import json
import random
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import frame
from benchmarks.frame import ROOT, Figure
from benchmarks.pairing import PROBLEMS, make, pair_all, plan
from schemas.load import load_config
from tasks.shard import corpus_stamp, shard_task
from tasks.staging.plan import make_plan
from tasks.staging.stage import Round
from tasks.storage.store import Store
from tasks.train import write_preferences
from tasks.training.job import TrainingJob, job_hash
from tests.samples import Quiet

SIZES, TEXTS, TEXT_WORDS = (256, 4096), 8192, 1000
STAGES = ("corpus", "pairs", "training file")


def make_corpus(folder: Path) -> Path:
    """A file of JSON lines of which every text is another."""
    at, draw = folder / "corpus.jsonl", random.Random(0)
    if not at.exists():
        pool = [" ".join(f"w{draw.randrange(20_000)}" for _ in range(10)) + "." for _ in range(20_000)]
        with at.open("w") as stream:
            for _ in range(TEXTS):
                stream.write(json.dumps({"text": " ".join(draw.choices(pool, k=TEXT_WORDS // 10))}) + "\n")
    return at


def one(stage: str, folder: str, documents: int) -> None:
    """A stage in this process; prints its peak in MiB."""
    if stage == "corpus":
        given = [f"corpus.source={folder}/corpus.jsonl", f"corpus.documents={documents}", "engine.kind=fake"]
        config = load_config("demo", [*given, "corpus.max_words=1024"])
        plan_ = make_plan(config, "cut", 0, {"policy": "fake:policy"}, corpus_stamp(config.corpus))
        with tempfile.TemporaryDirectory() as root:
            shard_task.fn(Round(plan_, Store(root, "cut"), {}, Quiet()))
    elif stage == "pairs":
        asyncio.run(pair_all(Store(f"{folder}/{documents}", "big")))
    else:
        round_ = Round(plan(), Store(f"{folder}/{documents}", "big"), {}, Quiet())
        with tempfile.TemporaryDirectory() as root:
            path = Path(root) / "preferences.parquet"
            write_preferences(round_, tuple(round_.store.files("preferences", 0)), path)
            job_hash(TrainingJob(Path(sys.executable), Path(root), path, Path(root)))
    print(json.dumps(frame.peak_mib()))


def measured(stage: str, folder: Path, documents: int) -> float:
    """Its peak in MiB, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "--one", stage, str(folder), str(documents)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def measure(given: argparse.Namespace) -> list[Figure]:
    """Every stage at both sizes."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="pop-bench-") as made:
        folder = given.folder or Path(made)
        make_corpus(folder)
        for documents in SIZES:
            store = Store(str(folder / str(documents)), "big")
            if len(store.files("answers", 0)) != documents // PROBLEMS:
                make(store, documents * given.answers, given.words)
            for table in ("pairs", "preferences"):
                shutil.rmtree(folder / str(documents) / "big" / table, ignore_errors=True)
        for stage in STAGES:
            small, large = (measured(stage, folder, documents) for documents in SIZES)
            figures += [
                Figure(f"{stage}: peak of {SIZES[0]:,} documents", small, "MiB"),
                Figure(f"{stage}: peak of {SIZES[1]:,} documents", large, "MiB"),
                Figure(f"{stage}: {SIZES[1]:,} against {SIZES[0]:,}", large / small, "x", "<= 1.2"),
            ]
    return figures


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--answers", type=int, default=32)
    parser.add_argument("--words", type=int, default=350, help="of an answer")
    parser.add_argument("--folder", type=Path)


main = partial(frame.main, __doc__, measure, options, 1)

if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        sys.exit(main())
