"""Say whether a trained model may be used. Runs in the runtime environment.

    RUNTIME_PYTHON check.py PARENT TRAINED PROMPT VERDICT.json

It must load, have the parent's parameter count, finite weights that changed, and answer a prompt. Whatever goes wrong
becomes a line under `problems` in the verdict. The paper's released checkpoint shows why: ZeRO-3 can save empty shards.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ANSWER_TOKENS = 48


class Rejected(Exception):
    """The check ends here: what follows would only fail for the same reason."""


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model, in a fixed order."""
    return sorted(folder.glob("*.safetensors"))


def weights_sha256(folder: Path) -> str:
    """One hash over the bytes of all weight files."""
    total = hashlib.sha256()
    for path in weight_files(folder):
        with path.open("rb") as handle:
            while block := handle.read(1 << 22):
                total.update(block)
    return total.hexdigest()


def tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    """Every stored tensor, one at a time, so that a large model needs no memory for two of it."""
    from safetensors import safe_open

    for path in weight_files(folder):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 -- not a dict
                yield name, file.get_tensor(name)


def parent_tensor(folder: Path) -> Any:
    """A function from a tensor's name to the parent's tensor, or None where the parent stores none by that name."""
    import torch
    from safetensors import safe_open

    if weight_files(folder):
        files = [safe_open(path, framework="pt") for path in weight_files(folder)]
        where = {name: file for file in files for name in file.keys()}  # noqa: SIM118
        return lambda name: where[name].get_tensor(name) if name in where else None
    stored: dict[str, Any] = {}
    for path in sorted(folder.glob("*.bin")):
        stored |= torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return stored.get


def check_weights(parent: Path, trained: Path, verdict: dict[str, Any]) -> None:
    """Files, shapes, finite numbers, and how far the weights moved from the parent's."""
    import torch

    if not weight_files(trained):
        raise Rejected(f"no *.safetensors in {trained}: the weights were not saved")
    of_parent, empty, unfinite = parent_tensor(parent), [], []
    for name, tensor in tensors(trained):
        verdict["tensors"] += 1
        if tensor.numel() == 0:
            empty.append(name)
        elif not torch.isfinite(tensor).all():
            unfinite.append(name)
        elif (before := of_parent(name)) is not None and before.shape == tensor.shape:
            verdict["tensors_compared"] += 1
            moved = (tensor.float() - before.float()).abs()
            verdict["tensors_changed"] += bool(moved.any())
            verdict["weights_changed"] += int(moved.count_nonzero())
            verdict["largest_change"] = max(verdict["largest_change"], float(moved.max()))
    for names, wrong in ((empty, "are empty (ZeRO-3 shards?)"), (unfinite, "hold NaN or infinite numbers")):
        if names:
            raise Rejected(f"{len(names)} of {verdict['tensors']} tensors {wrong}, the first: {names[0]}")
    if verdict["tensors_compared"] and not verdict["tensors_changed"]:
        verdict["problems"].append("no weight changed: the model is its parent")


def expected_parameters(parent: Path) -> int:
    """The parameter count of the parent's architecture, tied weights once; no weights are read."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(parent))
    return sum(parameter.numel() for parameter in model.parameters())


def load(trained: Path) -> Any:
    """The model, ready to generate; every weight must have come from its files."""
    import torch
    from transformers import AutoModelForCausalLM

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = "auto" if device == "cuda" else torch.float32  # bfloat16 is slow on most CPUs
    try:
        model, report = AutoModelForCausalLM.from_pretrained(trained, dtype=dtype, output_loading_info=True)
    except Exception as problem:
        raise Rejected(f"the model does not load: {first_line(problem)}") from problem
    wrong = sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])
    if wrong:
        raise Rejected(f"{len(wrong)} weights are missing or have the wrong shape, the first: {wrong[0]}")
    return model.to(device).eval()


def answer(model: Any, trained: Path, prompt: str) -> str:
    """What the model says to `prompt`, decoded greedily."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(trained)
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt").to(model.device)
    with torch.no_grad():
        tokens = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            do_sample=False,
            max_new_tokens=ANSWER_TOKENS,
        )
    return str(tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)).strip()


def first_line(problem: BaseException) -> str:
    """An exception in one line."""
    return f"{type(problem).__name__}: {(str(problem).strip().splitlines() or [''])[0]}"


def check(parent: Path, trained: Path, prompt: str) -> dict[str, Any]:
    """The verdict on a trained model; never raises."""
    verdict: dict[str, Any] = dict.fromkeys(("parameters", "parent_parameters", "weights_sha256", "answer"))
    verdict |= dict.fromkeys(("tensors", "tensors_compared", "tensors_changed", "weights_changed", "largest_change"), 0)
    verdict |= {"ok": False, "problems": []}
    try:
        check_weights(parent, trained, verdict)
        verdict["weights_sha256"] = weights_sha256(trained)
        verdict["parent_parameters"] = expected_parameters(parent)
        model = load(trained)
        verdict["parameters"] = sum(parameter.numel() for parameter in model.parameters())
        if verdict["parameters"] != verdict["parent_parameters"]:
            counts = "it has {parameters} parameters, its parent {parent_parameters}"
            verdict["problems"].append(counts.format(**verdict))
        verdict["answer"] = answer(model, trained, prompt)
        if not verdict["answer"]:
            verdict["problems"].append(f"it answers nothing to the prompt: {prompt}")
    except Rejected as problem:
        verdict["problems"].append(str(problem))
    except Exception as problem:
        verdict["problems"].append(f"the check could not be completed: {first_line(problem)}")
    verdict["ok"] = not verdict["problems"]
    return verdict


def main(parent: str, trained: str, prompt: str, output: str) -> None:
    """Write the verdict, whole or not at all."""
    temporary = Path(f"{output}.tmp")
    temporary.write_text(json.dumps(check(Path(parent), Path(trained), prompt), indent=1))
    temporary.replace(output)


if __name__ == "__main__":
    main(*sys.argv[1:5])
