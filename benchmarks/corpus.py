"""How long does reading a corpus take, and how much memory: many small files, and one large file of JSON lines?

    python benchmarks/corpus.py [--files 50000] [--gib 2] [--folder DIR] [--code DIR]

Each is read in a process of its own, which draws 1,000 documents. DIR keeps the inputs; --code names another checkout
of this project, whose readers are measured instead. Limits (19 s and 32 MiB above the imports for 50,000 files) are the
first version's on two shared cores; exit code 1 says that memory is above twice that, or grows with the file.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

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
    print(
        f"{source.name:>20}: {found['sec']:7.1f} s {found['mib']:7.1f} MiB, {found['seen']} records, {found['counts']}"
    )
    return found


def main() -> int:
    """Makes what is not there, reads both, and says how long that took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--gib", type=float, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--code", type=Path, default=Path(__file__).resolve().parents[1])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = args.folder or Path(made)
        sources = [make_files(folder, args.files), make_lines(folder, args.gib)]
        found = [measured(args.code, source) for source in sources]
    return int(any(one["mib"] > LIMIT_MIB for one in found))


if __name__ == "__main__":
    sys.exit(main())
