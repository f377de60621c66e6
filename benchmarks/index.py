"""What an index of a large corpus costs, and what a round then saves: `pop index` and the shard stage, for real.

    python -m benchmarks.index [--documents 1000000] [--folder DIR] [--gz]

Ten files of JSON lines with texts of about 100 words. The index is written in a process of its own, with and without a
kill -9 in its middle; the shard stage draws 64 documents without and with it, each in a process of its own, and both
must have written the same files. DIR keeps the corpus. Seconds are of the wall and of the CPU, imports not counted.
"""

import argparse
import gzip
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks import frame
from benchmarks.frame import ROOT, Figure
from schemas.config import CorpusConfig
from schemas.load import load_config
from tasks.corpus.index import make
from tasks.corpus.parts import parts_of
from tasks.shard import corpus_stamp, shard_task
from tasks.staging.plan import make_plan
from tasks.staging.stage import Round
from tasks.storage.store import Store
from tests.samples import Quiet

FILES, DRAWN = 10, 64
LIMIT_MIB = 400  # with the imports, which are 200


def make_corpus(folder: Path, documents: int, packed: bool) -> Path:
    """A folder of JSON lines: each text is ten sentences of a pool, and its number."""
    at = folder / f"corpus-{documents}{'-gz' * packed}"
    if at.exists():
        return at
    draw, making = random.Random(0), folder / f"making-{documents}"
    pool = [" ".join(f"w{draw.randrange(20_000)}" for _ in range(10)) + "." for _ in range(20_000)]
    making.mkdir(parents=True)
    for number in range(FILES):
        path = making / f"{number:02d}.jsonl{'.gz' * packed}"
        with gzip.open(path, "wt", 1) if packed else path.open("w") as stream:
            for row in range(number * documents // FILES, (number + 1) * documents // FILES):
                text = f"Number {row}. {' '.join(draw.choices(pool, k=10))}"
                stream.write(json.dumps({"id": row, "title": f"Number {row}", "text": text}) + "\n")
    making.rename(at)
    return at


def config_of(corpus: Path, index: str | None) -> CorpusConfig:
    """The settings of a round of 64."""
    given = [f"corpus.source={corpus}", f"corpus.documents={DRAWN}", "corpus.heldout_documents=16"]
    return load_config("demo", given + [f"corpus.index={index}"] * bool(index)).corpus


def one(what: str, corpus: str, index: str | None, root: str) -> None:
    """`index` or `shard` in this process; prints JSON."""
    began, cpu = time.monotonic(), time.process_time()
    corpus_config = config_of(Path(corpus), index)
    if what == "index":
        make(corpus, corpus_config, Path(index or ""), lambda *_: None)
    else:
        config = load_config("demo", ["engine.kind=fake"]).model_copy(update={"corpus": corpus_config})
        plan = make_plan(config, "bench", 0, {"policy": "fake:policy"}, corpus_stamp(corpus_config))
        shard_task.fn(Round(plan, Store(root, "bench"), {}, Quiet()))
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    print(json.dumps({"sec": seconds, "cpu": cpu, "mib": frame.peak_mib()}))


def command(what: str, corpus: Path, index: Path | None, root: Path) -> list[str]:
    """One of the two as a process."""
    given = ["--one", what, str(corpus), str(index or ""), str(root)]
    return [sys.executable, "-m", "benchmarks.index", *given]


def measured(*given: Any) -> dict[str, float]:
    """Seconds and MiB of it."""
    done = subprocess.run(command(*given), cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def killed(corpus: Path, index: Path, parts: int) -> None:
    """An index that is killed when it has so many parts."""
    process = subprocess.Popen(command("index", corpus, index, index), cwd=ROOT)
    while len(parts_of(index)) < parts and process.poll() is None:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    frame.note(f"killed with {len(parts_of(index))} parts")


def hash_of(folder: Path, pattern: str) -> str:
    """The rows of a folder's files, without the footers, which say when they were written."""
    found = hashlib.sha256()
    for path in sorted(folder.glob(pattern)):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(1000):
                found.update(f"{path.name} {batch.to_pylist()}".encode())
    return found.hexdigest()


def measure(given: argparse.Namespace) -> list[Figure]:
    """The index whole, the index killed and gone on with, and the shard stage both ways."""
    with tempfile.TemporaryDirectory(prefix="pop-bench-") as temporary:
        made = Path(temporary)
        corpus = make_corpus(given.folder or made, given.documents, given.gz)
        whole = measured("index", corpus, made / "index", made)
        killed(corpus, made / "again", max(1, given.documents // 200_000))
        rest = measured("index", corpus, made / "again", made)
        same_index = hash_of(made / "index", "*.parquet") == hash_of(made / "again", "*.parquet")
        plain = measured("shard", corpus, None, made / "plain")
        drawn = measured("shard", corpus, made / "index", made / "drawn")
        documents = "bench/documents/*/*.parquet"
        same = hash_of(made / "plain", documents) == hash_of(made / "drawn", documents)
        size = sum(path.stat().st_size for path in (made / "index").iterdir()) / given.documents
        shutil.rmtree(made / "again")
    limit = f"<= {LIMIT_MIB}"
    return [
        Figure(f"index of {given.documents:,} documents", whole["sec"], "s"),
        Figure("CPU time of it", whole["cpu"], "s"),
        Figure("its peak memory, imports included", whole["mib"], "MiB", limit),
        Figure("bytes of the index a document", size, ""),
        Figure("after kill -9 in the middle: the rest", rest["sec"], "s"),
        Figure("its index is that of an undisturbed one", same_index, "", ">= 1"),
        Figure(f"shard stage, {DRAWN} documents, without it", plain["sec"], "s"),
        Figure("with it", drawn["sec"], "s", "<= 10"),
        Figure("CPU time of the stage with it", drawn["cpu"], "s"),
        Figure("peak memory with it, imports included", drawn["mib"], "MiB", limit),
        Figure("its documents are the same", same, "", ">= 1"),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--gz", action="store_true", help="packed files, which have no byte to seek")


main = partial(frame.main, __doc__, measure, options, 1)

if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], sys.argv[3], sys.argv[4] or None, sys.argv[5])
    else:
        sys.exit(main())
