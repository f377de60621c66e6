"""Run by the runtime environment's python: a GGUF file to a model folder that vLLM and OpenRLHF read.

Usage: convert_gguf.py FILE.gguf FOLDER
"""

import functools
import sys
from pathlib import Path
from typing import Any


def main(source: Path, target: Path) -> None:
    """Read tokenizer and weights (to bfloat16) out of `source`, and write them to `target`."""
    import gguf
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # Transformers parses the file four times, and makes the same table of names once a tensor: half of the time.
    gguf.GGUFReader = functools.cache(gguf.GGUFReader)
    gguf.get_tensor_name_map = functools.cache(gguf.get_tensor_name_map)
    where, name = str(source.parent), source.name
    tokenizer = AutoTokenizer.from_pretrained(where, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(where, gguf_file=name, dtype=torch.bfloat16)
    _mend(tokenizer, model.config)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _mend(tokenizer: Any, config: Any) -> None:
    """Special tokens as the file names them: Transformers takes its own guess (im_start as the end, no padding)."""
    for name in ("local_files_only", "is_local", "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id"):
        tokenizer.init_kwargs.pop(name, None)  # how it was read, and what the tokens say anyway
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(config.eos_token_id)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(config.pad_token_id)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
