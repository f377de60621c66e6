"""What one training is: its inputs and settings, its identity, its folder, and what comes out of it."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

from schemas.config import ClusterConfig
from schemas.errors import UserError
from tasks.storage.jsonfile import read_json

VERSION = 1  # of what a job's hash covers; a new one makes every training anew
NOT_IDENTITY = {
    "python",
    "model",
    "preferences",
    "workdir",
    "save_steps",
    "timeout_sec",
    "processes",
    "cluster",
    "check_prompt",
    "trust_remote_code",
}

# Of a model's files, those that a training depends on.
MODEL_FILES = ("*.safetensors", "*.bin", "config.json", "tokenizer*.json", "special_tokens_map.json", "chat_template*")
TOKENIZER_FILES = (
    *("tokenizer.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt"),
    *("*.model", "*.tiktoken", "tekken.json"),
)


@dataclass(frozen=True)
class TrainingJob:
    """One DPO training. The defaults are the paper's (section 4 of arXiv 2604.20051)."""

    python: Path  # of the runtime environment
    model: Path  # the parent's folder: policy at the start, and reference model
    preferences: Path  # Parquet: pair_id, prompt, chosen, rejected
    workdir: Path  # this training's own: checkpoints, logs, metrics, and in the end model/
    device: Literal["cpu", "cuda"] = "cpu"
    beta: float = 0.01
    learning_rate: float = 1e-6
    lr_scheduler: str = "cosine_with_min_lr"
    min_lr_ratio: float = 0.0
    warmup_ratio: float = 0.1
    epochs: int = 1
    batch_size: int = 16  # pairs an optimizer step, over all devices
    micro_batch_size: int = 1  # pairs a forward pass, on one device
    processes: int = 0  # 0: one a GPU, and one on a CPU
    cluster: ClusterConfig = field(default_factory=ClusterConfig)  # where they run
    max_tokens: int = 6144  # of a whole conversation
    zero_stage: int | None = None  # None: what suits the device
    adam_offload: bool = False
    ref_offload: bool = False
    gradient_checkpointing: bool = False
    max_grad_norm: float = 1.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.95
    adam_eps: float = 1e-8
    weight_decay: float = 0.0
    nll_loss_coef: float = 0.0
    label_smoothing: float = 0.0
    ipo: bool = False
    lora_rank: int = 0  # 0: all weights are trained
    lora_alpha: int = 16
    seed: int = 42
    eval_share: float = 0.04
    save_steps: int = -1  # optimizer steps between checkpoints; -1: none
    attn_implementation: str | None = None  # None: what the device has
    packing: bool = False  # needs flash-attn
    timeout_sec: float | None = None
    check_prompt: str = "What helps a person to sleep well?"
    trust_remote_code: bool = False  # the model's own Python code may run

    def __post_init__(self) -> None:
        if self.batch_size % self.micro_batch_size:
            raise UserError(
                f"training.batch_size ({self.batch_size}) must be a multiple of training.micro_batch_size "
                f"({self.micro_batch_size})"
            )
        if self.device == "cpu" and self.packing:
            raise UserError("training.packing needs flash-attn, so a GPU: set training.packing = false")

    @property
    def zero(self) -> int:
        """The ZeRO stage asked for, or the device's usual one.

        One process has nothing to partition: there stage 2 costs 20 s of CPU time more than 1 at the start, and 0 logs
        no gradient norm.
        """
        usual = 2 if self.device == "cuda" else 1
        return usual if self.zero_stage is None else self.zero_stage

    @property
    def attention(self) -> str:
        """The attention implementation asked for, or the device's usual one."""
        return self.attn_implementation or ("flash_attention_2" if self.device == "cuda" else "sdpa")


@dataclass(frozen=True)
class Prepared:
    """What prepare.py made of the pairs."""

    kept: int  # rows to train on
    evaluation: int  # rows held out
    too_long: list[dict[str, Any]]  # pair_id and tokens of what is left out
    longest_tokens: int  # of all pairs, those left out included
    template_ok: bool
    end_of_turn: str  # the token that ends an answer in the text trained on
    control_tokens: list[dict[str, Any]] = field(default_factory=list)  # pair_id and token of what would train them

    def steps(self, job: TrainingJob) -> int:
        """Optimizer steps that the kept rows are good for."""
        return self.kept // job.batch_size * job.epochs


@dataclass(frozen=True)
class TrainedModel:
    """A model that passed its check."""

    path: Path
    weights_sha256: str
    parameters: int
    answer: str
    prepared: Prepared
    example: Path  # one training example as the trainer read it
    evaluation: dict[str, Any] | None  # step, loss and accuracy on the held-out pairs, where there are any
    figures: dict[str, float | None] = field(default_factory=dict)  # of `tasks.training.health`
    warnings: tuple[str, ...] = ()  # which of them are out of bounds, in words


@dataclass(frozen=True)
class Workdir:
    """The names inside a training's folder."""

    root: Path

    @property
    def job(self) -> Path:
        """Whose folder this is: the job's hash and settings."""
        return self.root / "job.json"

    @property
    def data(self) -> Path:
        """prepare.py's output."""
        return self.root / "data"

    @property
    def checkpoints(self) -> Path:
        """DeepSpeed's, of this job alone: with a shared path two trainings resume each other."""
        return self.root / "checkpoints"

    @property
    def events(self) -> Path:
        """Tensorboard's event files."""
        return self.root / "tensorboard"

    @property
    def metrics(self) -> Path:
        """One JSON line an optimizer step."""
        return self.root / "metrics.jsonl"

    @property
    def saving(self) -> Path:
        """OpenRLHF's output while it may be half there."""
        return self.root / "saved.tmp"

    @property
    def saved(self) -> Path:
        """OpenRLHF's output, whole."""
        return self.root / "saved"

    @property
    def finished(self) -> Path:
        """The model before it is checked."""
        return self.root / "model.tmp"

    @property
    def model(self) -> Path:
        """The model; it is there only after its check passed."""
        return self.root / "model"

    @property
    def verdict(self) -> Path:
        """check.py's output."""
        return self.root / "verdict.json"

    @property
    def evaluations(self) -> Path:
        """Loss and accuracy on the held-out pairs, one JSON line an epoch."""
        return self.root / "metrics_eval.jsonl"

    @property
    def broken(self) -> Path:
        """There while the last model that came out was not fit for use."""
        return self.root / "broken"

    @property
    def cache(self) -> Path:
        """The datasets library's, which would otherwise keep every training's pairs in the user's home."""
        return self.root / "cache"

    def log(self, name: str) -> Path:
        """The log of one of the subprocesses."""
        return self.root / "logs" / f"{name}.log"

    def base(self, job: TrainingJob) -> Path:
        """The folder to train from: the parent."""
        return job.model.resolve()

    def clear(self) -> None:
        """Remove everything that belongs to one job, except a model."""
        for folder in (self.data, self.checkpoints, self.events, self.saving, self.saved, self.finished, self.cache):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.metrics, self.evaluations, self.verdict, self.broken):
            file.unlink(missing_ok=True)


def job_hash(job: TrainingJob) -> str:
    """A hash of everything that determines the trained model: settings, pairs, parent's weights.

    Where things lie is not part of it, nor how often a checkpoint is saved.
    """
    settings = {name: value for name, value in asdict(job).items() if name not in NOT_IDENTITY}
    total = hashlib.sha256(json.dumps([VERSION, settings], sort_keys=True).encode())
    for pair in _pairs_in_order(job.preferences):
        total.update(pair)
    whole = (job.model / "tokenizer.json").exists()  # else the tokenizer is made of the other files
    patterns = MODEL_FILES if whole else (*MODEL_FILES, *TOKENIZER_FILES)
    for path in sorted({path for pattern in patterns for path in job.model.glob(pattern)}):
        with path.open("rb") as handle:
            total.update(path.name.encode() + hashlib.file_digest(handle, "sha256").digest())
    return total.hexdigest()


def _pairs_in_order(path: Path) -> Iterator[bytes]:
    """Every pair as JSON, by pair_id: sorted on the disk, since a round's pairs may be larger than is worth holding."""
    places: list[tuple[str, int, int]] = []
    with pq.ParquetFile(path) as file, tempfile.TemporaryFile() as spool:
        for batch in file.iter_batches(64, columns=["pair_id", "prompt", "chosen", "rejected"], use_threads=False):
            for pair in batch.to_pylist():
                said = json.dumps(pair, sort_keys=True).encode()
                places.append((str(pair["pair_id"]), spool.tell(), len(said)))
                spool.write(said)
        for _, at, size in sorted(places):
            spool.seek(at)
            yield spool.read(size)


def claim(job: TrainingJob) -> Workdir:
    """The job's folder, free of another job's work: neither its checkpoints nor its model may be taken for ours."""
    paths, identity = Workdir(job.workdir.resolve()), job_hash(job)
    paths.root.mkdir(parents=True, exist_ok=True)
    before = read_json(paths.job).get("hash")
    if before == identity:
        return paths
    if paths.model.exists():  # it may have been promoted and be in use: keep it, under another name
        kept = paths.root / f"model.{str(before)[:8]}"
        shutil.rmtree(kept, ignore_errors=True)  # from the same job: the same model
        paths.model.replace(kept)
    paths.clear()
    write_json(paths.job, {"hash": identity, "job": asdict(job)})
    return paths


def write_json(path: Path, value: dict[str, Any]) -> None:
    """A whole file or none."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(json.dumps(value, indent=1, default=str))
    temporary.replace(path)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSON-lines file; a last line that is still being written is left for later.

    A power cut may leave zero bytes where a line had been written; they are passed over.
    """
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [json.loads(line) for each in whole.splitlines() if (line := each.strip(b"\0"))]
