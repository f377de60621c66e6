"""The scripts of the runtime environment, in that environment."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.processes.guarded import state_dir
from tasks.training import openrlhf
from tasks.training.job import TrainingJob
from tests.training.samples import PREPARED, SCRIPTS, stated, write_pairs


@pytest.fixture(scope="session")
def tokenizer_files() -> Path:
    """The default model's folder, of which only the tokenizer is used."""
    folder = state_dir() / "models/smollm2-135m-instruct"
    if not (folder / "tokenizer.json").exists():
        pytest.skip(f"the default model is not there ({folder}): `pop setup` makes it")
    return folder


def run(python: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a script in the runtime environment, offline."""
    env = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    command = [str(python), *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)


MAKE_MODELS = """
import shutil, sys
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

source, root, scripts = (Path(argument) for argument in sys.argv[1:4])
sys.path.insert(0, str(scripts))
import check, finish, json

torch.manual_seed(0)
parent = root / "parent"
config = LlamaConfig(vocab_size=49152, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                     num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True,
                     bos_token_id=1, eos_token_id=2, pad_token_id=2)
LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(parent)
for path in (*source.glob("tokenizer*"), *source.glob("chat_template*")):
    shutil.copyfile(path, parent / path.name)
weights = load_file(parent / "model.safetensors")
name = "model.layers.1.mlp.up_proj.weight"

def variant(folder, changed):
    shutil.copytree(parent, root / folder)
    save_file(changed, root / folder / "model.safetensors", metadata={"format": "pt"})
    return root / folder

saved = {key: value.float() + 0.01 for key, value in weights.items()}
saved["lm_head.weight"] = saved["model.embed_tokens.weight"].clone()  # tied, and saved twice: as OpenRLHF does
finish.finish(parent, variant("saved", saved), root / "good")
broken = {
    "unchanged": variant("unchanged", weights),
    "nan": variant("nan", {**weights, name: weights[name] * float("nan")}),
    "empty": variant("empty", {**weights, name: torch.empty(0, dtype=torch.bfloat16)}),
    "missing": variant("missing", {key: value + 1 for key, value in weights.items() if key != name}),
    "none": root / "none",
}
messages = [{"role": "user", "content": "Hello"}]
asked = {"prompt": messages, "prompts": [messages] * 2, "texts": ["Sleep is good for all. " * 9], "temperature": 1.0,
         "top_p": 1.0, "max_tokens": 20, "stop": [], "seed": 0}
verdicts = {kind: check.check(parent, folder, asked) for kind, folder in {"good": root / "good", **broken}.items()}
(root / "verdicts.json").write_text(json.dumps(verdicts))
"""


@pytest.mark.runtime
def test_the_check_finds_what_is_wrong_with_a_model(runtime: Path, tokenizer_files: Path, tmp_path: Path) -> None:
    done = run(runtime, "-c", MAKE_MODELS, tokenizer_files, tmp_path, SCRIPTS)
    assert done.returncode == 0, done.stderr
    verdicts = json.loads((tmp_path / "verdicts.json").read_text())
    good = verdicts.pop("good")
    assert good["ok"] and good["answer"] and good["parameters"] == good["parent_parameters"]
    assert len(good["answers"]) == len(good["parent_answers"]) == 2 and all(row["ids"] for row in good["answers"])
    assert good["texts"][0]["kl"] > 0 and 0 < good["change_norm"] < good["parent_norm"]
    assert good["tensors_changed"] == good["tensors"] == 20  # the tied head is no tensor of its own
    sizes = [(tmp_path / folder / "model.safetensors").stat().st_size for folder in ("parent", "good")]
    assert abs(sizes[0] - sizes[1]) < 100  # bfloat16 again, and tied weights once
    for name in ("config.json", "chat_template.jinja", "generation_config.json"):  # what it is asked by, and its ends
        assert (tmp_path / "good" / name).read_text() == (tmp_path / "parent" / name).read_text()

    found = {kind: "; ".join(verdict["problems"]) for kind, verdict in verdicts.items()}
    expected = {
        "unchanged": "no weight changed",
        "nan": r"1 of 20 tensors hold NaN .*layers\.1\.mlp\.up_proj",
        "empty": r"1 of 20 tensors are empty .*layers\.1\.mlp\.up_proj",
        "missing": r"1 weights are missing .*layers\.1\.mlp\.up_proj",
        "none": "were not saved",
    }
    for kind, pattern in expected.items():
        assert re.search(pattern, found[kind]), (kind, found[kind])
        assert not verdicts[kind]["ok"]


@pytest.mark.runtime
def test_pairs_are_counted_in_tokens_and_rendered_whole(runtime: Path, tokenizer_files: Path, tmp_path: Path) -> None:
    pairs = write_pairs(
        tmp_path / "pairs.parquet", {"c": ("Yes.", "No."), "a": ("Good.", "Bad."), "b": ("word " * 200, "No.")}
    )
    done = run(runtime, SCRIPTS / "prepare.py", tokenizer_files, pairs, tmp_path / "out", "--max-tokens", "100")
    assert done.returncode == 0, done.stderr
    prepared = json.loads((tmp_path / "out/prepared.json").read_text())
    assert (prepared["kept"], prepared["evaluation"], prepared["template_ok"]) == (2, 0, True)
    assert [row["pair_id"] for row in prepared["too_long"]] == ["b"]
    assert prepared["longest_tokens"] == prepared["too_long"][0]["tokens"] > 200
    assert pq.ParquetFile(tmp_path / "out/train.parquet").read(["pair_id"])["pair_id"].to_pylist() == ["a", "c"]
    example = (tmp_path / "out/example.txt").read_text()
    assert example.count("<|im_start|>system") == 2 and "assistant\nGood.<|im_end|>\n" in example
    assert all(f"{token!r}  loss" in example for token in ("Good", "<|im_end|>"))


@pytest.mark.runtime
def test_a_wrong_end_of_sequence_and_no_template_are_seen(runtime: Path, tokenizer_files: Path, tmp_path: Path) -> None:
    model, pairs = tmp_path / "model", write_pairs(tmp_path / "pairs.parquet", {"a": ("Good.", "Bad.")})
    model.mkdir()
    config = json.loads((tokenizer_files / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({**config, "eos_token": "<|endoftext|>"}))
    (model / "tokenizer.json").write_bytes((tokenizer_files / "tokenizer.json").read_bytes())
    command: list[str | Path] = [SCRIPTS / "prepare.py", model, pairs, tmp_path / "out", "--max-tokens", "100"]
    refused = run(runtime, *command)
    assert refused.returncode == 2 and "has no chat template" in refused.stderr.splitlines()[-1]

    (model / "chat_template.jinja").write_bytes((tokenizer_files / "chat_template.jinja").read_bytes())
    done = run(runtime, *command)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out/prepared.json").read_text())["end_of_turn"] == "<|im_end|>"
    row = pq.ParquetFile(tmp_path / "out/train.parquet").read().to_pylist()[0]
    assert (row["chosen_ids"][-1], row["chosen_ids"].count(2)) == (2, 1)  # where the judged text ended, and once


@pytest.mark.runtime
def test_a_template_that_drops_a_part_of_the_answer_drops_nothing_of_what_is_trained_on(
    runtime: Path, tokenizer_files: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tokenizer_files, model)
    template = (model / "chat_template.jinja").read_text()
    (model / "chat_template.jinja").write_text(
        template.replace("message['content']", "message['content'].split('</think>')[-1]")
    )
    pairs = write_pairs(tmp_path / "pairs.parquet", {"a": ("<think>Hm.</think>Good.", "Bad.")})
    command: list[str | Path] = [SCRIPTS / "prepare.py", model, pairs, tmp_path / "out", "--max-tokens", "100"]
    done = run(runtime, *command)
    example = (tmp_path / "out/example.txt").read_text()
    assert done.returncode == 0 and "assistant\n<think>Hm.</think>Good.<|im_end|>" in example


FOLLOW = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import metrics
events, target = Path(sys.argv[1]) / "events", Path(sys.argv[1]) / "metrics.jsonl"
for attempt, steps in enumerate(((1, 2, 3), (3, 4))):  # killed after 3, whose checkpoint was that of 2
    with metrics.following(events, target):
        from torch.utils.tensorboard import SummaryWriter
        writer = SummaryWriter(str(events / "dpo"), filename_suffix=str(attempt))
        for step in steps:
            for name in ("loss", "acc", "chosen_reward", "reject_reward", "lr", "grad_norm", "loss_mean", "acc_mean"):
                writer.add_scalar(f"train/{name}", float("nan") if (name, step) == ("grad_norm", 2) else step, step)
            time.sleep(0.1)
        writer.add_scalar("eval/eval_loss", 0.5, steps[-1])
        writer.add_scalar("eval/acc_mean", 0.75, steps[-1])
        if attempt:
            writer.close()
        else:
            time.sleep(3)  # long enough to be on disk without a close, as before a kill
    time.sleep(1)
"""


@pytest.mark.runtime
def test_metrics_hold_every_step_once_over_a_resume(runtime: Path, tmp_path: Path) -> None:
    done = run(runtime, "-c", FOLLOW, tmp_path, SCRIPTS)
    assert done.returncode == 0, done.stderr
    rows = openrlhf.read_rows(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert [row["grad_norm"] for row in rows] == [1, None, 3, 4]
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds) and seconds[-1] < 5
    assert openrlhf.read_rows(tmp_path / "metrics_eval.jsonl")[-1] == {"step": 4, "loss": 0.5, "accuracy": 0.75}


# Options of train_dpo that are left alone: off, or without a meaning here. A new one in an upgrade must be looked at.
LEFT_ALONE = {
    *("ckpt.save_hf", "ckpt.disable_ds", "ds.use_universal_ckpt", "ds.deepcompile", "train.full_determinism_enable"),
    *("data.disable_fast_tokenizer", "local_rank", "ds.experts_implementation", "ds.use_liger_kernel"),
    *("ds.grad_accum_dtype", "ds.overlap_comm", "model.gradient_checkpointing_reentrant", "ds.load_in_4bit"),
    *("muon.lr", "muon.momentum", "muon.ns_steps", "muon.nesterov", "muon.no_nesterov"),
    *("data.apply_chat_template", "data.prompt_key", "data.chosen_key", "data.rejected_key"),  # the rows are token ids
    *("ds.lora.target_modules", "data.dataset_probs", "data.input_template", "data.tokenizer_chat_template", "use_ms"),
    *("logger.wandb.key", "logger.wandb.org", "logger.wandb.group", "logger.wandb.project"),
}


@pytest.mark.runtime
def test_every_option_of_the_trainer_is_stated_or_left_alone_on_purpose(runtime: Path, job: TrainingJob) -> None:
    sources = list(runtime.parents[1].glob("lib/python3*/site-packages/openrlhf/cli/train_dpo.py"))
    upstream = set(re.findall(r'add_argument\(\s*"--([\w.]+)"', sources[0].read_text()))
    switched_on = replace(job, device="cuda", ipo=True, gradient_checkpointing=True, adam_offload=True)
    everything = replace(switched_on, ref_offload=True, packing=True)
    ours = set(stated(everything, replace(PREPARED, evaluation=1), resume=True))
    assert ours <= upstream
    assert upstream - ours == LEFT_ALONE
