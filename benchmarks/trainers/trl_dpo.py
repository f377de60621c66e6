"""TRL's DPOTrainer with the settings given as JSON; prints the times at which its optimizer steps ended."""

import json
import sys
import time
from typing import Any

import pyarrow.parquet as pq
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer

given = json.loads(sys.argv[1])
on_cpu = given["device"] == "cpu"
with open("/proc/cpuinfo") as info:  # noqa: PTH123
    fast = not on_cpu or bool({"avx512_bf16", "amx_bf16"} & set(info.read().split()))
dtype = torch.bfloat16 if fast else torch.float32
times: list[float] = []


class Times(TrainerCallback):  # type: ignore[misc]
    """Notes when each step ends."""

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """One optimizer step is done."""
        times.append(time.time())


rows = pq.read_table(given["pairs"]).select(["prompt", "chosen", "rejected"]).to_pylist()
config = DPOConfig(
    output_dir=given["out"], per_device_train_batch_size=given["micro"],
    gradient_accumulation_steps=given["batch"] // given["micro"], learning_rate=given["rate"], beta=given["beta"],
    max_length=given["tokens"], num_train_epochs=1, lr_scheduler_type="cosine", warmup_steps=1, report_to=[],
    logging_steps=1, save_strategy="no", seed=given["seed"], use_cpu=on_cpu, bf16=False, gradient_checkpointing=False,
    max_grad_norm=1.0, disable_tqdm=True,
)  # fmt: skip
trainer = DPOTrainer(
    model=AutoModelForCausalLM.from_pretrained(given["model"], dtype=dtype), args=config,
    train_dataset=Dataset.from_list(rows), processing_class=AutoTokenizer.from_pretrained(given["model"]),
    callbacks=[Times()],
)  # fmt: skip
trainer.train()
print(json.dumps(times))
