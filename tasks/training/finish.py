"""Make a servable model out of what OpenRLHF saved. Runs in the runtime environment.

    RUNTIME_PYTHON finish.py PARENT SAVED OUTPUT

OpenRLHF writes tied embeddings twice, in the dtype it trained in, with use_cache off and its own idea of the padding
token; a LoRA training leaves only an adapter. The output has the parent's dtype, configuration and tokenizer, so that
the engine serves it as it served the parent. The exit codes are those of `endings`: 3, the saved model is not whole.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from endings import Broken, run  # type: ignore[import-not-found]  # beside this file, which is run by path

# What describes a model and is not changed by training; everything else in the parent's folder stays there.
DESCRIPTIONS = (
    *("config.json", "generation_config.json", "preprocessor_config.json", "chat_template*", "tokenizer*"),
    *("special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model", "*.py", "LICENSE*"),
)


SHARD = "5GB"  # of weights a file: what a killed copy of the model to an object store costs


def parent_dtype(parent: Path) -> Any:
    """The dtype that the parent's weights are stored in."""
    import torch
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(parent).dtype or torch.float32


def refuse_torn(saved: Path) -> None:
    """Every weight file must be one: of the same folder, no second try makes another model."""
    from safetensors import SafetensorError, safe_open

    files = sorted(saved.glob("*.safetensors"))
    if not files and not list(saved.glob("*.bin")):
        raise Broken(f"OpenRLHF left no weights in {saved}")
    for path in files:
        try:
            with safe_open(path, framework="pt"):
                pass
        except SafetensorError as problem:
            raise Broken(f"{path.name} is torn: {problem}") from problem


def load_trained(parent: Path, saved: Path) -> Any:
    """The trained model with a LoRA adapter merged into it, in float32 if there is one."""
    import torch
    from transformers import AutoModelForCausalLM

    refuse_torn(saved)
    if (saved / "adapter_config.json").exists():
        from peft import PeftModel

        base = AutoModelForCausalLM.from_pretrained(parent, dtype=torch.float32)
        return PeftModel.from_pretrained(base, str(saved)).merge_and_unload()
    model, report = AutoModelForCausalLM.from_pretrained(saved, dtype=parent_dtype(parent), output_loading_info=True)
    wrong = sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])
    if wrong:
        raise Broken(f"OpenRLHF saved {len(wrong)} weights not or in the wrong shape, the first: {wrong[0]}")
    return model


def finish(parent: Path, saved: Path, output: Path) -> None:
    """Write the model to `output`, replacing what is there."""
    shutil.rmtree(output, ignore_errors=True)
    load_trained(parent, saved).to(parent_dtype(parent)).save_pretrained(output, max_shard_size=SHARD)
    for pattern in DESCRIPTIONS:
        for path in parent.glob(pattern):
            shutil.copyfile(path, output / path.name)
    for path in output.iterdir():
        path.chmod(0o644)  # safetensors are written for their owner only
        with path.open("rb") as handle:
            os.fsync(handle.fileno())


if __name__ == "__main__":
    run(lambda: finish(*(Path(argument) for argument in sys.argv[1:4])))
