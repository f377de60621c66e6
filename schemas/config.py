"""The configuration: one model for a TOML file, the command line and the form in the Prefect UI.

Defaults are the paper's (arXiv 2604.20051) where it has one. Names carry their units.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from schemas.gating import EvaluationConfig, GateConfig
from schemas.preferences import PairingConfig, RatingConfig, ReuseConfig, RubricConfig
from schemas.roles import ModelConfig, RolesConfig, SamplingConfig
from schemas.section import FROZEN, Dialect, Positive, Section, Share


class CorpusConfig(Section):
    """Which documents a round reads."""

    source: str = Field("health_care", description="sample corpus, file, folder, URL of one, or hf:owner/name")
    text_column: str = Field("text", min_length=1, description="column or key that holds the text")
    title_column: str | None = Field("title", description="column that holds the title; used where it is there")
    hub_config: str | None = Field(None, description="configuration of a dataset on the hub")
    hub_split: str = Field("train", description="split of a dataset on the hub")
    documents: Positive = Field(4096, description="documents to train from, a round")
    heldout_documents: int = Field(64, ge=0, description="documents kept for evaluation, a round")
    heldout_share: Share = Field(0.05, description="share of the corpus (by document hash) never trained on")
    min_words: int = Field(50, ge=1, description="shorter documents are left out")
    max_words: int = Field(1024, ge=1, description="longer documents are cut")
    long_texts: Literal["passages", "cut"] = Field(
        "passages", description="a long text becomes several passages, or only its beginning is used"
    )
    documents_per_shard: Positive = Field(64, description="documents a task works on")
    seed: int = Field(0, description="which documents are drawn")
    index: str | None = Field(None, description="folder that `pop index` wrote; empty: a round reads the corpus itself")

    @model_validator(mode="after")
    def _bounds(self) -> "CorpusConfig":
        if self.min_words > self.max_words:
            raise ValueError(f"min_words ({self.min_words}) is above max_words ({self.max_words})")
        return self


class TaskConfig(Section):
    """What kind of problem is made, and how the model is asked."""

    type: str = Field("general", description="general, health_care, creative_writing, … or a folder of prompt files")
    dialect: Dialect = Field(
        "structured", description="structured: a JSON object a call (7B and up); stepwise: a short text a call"
    )
    max_attempts: int = Field(3, ge=1, le=10, description="tries, each with a fresh seed, for a malformed output")
    problems_per_document: int = Field(1, ge=1, le=16, description="problems written from each document")
    min_reference_words: int | None = Field(
        None, ge=1, description="shorter reference answers are malformed; empty: 1 for knowledge and math, else 5"
    )
    min_support: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="share of a reference answer's words that must stand in the document (tasks/texts/evidence.py); "
        "less is asked again; empty: 0.4 for general, health_care and knowledge, else 0",
    )
    max_similarity: float = Field(
        0.7,
        gt=0.0,
        le=1.0,
        description="problems this alike (Jaccard of word 3-grams) to an earlier one are duplicates",
    )


class TrainingConfig(Section):
    """The DPO round (defaults: the paper's). Handed to OpenRLHF one by one: none of its own defaults is used."""

    enabled: bool = Field(True, description="false: end the round with the preference pairs")
    target: Literal["final", "text"] = Field(
        "final", description="what a thinking model is trained on: what was judged, or that with its thoughts before it"
    )
    beta: float = Field(0.01, gt=0.0)
    learning_rate: float = Field(1e-6, gt=0.0)
    warmup_ratio: Share = 0.1
    min_lr_ratio: Share = Field(0.0, description="cosine ends at this share of the learning rate")
    epochs: Positive = 1
    batch_size: Positive = Field(16, description="pairs an optimizer step")
    micro_batch_size: Positive = Field(1, description="pairs a forward pass, a device")
    processes: int = Field(0, ge=0, description="that share each batch, on this machine; 0: one a GPU, one on a CPU")
    max_tokens: Positive = Field(6144, description="prompt and answer; longer pairs are left out before training")
    zero_stage: Literal[0, 1, 2, 3] = 3
    adam_offload: bool = Field(True, description="optimizer state in host memory (GPU only)")
    ref_offload: bool = Field(True, description="reference model in host memory (GPU only)")
    gradient_checkpointing: bool = False
    max_grad_norm: float = Field(1.0, gt=0.0)
    adam_beta1: Share = 0.9
    adam_beta2: Share = 0.95
    adam_eps: float = Field(1e-8, gt=0.0)
    weight_decay: float = Field(0.0, ge=0.0)
    nll_loss_coef: float = Field(0.0, ge=0.0, description="weight of the likelihood of the chosen answer in the loss")
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    lora_rank: int = Field(0, ge=0, description="0 trains all weights")
    lora_alpha: Positive = 16
    eval_share: Annotated[float, Field(ge=0.0, lt=0.5)] = Field(0.04, description="pairs kept out for the eval loss")
    save_steps: int = Field(50, ge=0, description="optimizer steps between checkpoints; 0: none")
    seed: int = 42
    timeout_sec: float = Field(86400.0, gt=0.0)

    @model_validator(mode="after")
    def _whole_batches(self) -> "TrainingConfig":
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of micro_batch_size ({self.micro_batch_size})"
            )
        return self


class EngineConfig(Section):
    """How model servers are run and talked to. Nothing here changes what is generated, but for kind and context."""

    kind: Literal["vllm", "fake"] = Field("vllm", description="fake: a stand-in server for dry runs; not a model")
    max_model_len: int | None = Field(None, ge=256, description="context in tokens; empty: the model's own")
    max_in_flight: Positive = Field(256, description="requests at once, over all shards")
    timeout_sec: float = Field(1800.0, gt=0.0, description="time for one request")
    start_timeout_sec: float = Field(900.0, gt=0.0, description="time for the server to get ready")
    max_retries: int = Field(5, ge=0, description="tries again after 5xx and broken connections, with back-off")
    max_failed_share: Share = Field(
        0.1, description="of the last 200 requests: more that are refused, fail or time out stop the stage"
    )
    max_restarts: int = Field(3, ge=0, description="times that a server of ours which died is started again, a round")
    port: int = Field(0, ge=0, le=65535, description="0: a free one")
    gpu_memory_utilization: Share = 0.9
    replicas: int = Field(
        1, ge=0, le=1024, description="servers of each model that is served here; 0: as many as its GPUs hold"
    )
    tensor_parallel_size: Positive = Field(1, description="GPUs that one server's weights are spread over")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    extra_args: tuple[str, ...] = Field((), description="further arguments for the vLLM server")


class ClusterConfig(Section):
    """The machines that servers and training run on."""

    kind: Literal["none", "ray"] = Field("none", description="ray: a Ray cluster (`pop setup --cluster` installs Ray)")
    address: str = Field("", description="host:port of the cluster's head; empty: a Ray of its own on this machine")
    cpus: int = Field(
        0, ge=0, description="CPUs of a replica or a trainer process; 0: one a GPU, and without GPUs a node's, whole"
    )
    memory_gb: float = Field(0.0, ge=0.0, description="memory of a replica or a trainer process; 0: not asked for")


class StorageConfig(Section):
    """How tables are written."""

    compression_level: int = Field(3, ge=1, le=22, description="of zstd")


class Config(Section):
    """Everything a round needs to know."""

    corpus: CorpusConfig = CorpusConfig()
    task: TaskConfig = TaskConfig()
    models: dict[str, ModelConfig] = Field(
        default_factory=lambda: {"policy": ModelConfig(path="smollm2-135m-instruct")},
        description="models by name; `policy` is the one that is trained",
    )
    roles: RolesConfig = RolesConfig()
    sampling: SamplingConfig = SamplingConfig()
    rubric: RubricConfig = RubricConfig()
    rating: RatingConfig = RatingConfig()
    pairing: PairingConfig = PairingConfig()
    reuse: ReuseConfig = ReuseConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    gate: GateConfig = GateConfig()
    engine: EngineConfig = EngineConfig()
    cluster: ClusterConfig = ClusterConfig()
    storage: StorageConfig = StorageConfig()

    @model_validator(mode="after")
    def _roles_have_models(self) -> "Config":
        if "policy" not in self.models:
            raise ValueError("models.policy is missing: it is the model that is trained")
        named = {f"roles.{role}": name for role, name in self.roles.model_dump().items()}
        named |= {"evaluation.examiner": self.evaluation.examiner, "evaluation.judge": self.evaluation.judge}
        for setting, name in named.items():
            if name not in self.models and name != FROZEN:
                known = ", ".join(sorted({*self.models, FROZEN}))
                raise ValueError(f"{setting} names the model {name!r}, but models has only: {known}")
        return self

    @model_validator(mode="after")
    def _answers_differ(self) -> "Config":
        answer = self.sampling.answer
        made = not (self.reuse.answers or self.reuse.rubrics or self.reuse.ratings)
        if self.sampling.answers > 1 and answer.temperature == 0 and not answer.from_model and made:
            raise ValueError(
                f"sampling.answers={self.sampling.answers} answers at temperature 0 are all the same and make no pair: "
                "set sampling.answer.temperature above 0"
            )
        return self

    @model_validator(mode="after")
    def _likelihood_is_kept(self) -> "Config":
        if self.pairing.control == "own_likelihood" and not self.sampling.own_likelihood:
            raise ValueError("pairing.control=own_likelihood needs sampling.own_likelihood=true, which keeps it")
        return self

    @model_validator(mode="after")
    def _judgements_differ(self) -> "Config":
        if self.rating.samples > 1 and self.rating.mode != "pointwise":
            raise ValueError(
                f"rating.samples={self.rating.samples} needs rating.mode=pointwise: {self.rating.mode} judges the same "
                "thing the same way again, or every answer several times already"
            )
        if self.rating.mode == "likelihood" and self.rubric.criteria and not any(c.gold for c in self.rubric.criteria):
            raise ValueError("rating.mode=likelihood needs criteria with a gold fact: give rubric.criteria one")
        if self.rating.samples > 1 and self.sampling.judge.temperature == 0:
            raise ValueError(
                f"rating.samples={self.rating.samples} judgements at temperature 0 are all the same: "
                "set sampling.judge.temperature above 0"
            )
        return self

    def model_of(self, role: str) -> ModelConfig:
        """The model that plays a role, by the role's name; `frozen` stands for the policy where it is not described."""
        name = getattr(self.roles, role)
        return self.models.get(name) or self.models["policy"]

    def dialect_of(self, role: str) -> Dialect:
        """How the model that plays a role is asked."""
        return self.model_of(role).dialect or self.task.dialect
