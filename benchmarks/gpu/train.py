"""Seconds a step of OpenRLHF's DPO through the project's own launcher, on a model of a known shape.

    python benchmarks/gpu/train.py --shape 7b --tokens 6144             # the paper's settings, three steps
    python benchmarks/gpu/train.py --shape 7b --tokens 2048 --micro 2
    python benchmarks/gpu/train.py --model M --pairs preferences.parquet --rate 5e-5   # a loss curve to compare

Prints one JSON line. Runs in the environment that has OpenRLHF (with pyarrow and psutil).
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.gpu.shapes import SHAPES, make_model
from benchmarks.gpu.watch import Peak, machine
from tasks.training.job import TrainingJob
from tasks.training.openrlhf import train

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SCHEMA = pa.schema([("pair_id", pa.string()), *((name, MESSAGES) for name in ("prompt", "chosen", "rejected"))])


def write_pairs(path: Path, count: int, tokens: int) -> Path:
    """Pairs whose conversations have nearly `tokens` tokens each: a quarter of it prompt, one token a byte."""
    room = tokens - 64  # for the template's marks
    prompt, answer = room // 4, room - room // 4

    def said(role: str, letter: str, length: int, number: int) -> list[dict[str, str]]:
        return [{"role": role, "content": f"{number:06d} {letter * (length - 8)}."}]

    rows = [
        {"pair_id": f"{n:06d}", "prompt": said("user", "q", prompt, n), "chosen": said("assistant", "c", answer, n),
         "rejected": said("assistant", "r", answer, n)} for n in range(count)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    return path


def parser() -> argparse.ArgumentParser:
    """The options; their defaults are the paper's settings."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--shape", choices=SHAPES, default="7b")
    made.add_argument("--model", type=Path, help="a model folder instead of a shape")
    made.add_argument("--pairs", type=Path, help="a preferences file instead of made-up pairs")
    made.add_argument("--tokens", type=int, default=6144, help="of a conversation")
    made.add_argument("--steps", type=int, default=3, help="optimizer steps; the first is not counted")
    made.add_argument("--batch", type=int, default=16)
    made.add_argument("--micro", type=int, default=1)
    made.add_argument("--zero", type=int, default=3)
    made.add_argument("--rate", type=float, default=1e-6)
    made.add_argument("--beta", type=float, default=0.01)
    made.add_argument("--attention", help="sdpa, flash_attention_2; default: what the device has")
    made.add_argument("--no-offload", action="store_true", help="Adam's states and the reference stay on the GPU")
    made.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    made.add_argument("--folder", type=Path, help="where models and the training are made; default: a temporary one")
    return made


def run(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train, and say what it took."""
    model = given.model or make_model(given.shape, folder / given.shape)
    pairs = given.pairs or write_pairs(folder / "pairs.parquet", given.steps * given.batch, given.tokens)
    offload = given.device == "cuda" and not given.no_offload
    job = TrainingJob(
        Path(sys.executable), model, pairs, folder / "work", given.device, beta=given.beta, learning_rate=given.rate,
        batch_size=given.batch, micro_batch_size=given.micro, max_tokens=given.tokens, zero_stage=given.zero,
        adam_offload=offload, ref_offload=offload, gradient_checkpointing=given.device == "cuda",
        attn_implementation=given.attention, eval_share=0.0,
    )  # fmt: skip
    steps: list[dict[str, Any]] = []
    with Peak() as peak:
        trained = train(job, steps.append)
    ends = [step["seconds"] for step in steps]  # since the training's first word
    a_step = round((ends[-1] - ends[0]) / (len(ends) - 1), 3) if len(ends) > 1 else None
    tokens = 2 * given.batch * trained.prepared.longest_tokens
    return {
        "benchmark": "train", "shape": None if given.model else given.shape, "tokens": given.tokens,
        "parameters": trained.parameters, "batch": given.batch, "micro": given.micro, "zero": given.zero,
        "offload": offload, "steps": len(steps), "seconds_a_step": a_step,
        "tokens_a_second": round(tokens / a_step) if a_step and not given.pairs else None,
        "losses": [step["loss"] for step in steps], **peak.figures(), "machine": machine(),
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """One JSON line."""
    given = parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="pop-gpu-") as temporary:
        print(json.dumps(run(given, given.folder or Path(temporary))), flush=True)


if __name__ == "__main__":
    main()
