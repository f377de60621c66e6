"""Say whether a trained model may be used, and measure what training did to it. Runs in the runtime environment.

    RUNTIME_PYTHON check.py PARENT TRAINED ASKED.json VERDICT.json

It must load, have the parent's parameter count, finite weights that changed, and answer a prompt; what is wrong becomes
a line under `problems` in the verdict. The paper's released checkpoint shows why: ZeRO-3 can save empty shards. Then
both models answer some prompts and read held-out texts: `tasks.training.health` makes figures of that. What is no
fault of the model (memory, disk, a missing package) ends without a verdict, by the exit codes of `endings`.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from endings import run  # type: ignore[import-not-found]  # beside this file, run by path

ANSWER_TOKENS = 48
TEXT_TOKENS = 128  # of each held-out text
NULL = ("parameters", "parent_parameters", "weights_sha256", "answer", "largest_change", "change_norm", "parent_norm")
ZERO = ("tensors", "tensors_compared", "tensors_changed", "weights_compared", "weights_changed")


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
    squares = torch.zeros(2, dtype=torch.float64)  # of the change, and of the parent's weights
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
            verdict["weights_compared"] += tensor.numel()
            verdict["weights_changed"] += int(moved.count_nonzero())
            verdict["largest_change"] = max(verdict["largest_change"] or 0.0, float(moved.max()))
            squares += torch.stack([moved.square().sum(), before.float().square().sum()]).double()
    for names, wrong in ((empty, "are empty (ZeRO-3 shards?)"), (unfinite, "hold NaN or infinite numbers")):
        if names:
            raise Rejected(f"{len(names)} of {verdict['tensors']} tensors {wrong}, the first: {names[0]}")
    verdict["change_norm"], verdict["parent_norm"] = (float(norm) for norm in squares.sqrt())
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
    model, report = AutoModelForCausalLM.from_pretrained(trained, dtype=dtype, output_loading_info=True)
    wrong = sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])
    if wrong:
        raise Rejected(f"{len(wrong)} weights are missing or have the wrong shape, the first: {wrong[0]}")
    return model.to(device).eval()


def render(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    """A prompt as the server renders it."""
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def answer(model: Any, tokenizer: Any, messages: list[dict[str, str]]) -> str:
    """What the model says to a prompt, decoded greedily."""
    import torch

    inputs = tokenizer(render(tokenizer, messages), add_special_tokens=False, return_tensors="pt").to(model.device)
    with torch.no_grad():
        tokens = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            do_sample=False,
            max_new_tokens=ANSWER_TOKENS,
        )
    return str(tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)).strip()


def sampling(asked: dict[str, Any]) -> dict[str, Any]:
    """The settings of the role that answers; what they leave open is off, whatever the model's own files say."""
    if not asked["temperature"]:
        return {"do_sample": False}
    return {
        "do_sample": True, "temperature": asked["temperature"], "top_p": asked["top_p"],
        "top_k": max(0, asked.get("top_k") or 0), "min_p": asked.get("min_p") or None,
        "repetition_penalty": asked.get("repetition_penalty") or 1.0,
    }  # fmt: skip


def answers(model: Any, tokenizer: Any, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """An answer to each prompt, drawn as in the rounds: its token ids, the prompt's, and whether it ended by itself."""
    import torch

    if not asked["prompts"]:
        return []
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    texts = [render(tokenizer, messages) for messages in asked["prompts"]]
    inputs = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt").to(model.device)
    torch.manual_seed(asked["seed"])
    with torch.no_grad():
        drawn = model.generate(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=asked["max_tokens"],
            pad_token_id=tokenizer.pad_token_id, **sampling(asked),
        )  # fmt: skip
    ends = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
    found = []
    for text, row in zip(texts, drawn[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
        at = next((n for n, token in enumerate(row) if token in ends), None)
        said = tokenizer.decode(row[:at], skip_special_tokens=True)
        cut = min((said.index(stop) for stop in asked["stop"] if stop in said), default=None)
        kept = said if cut is None else said[:cut]
        found.append({
            "prompt_ids": tokenizer(text, add_special_tokens=False)["input_ids"], "text": kept,
            "ids": tokenizer(kept, add_special_tokens=False)["input_ids"], "ended": at is not None or cut is not None,
        })  # fmt: skip
    return found


def readings(model: Any, tokenizer: Any, texts: list[str]) -> list[tuple[Any, Any]]:
    """Of each text: its token ids, and the log-probabilities (tokens - 1, vocabulary) of the next one, in 16 bits."""
    import torch

    found = []
    for text in texts:
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=TEXT_TOKENS)["input_ids"]
        if ids.shape[1] > 1:
            with torch.no_grad():
                logits = model(input_ids=ids.to(model.device)).logits[0, :-1].float()
            found.append((ids[0, 1:], logits.log_softmax(-1).half().cpu()))
    return found


def distances(of_trained: list[tuple[Any, Any]], of_parent: list[tuple[Any, Any]]) -> list[dict[str, Any]]:
    """Of each text: tokens, Kullback-Leibler divergence of the trained model from its parent, and both models' loss;
    nats, summed over the tokens."""
    found = []
    for (ids, trained), (_, parent) in zip(of_trained, of_parent, strict=True):
        p, q = parent.float(), trained.float()
        found.append({
            "tokens": len(ids), "kl": float((p.exp() * (p - q)).sum()),
            "nats": -float(q.gather(1, ids[:, None]).sum()), "parent_nats": -float(p.gather(1, ids[:, None]).sum()),
        })  # fmt: skip
    return found


def measure(model: Any, parent: Path, trained: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """What both models answer, and how far they are apart on the texts. The parent is loaded when the trained model is
    done, so that there is memory for one."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(trained)
    own, read = answers(model, tokenizer, asked), readings(model, tokenizer, asked["texts"])
    if not own and not read:
        return {"answers": [], "parent_answers": [], "texts": []}
    model.to("meta")
    before = load(parent)
    apart = distances(read, readings(before, tokenizer, asked["texts"]))
    return {"answers": own, "parent_answers": answers(before, tokenizer, asked), "texts": apart}


def check(parent: Path, trained: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """The verdict on a trained model.

    Args:
        asked: `prompt` (messages) must be answered; `prompts`, `texts`, `seed` and the sampling's `temperature`,
            `top_p`, `max_tokens` and `stop` say what is measured.

    Raises:
        Exception: whatever is no fault of the model.
    """
    from transformers import AutoTokenizer

    verdict: dict[str, Any] = dict.fromkeys(NULL) | dict.fromkeys(ZERO, 0) | {"ok": False, "problems": []}
    try:
        check_weights(parent, trained, verdict)
        verdict["weights_sha256"] = weights_sha256(trained)
        verdict["parent_parameters"] = expected_parameters(parent)
        model = load(trained)
        verdict["parameters"] = sum(parameter.numel() for parameter in model.parameters())
        if verdict["parameters"] != verdict["parent_parameters"]:
            counts = "it has {parameters} parameters, its parent {parent_parameters}"
            verdict["problems"].append(counts.format(**verdict))
        verdict["answer"] = answer(model, AutoTokenizer.from_pretrained(trained), asked["prompt"])
        if not verdict["answer"]:
            verdict["problems"].append(f"it answers nothing to the prompt: {asked['prompt'][-1]['content']}")
        verdict |= {} if verdict["problems"] else measure(model, parent, trained, asked)
    except Rejected as problem:
        verdict["problems"].append(str(problem))
    verdict["ok"] = not verdict["problems"]
    return verdict


def main(parent: str, trained: str, asked: str, output: str) -> None:
    """Write the verdict, whole or not at all."""
    temporary = Path(f"{output}.tmp")
    found = check(Path(parent), Path(trained), json.loads(Path(asked).read_text(encoding="utf-8")))
    temporary.write_text(json.dumps(found, indent=1))
    temporary.replace(output)


if __name__ == "__main__":
    run(lambda: main(*sys.argv[1:5]))
