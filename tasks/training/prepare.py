"""Turn preference pairs into the trainer's files: token ids, as the model's server has them. Runtime environment.

    RUNTIME_PYTHON prepare.py MODEL PAIRS.parquet OUTPUT --max-tokens N [--eval-share S] [--trust-remote-code]

What does not fit is left out here, by name: OpenRLHF would cut it. Writes train.parquet, eval.parquet, example.txt,
and prepared.json last. Exit code 2 and one line: model or pairs are unfit.
"""

import argparse
import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

if __name__ == "__main__":  # started by path: its own folder has an openrlhf.py, and is not to be searched
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tasks.training.token_ids import TokenIds, Unfit, load_tokenizer, stop_ids

Pair = dict[str, Any]
IDS = pa.list_(pa.int32())
SCHEMA = pa.schema([("pair_id", pa.string()), ("prompt_ids", IDS), ("chosen_ids", IDS), ("rejected_ids", IDS)])
SHOWN = 12  # ids of an example on each side of a border


@dataclass(frozen=True)
class Row:
    """A pair as the trainer reads it. Loss is on the answers' ids, which end with the end of turn."""

    pair_id: str
    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]

    @property
    def tokens(self) -> int:
        """Tokens of the longer of the two conversations."""
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))


def read_pairs(path: Path) -> list[Pair]:
    """All pairs, by pair_id: the same pairs give the same files, in whatever order they came."""
    columns = ["pair_id", "prompt", "chosen", "rejected"]
    missing = set(columns) - set(pq.read_schema(path).names)
    if missing:
        raise Unfit(f"{path} has no column {', '.join(sorted(missing))}")
    return sorted(
        pq.ParquetFile(path).read(columns, use_threads=False).to_pylist(), key=lambda pair: str(pair["pair_id"])
    )


def in_ids(ids: TokenIds, pair: Pair) -> Row:
    """One pair as the server had it.

    Raises:
        Unfit: the chat template refuses its prompt.
    """
    try:
        prompt = ids.prompt(pair["prompt"])
    except Unfit as problem:
        raise Unfit(f"pair {pair['pair_id']}: {problem}") from problem
    chosen, rejected = (ids.answer(prompt, pair[side][-1]["content"]) for side in ("chosen", "rejected"))
    return Row(pair["pair_id"], prompt[1], chosen, rejected)


def hold_out(rows: list[Row], share: float) -> tuple[list[Row], list[Row]]:
    """Split into training and evaluation rows; which rows are held out depends on their ids alone."""
    by_hash = sorted(rows, key=lambda row: hashlib.sha256(row.pair_id.encode()).digest())
    held = {row.pair_id for row in by_hash[: round(share * len(rows))]}
    return [r for r in rows if r.pair_id not in held], [r for r in rows if r.pair_id in held]


def write(path: Path, content: bytes) -> None:
    """A whole file or none."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)


def _parquet(rows: list[Row]) -> bytes:
    """The rows with their types stated: a reader that guesses takes an answer that is a date for a time."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([vars(row) for row in rows], SCHEMA), sink)
    return bytes(sink.getvalue().to_pybytes())


def _example(ids: TokenIds, row: Row) -> str:
    before, chosen = (len(row.prompt_ids), row.chosen_ids)
    lines = [
        f"Pair {row.pair_id} as the trainer reads it.",
        f"\n===== chosen, {before + len(chosen)} tokens, loss on those after the first {before} =====",
        ids.text([*row.prompt_ids, *chosen]),
        f"\n===== rejected, {before + len(row.rejected_ids)} tokens =====",
        ids.text([*row.prompt_ids, *row.rejected_ids]),
        "\n===== chosen, token by token around the borders: id, token, loss =====",
        *shown(ids, row.prompt_ids, chosen),
    ]
    return "\n".join(lines) + "\n"


def shown(ids: TokenIds, prompt: list[int], answer: list[int]) -> list[str]:
    """Where the prompt ends and the answer begins, and its end, a line a token."""
    lines = [f"{number:>8}  {ids.token(number)!r}" for number in prompt[-SHOWN:]]
    begins, ends = answer[:SHOWN], answer[SHOWN:][-SHOWN:]
    lines += [f"{number:>8}  {ids.token(number)!r}  loss" for number in begins]
    lines += ["       …"] * (len(answer) > len(begins) + len(ends))
    return lines + [f"{number:>8}  {ids.token(number)!r}  loss" for number in ends]


def prepare(
    model: Path, pairs_file: Path, output: Path, max_tokens: int, eval_share: float, trust_remote_code: bool
) -> None:
    """Do all of it; prepared.json is written last, so that its existence means done."""
    pairs = read_pairs(pairs_file)
    ids = TokenIds(load_tokenizer(str(model), trust_remote_code), stop_ids(model))
    output.mkdir(parents=True, exist_ok=True)
    rows = [in_ids(ids, pair) for pair in pairs]
    typed = {row.pair_id: ids.typed(row.chosen_ids) or ids.typed(row.rejected_ids) for row in rows}
    usable = [row for row in rows if not typed[row.pair_id] and row.tokens <= max_tokens]
    train, evaluation = hold_out(usable, eval_share)
    write(output / "train.parquet", _parquet(train))
    write(output / "eval.parquet", _parquet(evaluation))
    write(output / "example.txt", (_example(ids, train[0]) if train else "").encode(errors="replace"))
    summary = {
        "kept": len(train),
        "evaluation": len(evaluation),
        "too_long": [{"pair_id": row.pair_id, "tokens": row.tokens} for row in rows if row.tokens > max_tokens],
        "control_tokens": [{"pair_id": name, "token": token} for name, token in typed.items() if token],
        "longest_tokens": max((row.tokens for row in rows), default=0),
        "template_ok": True,
        "end_of_turn": ids.end.token,
    }
    write(output / "prepared.json", json.dumps(summary, indent=1).encode())


def main() -> int:
    """Command line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--max-tokens", type=int, required=True)
    parser.add_argument("--eval-share", type=float, default=0.0)
    parser.add_argument("--trust-remote-code", action="store_true")
    args = parser.parse_args()
    try:
        prepare(args.model, args.pairs, args.output, args.max_tokens, args.eval_share, args.trust_remote_code)
    except Unfit as problem:
        print(problem, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
