"""Models of a known shape with random weights, made on the spot: nothing is downloaded, the arithmetic is the real one.

python benchmarks/gpu/shapes.py 7b FOLDER         # 15 GB in bfloat16; `tiny` is for rehearsals
"""

import argparse
import json
from pathlib import Path
from typing import Any

# Qwen2.5-7B's config.json as published; `tiny` keeps its ratios.
SHAPES: dict[str, dict[str, int]] = {
    "7b": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
           "num_key_value_heads": 4, "vocab_size": 152064},
    "0.5b": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
             "num_key_value_heads": 2, "vocab_size": 151936},
    "tiny": {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "vocab_size": 512},
}  # fmt: skip
POSITIONS = 32768
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_model(shape: str, folder: Path) -> Path:
    """A Qwen2 model folder of this shape, weights and byte tokenizer included; the one that is there is kept."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config

    if (folder / "ready").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    config = Qwen2Config(
        **SHAPES[shape], max_position_embeddings=POSITIONS, rope_theta=1e6, tie_word_embeddings=False,
        bos_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"  # random numbers for 7B parameters take minutes on a CPU
    with torch.device(device):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "ready").write_text(json.dumps(SHAPES[shape]))
    return folder


def make_tokenizer() -> Any:
    """One token a byte, and ChatML's marks: text of n bytes has n tokens, so that lengths can be asked for."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: n for n, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
    )  # fmt: skip
    tokenizer.chat_template = CHATML
    return tokenizer


def main() -> None:
    """Make one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    print(make_model(given.shape, given.folder))


if __name__ == "__main__":
    main()
