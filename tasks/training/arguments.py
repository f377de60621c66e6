"""The arguments of OpenRLHF's DPO training, and whether the pairs are enough for it."""

from schemas.errors import CheckFailed
from tasks.training.job import Prepared, TrainingJob, Workdir


def dpo_arguments(
    job: TrainingJob, prepared: Prepared, paths: Workdir, resume: bool, converted: bool = False
) -> list[str]:
    """The arguments of openrlhf.cli.train_dpo, every one that matters stated: its defaults are not the paper's."""
    values: dict[str, object] = {
        "model.model_name_or_path": paths.base(job),
        "ref.model_name_or_path": paths.base(job),
        "model.beta": job.beta,
        "model.label_smoothing": job.label_smoothing,
        "model.nll_loss_coef": job.nll_loss_coef,
        "model.aux_loss_coef": 0,
        "optim": "adam",
        "adam.lr": job.learning_rate,
        "adam.eps": job.adam_eps,
        "adam.weight_decay": job.weight_decay,
        "lr_scheduler": job.lr_scheduler,
        "lr_warmup_ratio": job.warmup_ratio,
        "min_lr_ratio": job.min_lr_ratio,
        "max_norm": job.max_grad_norm,
        "train.max_epochs": job.epochs,
        "train.batch_size": job.batch_size,
        "train.micro_batch_size": job.micro_batch_size,
        "train.seed": job.seed,
        "data.dataset": paths.data / "train.parquet",
        "data.dataset_split": "train",
        # Whole batches only: upstream computes the rest without a step, and over epochs it shifts schedule and resume.
        "data.max_samples": prepared.kept // job.batch_size * job.batch_size,
        "data.max_len": job.max_tokens,
        "data.dataloader_num_workers": 0,
        "eval.steps": -1,  # once an epoch
        "ds.zero_stage": job.zero,
        "ds.param_dtype": "bf16",  # float32 on a CPU without bfloat16: launch.py
        "ds.attn_implementation": job.attention,
        "ds.zpg": 1,
        "ds.tensor_parallel_size": 1,
        "ds.ring_attn_size": 1,
        "ds.ring_attn_head_stride": 1,
        "ds.lora.rank": job.lora_rank,
        "ds.lora.alpha": job.lora_alpha,
        "ds.lora.dropout": 0,  # target_modules stays "all-linear": as an argument it would arrive as a list, and fail
        "ckpt.output_dir": paths.saving,
        "ckpt.path": paths.checkpoints,
        "ckpt.save_steps": job.save_steps,
        # with one less, the only one is deleted before its successor is written; a converted one lies beside its source
        "ckpt.max_num": 3 if converted else 2,
        "ckpt.max_mem": 100_000_000,
        "logger.logging_steps": 1,
        "logger.tensorboard_dir": paths.events,
        "logger.wandb.run_name": "dpo",  # names the tensorboard folder too
    }
    if prepared.evaluation:
        values |= {"eval.dataset": paths.data / "eval.parquet", "eval.split": "train"}
    switches = {
        "model.ipo_enable": job.ipo,
        "model.gradient_checkpointing_enable": job.gradient_checkpointing,
        "ds.adam_offload": job.adam_offload,
        "ref.offload": job.ref_offload,
        "ds.packing_samples": job.packing,
        "ckpt.load_enable": resume,
        "ds.use_universal_ckpt": converted,
    }
    stated = [text for name, value in values.items() for text in (f"--{name}", str(value))]
    betas = ["--adam.betas", str(job.adam_beta1), str(job.adam_beta2)]
    return [*stated, *betas, *(f"--{name}" for name, on in switches.items() if on)]


def refuse_too_few(job: TrainingJob, prepared: Prepared) -> None:
    """Say no before anything is loaded when the pairs make no batch, or one whose learning rate is 0.

    Raises:
        CheckFailed: with all the numbers.
    """
    left_out = (
        f"{prepared.kept} pairs to train on (longer than {job.max_tokens} tokens: {len(prepared.too_long)}, "
        f"the longest of all has {prepared.longest_tokens}; with control tokens in an answer: "
        f"{len(prepared.control_tokens)}; held out: {prepared.evaluation})"
    )
    if prepared.kept < job.batch_size:
        raise CheckFailed(f"{left_out}; a batch takes {job.batch_size}: make more pairs or lower training.batch_size")
    if prepared.steps(job) < 2 and job.warmup_ratio > 0:
        raise CheckFailed(
            f"{left_out} make one step of {job.batch_size}, and the first step of a warm-up has learning rate 0: "
            "make more pairs, lower training.batch_size, or set training.warmup_ratio = 0"
        )
