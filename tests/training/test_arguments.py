"""The trainer's arguments: each setting reaches it, and impossible ones are refused."""

from dataclasses import replace
from typing import Any

import pytest

from schemas.errors import CheckFailed, UserError
from schemas.load import load_config
from tasks.training.arguments import refuse_too_few
from tasks.training.job import TrainingJob
from tests.training.samples import PREPARED, stated


def test_the_paper_settings_are_stated_not_left_to_upstream_defaults(job: TrainingJob) -> None:
    arguments = stated(job)
    paper = {
        "model.beta": "0.01",
        "adam.lr": "1e-06",
        "lr_scheduler": "cosine_with_min_lr",
        "min_lr_ratio": "0.0",
        "lr_warmup_ratio": "0.1",
        "train.max_epochs": "1",
        "train.batch_size": "16",
        "data.max_len": "6144",
    }
    assert {name: arguments[name] for name in paper} == {name: [value] for name, value in paper.items()}
    assert arguments["adam.betas"] == ["0.9", "0.95"]


@pytest.mark.parametrize(
    ("field", "value", "option", "values"),
    [
        ("max_grad_norm", 0.5, "max_norm", ["0.5"]),
        ("nll_loss_coef", 0.2, "model.nll_loss_coef", ["0.2"]),
        ("label_smoothing", 0.1, "model.label_smoothing", ["0.1"]),
        ("adam_beta2", 0.99, "adam.betas", ["0.9", "0.99"]),
        ("seed", 7, "train.seed", ["7"]),
        ("lora_rank", 8, "ds.lora.rank", ["8"]),
        ("ipo", True, "model.ipo_enable", []),
        ("gradient_checkpointing", True, "model.gradient_checkpointing_enable", []),
        ("adam_offload", True, "ds.adam_offload", []),
        ("device", "cuda", "ds.attn_implementation", ["flash_attention_2"]),
    ],
)
def test_a_setting_reaches_the_trainer(
    job: TrainingJob, field: str, value: Any, option: str, values: list[str]
) -> None:
    assert stated(job).get(option) != values
    assert stated(replace(job, **{field: value}))[option] == values


def test_only_whole_batches_are_trained_on(job: TrainingJob) -> None:
    assert stated(replace(job, batch_size=4), replace(PREPARED, kept=11))["data.max_samples"] == ["8"]


def test_impossible_settings_are_the_users_mistake(job: TrainingJob) -> None:
    with pytest.raises(UserError, match=r"batch_size \(16\) must be a multiple .*\(3\)"):
        replace(job, micro_batch_size=3)
    with pytest.raises(UserError, match="packing"):
        replace(job, packing=True)


def test_too_few_pairs_are_refused_with_the_numbers(job: TrainingJob) -> None:
    few = replace(PREPARED, kept=3, too_long=[{"pair_id": "x", "tokens": 9000}], longest_tokens=9000)
    with pytest.raises(CheckFailed, match=r"3 pairs .*6144 tokens: 1, .*9000.* a batch takes 16"):
        refuse_too_few(job, few)
    with pytest.raises(CheckFailed, match="learning rate 0"):
        refuse_too_few(job, PREPARED)
    refuse_too_few(replace(job, warmup_ratio=0.0), PREPARED)
    refuse_too_few(replace(job, epochs=2), PREPARED)


def test_the_demo_trains_on_as_few_pairs_as_another_cpu_may_leave_it(job: TrainingJob) -> None:
    asked = load_config("demo").training
    small = replace(job, batch_size=asked.batch_size, micro_batch_size=asked.micro_batch_size,
                    warmup_ratio=asked.warmup_ratio, epochs=asked.epochs)  # fmt: skip
    for kept in (2, 3, 7):
        refuse_too_few(small, replace(PREPARED, kept=kept))
