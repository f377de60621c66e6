"""How much likelier has a training made each chosen answer than its rejected one? Runs in the runtime environment.

    RUNTIME_PYTHON likelier.py PARENT TRAINED PREFERENCES.parquet

Prints a JSON list, one number a pair: [log p(chosen) - log p(rejected)] of the trained model minus that of its parent,
in nats, after the prompt as the model's own chat template writes it. Nothing of the project's code is used.
"""

import json
import sys
from typing import Any


def margins(folder: str, rows: list[dict[str, Any]]) -> list[float]:
    """log p(chosen) - log p(rejected) of each row."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def logprob(prompt: list[dict[str, str]], reply: list[dict[str, str]]) -> float:
        before = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
        start = tokenizer(before, add_special_tokens=False).input_ids
        answer = tokenizer(reply[0]["content"], add_special_tokens=False).input_ids
        ids = torch.tensor([start + answer])
        with torch.no_grad():
            nats = model(ids).logits[0, len(start) - 1 : -1].log_softmax(-1)
        return float(nats.gather(1, ids[0, len(start) :, None]).sum())

    return [logprob(row["prompt"], row["chosen"]) - logprob(row["prompt"], row["rejected"]) for row in rows]


if __name__ == "__main__":
    import pyarrow.parquet as pq

    parent, trained, preferences = sys.argv[1:4]
    pairs = pq.ParquetFile(preferences).read().to_pylist()
    print(json.dumps([a - b for a, b in zip(margins(trained, pairs), margins(parent, pairs), strict=True)]))
