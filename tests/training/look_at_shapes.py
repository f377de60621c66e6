"""Each shape's pairs through prepare.py and OpenRLHF's loader, beside the ids of its server. Runtime environment.

    RUNTIME_PYTHON look_at_shapes.py MODELS PAIRS.parquet OUTPUT SCRIPTS

Writes OUTPUT/NAME.json: end of turn, and for each pair what a server makes of the prompt, and what is trained on.
"""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from torch.utils.data import Dataset
from transformers import AutoTokenizer


class Upstream(Dataset):  # type: ignore[misc]
    """Stands for OpenRLHF's dataset, whose import needs more than a row does."""


def look(model: Path, pairs: Path, output: Path, scripts: Path) -> dict[str, Any]:
    """What is trained on, and what was served."""
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    command = [sys.executable, scripts / "prepare.py", model, pairs, output / model.name, "--max-tokens", "400"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"refused": done.stderr.splitlines()[-1]}
    pairs_by_ids = importlib.import_module("pairs_by_ids")

    rows = pairs_by_ids.read(str(output / model.name / "train.parquet"))
    dataset = pairs_by_ids.dataset_class(Upstream)(rows, tokenizer)
    asked = {pair["pair_id"]: pair["prompt"] for pair in pq.read_table(pairs).to_pylist()}
    found = {}
    for n, row in enumerate(rows):
        chosen, _, rejected, _, prompt = dataset[n]
        found[row["pair_id"]] = {
            "served": tokenizer.apply_chat_template(
                asked[row["pair_id"]], tokenize=True, add_generation_prompt=True, return_dict=False
            ),
            "masked": chosen[0, :prompt].tolist(), "also": rejected[0, :prompt].tolist(),
            "answers": [chosen[0, prompt:].tolist(), rejected[0, prompt:].tolist()],
            "texts": [tokenizer.decode(ids[0, prompt:-1]) for ids in (chosen, rejected)],
        }  # fmt: skip
    prepared = json.loads((output / model.name / "prepared.json").read_text())
    special = sorted(n for n, token in tokenizer.added_tokens_decoder.items() if token.special)
    ends = json.loads((model / "generation_config.json").read_text())["eos_token_id"]
    types = sorted({str(kind) for kind in pq.read_schema(output / model.name / "train.parquet").types})
    return {"types": types, "pairs": found, "prepared": prepared, "special": special, "ends": ends}


if __name__ == "__main__":
    models, pairs_file, out, code = (Path(argument) for argument in sys.argv[1:5])
    sys.path[0] = str(code)
    for folder in sorted(models.iterdir()):
        (out / folder.name).mkdir(parents=True)
        (out / f"{folder.name}.json").write_text(json.dumps(look(folder, pairs_file, out, code)))
