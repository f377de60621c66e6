"""How long does reading a corpus take, and how much memory: many small files, and one large file of JSON lines?

    python -m benchmarks.corpus [--files 50000] [--gib 2] [--folder DIR] [--code DIR]

Each is read in a process of its own, which draws 1,000 documents. DIR keeps the inputs; --code names another checkout
of this project, whose readers are measured instead. Goals: 32 MiB above the imports were the first version's for
50,000 files, and twice that is the limit, also for a large file; it took 19 s on two shared cores.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import frame
from benchmarks.frame import Figure

LIMIT_MIB = 64
READ = """
import json, resource, sys, time
sys.path.insert(0, sys.argv[1])
from tasks.corpus import read, select
import pyarrow.parquet
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
found = select(read(sys.argv[2]), documents=1000, heldout_documents=64, min_words=50, max_words=1024,
               long_texts="passages", heldout_share=0.05, seed=0)
mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(json.dumps({"sec": time.perf_counter() - start, "mib": mib, "seen": found.seen, "counts": found.counts}))
"""


def words(draw: random.Random, count: int) -> str:
    """A text of random words."""
    return " ".join(f"w{draw.randrange(5000)}" for _ in range(count))


def make_files(folder: Path, count: int) -> Path:
    """A folder with `count` texts of 100 words, a thousand a folder."""
    at, draw = folder / f"files-{count}", random.Random(0)
    for number in range(0 if at.exists() else count):
        file = at / f"{number // 1000:03d}" / f"{number:06d}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(words(draw, 100))
    return at


def make_lines(folder: Path, gib: float) -> Path:
    """A file of JSON lines of a size, with texts of 500 words and their metadata."""
    at, draw = folder / f"lines-{gib:g}.jsonl", random.Random(0)
    if not at.exists():
        texts = [words(draw, 500) for _ in range(2000)]
        with at.open("w") as stream:
            while stream.tell() < gib * 2**30:
                for number, text in enumerate(texts):
                    url = f"http://example.org/{draw.random()}"
                    row = {"text": f"{url} {text}", "id": number, "url": url, "score": draw.random()}
                    stream.write(json.dumps(row) + "\n")
    return at


def measured(code: Path, source: Path) -> dict[str, float]:
    """Seconds and MiB of one reading, in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-c", READ, str(code), str(source)], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(run.stdout)
    frame.note(f"{source.name}: {found['seen']} records, {found['counts']}")
    return found


def measure(given: argparse.Namespace) -> list[Figure]:
    """Make what is not there, and read both."""
    figures = []
    with tempfile.TemporaryDirectory() as made:
        folder = given.folder or Path(made)
        for source in (make_files(folder, given.files), make_lines(folder, given.gib)):
            found = measured(given.code, source)
            figures.append(Figure(f"{source.name}: reading", found["sec"], "s"))
            figures.append(Figure(f"{source.name}: memory above the imports", found["mib"], "MiB", f"<= {LIMIT_MIB}"))
    return figures


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--gib", type=float, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--code", type=Path, default=Path(__file__).resolve().parents[1])


main = partial(frame.main, __doc__, measure, options, 1)

if __name__ == "__main__":
    sys.exit(main())
