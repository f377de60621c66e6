"""Tiny random models of eight shapes, each with a chat template of another kind. Runs in the runtime environment.

    RUNTIME_PYTHON shapes.py ROOT [NAME…]

A folder a model under ROOT, as a hub would give it: weights, configuration, tokenizer, chat_template.jinja.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

WORDS = (
    "What helps a person to sleep well, and why does it help? Daylight and a fixed hour of rising help most people. "
    "Yes. No. Good: it is a warm bath in the evening, one hour before bed. User Assistant user assistant model system "
    "You are a helpful assistant. 2024-01-05 00:00:00 think thoughts and the question is old. "
) * 4

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# name: model type, pieces (bytes or words), control tokens, end of sequence, generation's ends, template
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {  # BOS by template and by tokenizer; a space before and after the answer
        "pieces": "words", "special": ["<s>", "</s>"], "eos": "</s>", "bos": "<s>", "tokenizer_bos": True,
        "template": "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
        "{% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}",
    },
    "qwen2": {  # a system text by default; the end of turn is special
        "pieces": "bytes", "special": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], "eos": "<|im_end|>",
        "template": "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "{% endif %}" + CHATML,
    },
    "qwen3": {  # thoughts are cut, and empty ones put in
        "pieces": "bytes", "special": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], "eos": "<|im_end|>",
        "plain": ["<think>", "</think>"],
        "template": CHATML.replace(
            "{{ m.content }}", "{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{{ m.content.split('</think>')[-1]"
            ".lstrip('\n') }}{% else %}{{ m.content }}{% endif %}"
        ),
    },
    "gemma": {  # no system role; BOS by template; the end of turn is no end of sequence
        "pieces": "words", "special": ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"], "eos": "<eos>",
        "bos": "<bos>", "ends": ["<eos>", "<end_of_turn>"], "untied": True,  # tied, one so random repeats the newline
        "template": "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}"
        "{% endif %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}"
        "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    },
    "mistral": {  # thoughts are opened; BOS by tokenizer alone, which no chat has
        "pieces": "words", "special": ["<s>", "</s>", "[INST]", "[/INST]"], "plain": ["<think>", "</think>"],
        "eos": "</s>", "bos": "<s>", "tokenizer_bos": True,
        "template": "{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]{% else %}"
        "{{ m.content.split('</think>')[-1] }}</s>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<think>\n{% endif %}",
    },
    "gpt2": {  # the prompt ends with a space, which merges with the answer; no end of turn
        "pieces": "bytes", "special": ["<|endoftext|>"], "eos": "<|endoftext|>", "bos": "<|endoftext|>",
        "template": "{% for m in messages %}{{ 'User' if m.role == 'user' else 'Assistant' }}: {{ m.content }}\n"
        "{% endfor %}{% if add_generation_prompt %}Assistant: {% endif %}",
    },
    "gpt_neox": {  # the end of turn is added, but not special
        "pieces": "bytes", "special": ["<|endoftext|>"], "plain": ["<|user|>", "<|assistant|>", "<|end|>"],
        "eos": "<|endoftext|>", "ends": ["<|endoftext|>", "<|end|>"],
        "template": "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    },
    "phi": {  # a space that the answer begins with; the end of sequence ends the turn, the prompt's lines do not
        "pieces": "bytes", "special": ["<|endoftext|>"], "eos": "<|endoftext|>",
        "template": "{% for m in messages %}{{ 'Q' if m.role == 'user' else 'A' }}: {{ m.content }}"
        "{{ '\n' if m.role == 'user' else eos_token }}{% endfor %}{% if add_generation_prompt %}A:{% endif %}",
    },
}  # fmt: skip


def tokenizer_of(shape: dict[str, Any]) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes (GPT-2's way) or of words with a mark for spaces (Llama's way)."""
    special = shape["special"]
    core = Tokenizer(models.BPE(byte_fallback=shape["pieces"] == "words", unk_token=None))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if shape["pieces"] == "bytes":
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
    else:
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
        core.decoder = decoders.Sequence([
            decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)
        ])  # fmt: skip
        alphabet = sorted({*map(chr, range(33, 127)), "▁"})
        special = [*special, *(f"<0x{n:02X}>" for n in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=700 if shape["pieces"] == "words" else 420, special_tokens=special, initial_alphabet=alphabet,
        show_progress=False,
    )  # fmt: skip
    core.train_from_iterator([WORDS], trainer)
    if shape["pieces"] == "words":  # bytes are pieces like any other, not control tokens
        content = json.loads(core.to_str())
        content["added_tokens"] = [one for one in content["added_tokens"] if not one["content"].startswith("<0x")]
        core = Tokenizer.from_str(json.dumps(content))
    core.add_tokens([AddedToken(token, special=False, normalized=False) for token in shape.get("plain", ())])
    if shape.get("tokenizer_bos"):
        core.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", core.token_to_id("<s>"))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=shape["eos"], bos_token=shape.get("bos"), pad_token=shape["eos"],
        chat_template=shape["template"],
    )  # fmt: skip


def make(folder: Path, name: str) -> None:
    """A model folder of a shape."""
    shape = SHAPES[name]
    tokenizer = tokenizer_of(shape)
    ends = [tokenizer.convert_tokens_to_ids(token) for token in shape.get("ends", [shape["eos"]])]
    sizes = dict.fromkeys(("hidden_size", "n_embd"), 64) | dict.fromkeys(("num_hidden_layers", "n_layer"), 2)
    sizes |= dict.fromkeys(("num_attention_heads", "n_head", "num_key_value_heads"), 2)
    sizes |= {"intermediate_size": 128, "head_dim": 32, "max_position_embeddings": 512, "n_positions": 512}
    known = AutoConfig.for_model(name).to_dict()
    config = AutoConfig.for_model(
        name, **{key: value for key, value in sizes.items() if key in known or (key == "head_dim" and name == "qwen3")},
        vocab_size=len(tokenizer), bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, torch_dtype="float32",
        **({"tie_word_embeddings": False} if shape.get("untied") else {}),
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    model.generation_config.eos_token_id = ends
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    for wanted in sys.argv[2:] or SHAPES:
        make(Path(sys.argv[1]) / wanted, wanted)
