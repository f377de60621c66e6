"""Turn preference pairs into the trainer's files, counted in the model's own tokens. Runs in the runtime environment.

    RUNTIME_PYTHON prepare.py MODEL PAIRS.parquet OUTPUT --max-tokens N [--eval-share S]

OpenRLHF silently drops an over-long prompt and cuts an over-long answer, so what does not fit is left out here, by
name. It cuts the answer out of the rendered conversation by the prompt's length, so that cut is checked here. Writes
train.jsonl, eval.jsonl, example.txt, and prepared.json last. Exit code 2 and one line: model or pairs are unfit.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from transformers import AutoTokenizer

Pair = dict[str, Any]


class Unfit(Exception):
    """The model or the pairs cannot be trained on; the text says why, in one line."""


@dataclass
class Rendered:
    """A pair as the trainer reads it: whole conversations, and their lengths in tokens."""

    pair: Pair
    prompt: str
    chosen: str
    rejected: str
    prompt_tokens: int = 0
    chosen_tokens: int = 0
    rejected_tokens: int = 0

    @property
    def texts(self) -> tuple[str, str, str]:
        """Prompt, chosen and rejected."""
        return self.prompt, self.chosen, self.rejected

    @property
    def tokens(self) -> int:
        """The longer of the two conversations."""
        return max(self.chosen_tokens, self.rejected_tokens)

    def fits(self, max_tokens: int) -> bool:
        """Whether OpenRLHF would take it whole: it wants two tokens of room after the prompt."""
        return self.tokens <= max_tokens and self.prompt_tokens < max_tokens - 2


def read_pairs(path: Path) -> list[Pair]:
    """All pairs, by pair_id: the same pairs give the same files, in whatever order they came."""
    columns = ["pair_id", "prompt", "chosen", "rejected"]
    missing = set(columns) - set(pq.read_schema(path).names)
    if missing:
        raise Unfit(f"{path} has no column {', '.join(sorted(missing))}")
    return sorted(
        pq.ParquetFile(path).read(columns, use_threads=False).to_pylist(), key=lambda pair: str(pair["pair_id"])
    )


def load_tokenizer(model: str) -> Any:
    """The model's tokenizer; it must have a chat template."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except Exception as problem:
        raise Unfit(f"the tokenizer of {model} does not load: {_first_line(problem)}") from problem
    if not tokenizer.chat_template:
        raise Unfit(f"the model {model} has no chat template: take an instruct model, or add a chat_template.jinja")
    return tokenizer


def end_of_turn(tokenizer: Any, pairs: list[Pair]) -> str | None:
    """The special token that ends an assistant's turn, where it is not the tokenizer's own end of sequence.

    OpenRLHF appends the tokenizer's end of sequence to a text that does not end with it. Base models and converted
    tokenizers often name another token there than their chat template uses, and the text trained on would not be the
    text that was judged.
    """
    if not pairs:
        return None
    text = _render(tokenizer, pairs[0], "chosen").rstrip("\n")
    if tokenizer.eos_token and text.endswith(tokenizer.eos_token):
        return None
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    last = tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"][-1])
    return last if last in special else None


def view_with_end(model: Path, folder: Path, tokenizer: Any, end: str) -> None:
    """A folder that shows the model with `end` as its end of sequence; the weights are links."""
    tokenizer.eos_token = end
    tokenizer.save_pretrained(folder)
    for entry in model.resolve().iterdir():
        link = folder / entry.name
        if not (link.exists() or link.is_symlink()):
            link.symlink_to(entry)


def render(tokenizer: Any, pair: Pair) -> Rendered:
    """One pair through the chat template, exactly as OpenRLHF's RewardDataset does it."""
    prompt = _render(tokenizer, pair, None)
    texts = {}
    for side in ("chosen", "rejected"):
        text = _render(tokenizer, pair, side)
        if not text.startswith(prompt):
            raise Unfit(
                f"the chat template does not render the prompt of pair {pair['pair_id']} as the beginning of the "
                "conversation, so OpenRLHF would cut the answer at the wrong place: use another chat template"
            )
        if pair[side][-1]["content"].strip() not in text:
            raise Unfit(
                f"the chat template leaves out a part of the {side} answer of pair {pair['pair_id']} (some drop what a "
                "model thought), so other text would be trained on: set training.target=final, or use another template"
            )
        text = text.rstrip("\n")
        texts[side] = text if text.endswith(tokenizer.eos_token) else f"{text} {tokenizer.eos_token}"
    return Rendered(pair, prompt, texts["chosen"], texts["rejected"])


def _render(tokenizer: Any, pair: Pair, side: str | None) -> str:
    messages = pair["prompt"] + (pair[side] if side else [])
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=side is None))
    except Exception as problem:
        raise Unfit(f"the chat template refuses pair {pair['pair_id']}: {_first_line(problem)}") from problem


def count_tokens(tokenizer: Any, rows: list[Rendered]) -> None:
    """Fill in the three lengths of every row."""
    for row in rows:
        lengths = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in row.texts]
        row.prompt_tokens, row.chosen_tokens, row.rejected_tokens = lengths


def hold_out(rows: list[Rendered], share: float) -> tuple[list[Rendered], list[Rendered]]:
    """Split into training and evaluation rows; which rows are held out depends on their ids alone."""
    by_hash = sorted(rows, key=lambda row: hashlib.sha256(str(row.pair["pair_id"]).encode()).digest())
    held = {row.pair["pair_id"] for row in by_hash[: round(share * len(rows))]}
    return [r for r in rows if r.pair["pair_id"] not in held], [r for r in rows if r.pair["pair_id"] in held]


def write(path: Path, text: str) -> None:
    """A whole file or none."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)


def _lines(rows: Iterable[Rendered]) -> str:
    return "".join(json.dumps(row.pair, ensure_ascii=False) + "\n" for row in rows)


def _example(row: Rendered) -> str:
    return (
        f"Pair {row.pair['pair_id']} as the trainer reads it.\n"
        f"\n===== chosen, {row.chosen_tokens} tokens, loss on those after the first {row.prompt_tokens} =====\n"
        f"{row.chosen}\n"
        f"\n===== rejected, {row.rejected_tokens} tokens =====\n{row.rejected}\n"
    )


def _first_line(problem: Exception) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]


def prepare(model: Path, pairs_file: Path, output: Path, max_tokens: int, eval_share: float) -> None:
    """Do all of it; prepared.json is written last, so that its existence means done."""
    pairs, tokenizer = read_pairs(pairs_file), load_tokenizer(str(model))
    output.mkdir(parents=True, exist_ok=True)
    end = end_of_turn(tokenizer, pairs)
    if end:
        view_with_end(model, output / "base", tokenizer, end)
    if not tokenizer.eos_token:
        raise Unfit(f"the tokenizer of {model} names no end of sequence: set eos_token in its tokenizer_config.json")
    rows = [render(tokenizer, pair) for pair in pairs]
    count_tokens(tokenizer, rows)
    train, evaluation = hold_out([row for row in rows if row.fits(max_tokens)], eval_share)
    write(output / "train.jsonl", _lines(train))
    write(output / "eval.jsonl", _lines(evaluation))
    write(output / "example.txt", _example(train[0]) if train else "")
    too_long = [{"pair_id": r.pair["pair_id"], "tokens": r.tokens} for r in rows if not r.fits(max_tokens)]
    summary = {
        "kept": len(train),
        "evaluation": len(evaluation),
        "too_long": too_long,
        "longest_tokens": max((row.tokens for row in rows), default=0),
        "template_ok": True,
        "end_of_turn": end or tokenizer.eos_token,
    }
    write(output / "prepared.json", json.dumps(summary, indent=1))


def main() -> int:
    """Command line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--max-tokens", type=int, required=True)
    parser.add_argument("--eval-share", type=float, default=0.0)
    args = parser.parse_args()
    try:
        prepare(args.model, args.pairs, args.output, args.max_tokens, args.eval_share)
    except Unfit as problem:
        print(problem, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
