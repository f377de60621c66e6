"""Eight shapes of tiny random models through everything that trains a real one.

    python -m benchmarks.shapes [NAME…] [--keep FOLDER]

Each (Llama, Qwen2, Qwen3, Gemma, Mistral, GPT-2, GPT-NeoX, Phi; each with a chat template of another kind, see
`tests/training/shapes.py`) is examined, and if it may be trained: prepare, OpenRLHF, finish, check. A row a shape:
what became of it, and whether the ids that the trainer read are those that its server makes of the prompt, then the
answer's, then the end of turn. Some 40 seconds a shape on quiet cores. Needs the runtime environment.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from schemas.errors import PopError
from schemas.load import load_config
from tasks.models.examination import examine, unfit_to_train
from tasks.models.resolve import Resolved
from tasks.models.weights import weights_hash
from tasks.runtime import runtime_python
from tasks.training import openrlhf
from tasks.training.job import TrainingJob, read_rows
from tasks.training.openrlhf import train
from tests.training.samples import in_runtime, write_pairs
from tests.training.test_token_ids import NAMES

TESTS = Path(__file__).resolve().parents[1] / "tests" / "training"
SCRIPTS = Path(openrlhf.__file__).parent
CONFIG = load_config("demo", ["training.max_tokens=400", "training.target=text"])
PAIRS = {
    f"number {n}": (f"Yes. {n} hours before bed, a warm bath helps most people.", f"No, {n} is old.") for n in range(8)
}


def fate(model: Path, folder: Path) -> dict[str, Any]:
    """What becomes of a model: `refused` before the first call, `broken` by the check, or `trained`."""
    found = examine(Resolved(f"weights:{weights_hash(model)[:24]}", str(model)), runtime_python())
    if wrong := unfit_to_train(found, CONFIG):
        return {"fate": "refused", "why": wrong[0]}
    job = TrainingJob(
        runtime_python(), model, write_pairs(folder / "pairs.parquet", PAIRS), folder / "training", beta=0.1,
        learning_rate=1e-4, batch_size=4, micro_batch_size=2, max_tokens=400, eval_share=0.0, zero_stage=1,
    )  # fmt: skip
    began = time.monotonic()
    try:
        trained = train(job, lambda _: None)
    except PopError as error:
        return {"fate": "broken", "why": str(error)}
    steps = read_rows(job.workdir / "metrics.jsonl")
    said = {"loss": [row["loss"] for row in steps], "parameters": trained.parameters, "answer": trained.answer[:60]}
    return {"fate": "trained", "seconds": round(time.monotonic() - began, 1), **said}


def as_served(model: Path, folder: Path) -> bool:
    """Whether what was trained on is what a server of the model was given, and the answer, and one end of turn."""
    (folder / "models").mkdir()
    (folder / "models" / model.name).symlink_to(model)
    in_runtime(
        runtime_python(),
        TESTS / "look_at_shapes.py",
        folder / "models",
        folder / "pairs.parquet",
        folder / "looked",
        SCRIPTS,
    )
    found = json.loads((folder / "looked" / f"{model.name}.json").read_text())
    ends = set(found["ends"] if isinstance(found["ends"], list) else [found["ends"]])
    return all(
        row["masked"] == row["also"] == row["served"]
        and all(answer[-1] in ends and not ends & set(answer[:-1]) for answer in row["answers"])
        and [text.strip() for text in row["texts"]] == list(PAIRS[name])
        for name, row in found["pairs"].items()
    )


def main() -> None:
    """A row a shape, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--keep", type=Path, help="leave models and trainings here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pop-shapes-") as scratch:
        root = given.keep or Path(scratch)
        in_runtime(runtime_python(), TESTS / "shapes.py", root / "models", *given.names)
        print("| shape | fate | as served | |\n| --- | --- | --- | --- |")
        for name in given.names:
            folder = root / name
            folder.mkdir(parents=True)
            found = fate(root / "models" / name, folder)
            same = as_served(root / "models" / name, folder) if found["fate"] != "refused" else None
            rest = {key: value for key, value in found.items() if key != "fate"}
            print(f"| {name} | {found['fate']} | {same} | {json.dumps(rest)} |", flush=True)


if __name__ == "__main__":
    main()
