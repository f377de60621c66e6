"""Models that cannot be used or trained, each for one reason, and what examine.py says of them. Runtime environment.

RUNTIME_PYTHON spoilt.py GPT2_FOLDER ROOT FINDINGS.json PROJECT
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = sys.argv[4]

import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, T5Config, T5ForConditionalGeneration

from tasks.training.examine import Examination

SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


def put(name: str, **changes: Any) -> Callable[[Path], None]:
    """Change keys of a JSON file."""

    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | changes))

    return change


def template(text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "chat_template.jinja").write_text(text)

    return change


def weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        found = load_file(folder / "model.safetensors")
        change(found)
        save_file(found, folder / "model.safetensors", metadata={"format": "pt"})

    return changed


def torn(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def enlarged(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    more = {**content["added_tokens"][0], "id": 5000, "content": "<|more|>"}
    path.write_text(json.dumps(content | {"added_tokens": [*content["added_tokens"], more]}))


def spelled(found: dict[str, torch.Tensor]) -> None:
    """A head of its own, where the configuration ties it to the embedding."""
    found["lm_head.weight"] = found["transformer.wte.weight"] + 1


MATRIX = "transformer.h.1.mlp.c_fc.weight"
SPOILT: dict[str, Callable[[Path], Any]] = {
    "whole": lambda _: None,
    "gptq": put("config.json", quantization_config={"quant_method": "gptq", "bits": 4}),
    "awq": put("config.json", quantization_config={"quant_method": "awq", "bits": 4, "group_size": 128}),
    "compressed": put("config.json", quantization_config={"quant_method": "compressed-tensors", "bits": 8}),
    "fp8": put("config.json", quantization_config={"quant_method": "fp8", "activation_scheme": "dynamic"}),
    "bitsandbytes": put("config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
    "missing": weights(lambda found: found.pop(MATRIX)),
    "shape": weights(lambda found: found.update({MATRIX: torch.zeros(8, 8)})),
    "torn": torn,
    "nan": weights(lambda found: found[MATRIX][3].fill_(float("nan"))),
    "zeros": weights(lambda found: [one.zero_() for one in found.values()]),
    "layers": put("config.json", n_layer=1),
    "head": weights(spelled),
    "no_words": lambda folder: (folder / "tokenizer.json").unlink(),
    "no_configuration": lambda folder: (folder / "config.json").write_text("{"),
    "stops": put("generation_config.json", eos_token_id="<|endoftext|>"),
    "no_beginning": template("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"),
    "encoder": lambda folder: BertForMaskedLM(BertConfig(vocab_size=403, **SMALL)).save_pretrained(folder),
    "encoder_decoder": lambda folder: T5ForConditionalGeneration(
        T5Config(vocab_size=403, d_model=32, d_ff=64, num_layers=1, num_heads=2)
    ).save_pretrained(folder),
    "unknown": put("config.json", model_type="never_heard_of"),
    "code": put("config.json", auto_map={"AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}),
    "tokenizer": enlarged,
    "backup": lambda folder: (folder / "tokenizer_backup").mkdir(),
    "generation_config": put("generation_config.json", do_sample=False, temperature=0.5),
    "no_template": lambda folder: (folder / "chat_template.jinja").unlink(),
    "refuses": template("{{ raise_exception('only a system may speak') }}"),
    "cuts_user": template("{% for m in messages %}{{ m.role }}: {{ m.content[:9] if m.role == 'user' else m.content }}"
                          "\n{% endfor %}"),
    "cuts_answer": template("{% for m in messages %}{{ m.role }}: {{ m.content[:9] }}\n{% endfor %}"),
    "gpt_neox": put("generation_config.json", eos_token_id=0),  # no more the end that its template writes
}  # fmt: skip


def examined(source: Path, root: Path) -> dict[str, Any]:
    """What is found of each."""
    found = {}
    for name, spoil in SPOILT.items():
        shutil.copytree(source.with_name(name) if source.with_name(name).exists() else source, root / name)
        spoil(root / name)
        found[name] = Examination(root / name, trust_remote_code=False).all()
    return found


if __name__ == "__main__":
    Path(sys.argv[3]).write_text(json.dumps(examined(Path(sys.argv[1]), Path(sys.argv[2]))))
