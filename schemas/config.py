"""The configuration: one model for a TOML file, the command line and the form in the Prefect UI.

Defaults are the paper's (arXiv 2604.20051) where it has one. Names carry their units.
"""

import json
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from schemas.gating import EvaluationConfig, GateConfig
from schemas.outputs import Criterion, Rubric
from schemas.section import FROZEN, Positive, Section, Share

Dialect = Literal["structured", "stepwise"]


class CorpusConfig(Section):
    """Which documents a round reads."""

    source: str = Field("health_care", description="sample corpus, file, folder, or hf:owner/name")
    text_column: str = Field("text", description="column or key that holds the text")
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


# what every request carries by the other settings; `params` may leave it out or give it another name
STANDARD_PARAMS = ("temperature", "top_p", "max_tokens", "seed", "stop", "logprobs", "top_logprobs")
_NOT_PARAMS = {"model", "messages", "prompt", "n", "stream", "response_format", "structured_outputs", "api_key"}


class ModelConfig(Section):
    """A model that a role can be played by."""

    path: str | None = Field(None, description="smollm2-135m-instruct, a local folder, or a name on the HF hub")
    revision: str | None = Field(None, description="revision on the HF hub")
    base_urls: tuple[str, ...] = Field((), description="OpenAI-compatible servers that already run this model")
    served_name: str | None = Field(None, description="the model's name at those servers")
    api_key_env: str | None = Field(None, description="environment variable that holds the key")
    output_format: Literal["json_schema", "tags"] = Field(
        "json_schema", description="json_schema: the server constrains the output; tags: parsed from tagged text"
    )
    max_model_len: int | None = Field(None, ge=256, description="context in tokens, where the server does not say")
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="of every request: added (top_k = 20), left out (seed = false), or under another name "
        '(max_tokens = "max_completion_tokens")',
    )
    dialect: Dialect | None = Field(None, description="how this model is asked; empty: as task.dialect says")
    trust_remote_code: bool = Field(False, description="Python code in the model's own folder may run here")
    usd_per_million_prompt_tokens: float | None = Field(None, ge=0, description="price; empty: not known")
    usd_per_million_completion_tokens: float | None = Field(None, ge=0, description="price; empty: not known")

    @field_validator("params")
    @classmethod
    def _known_changes(cls, params: dict[str, Any]) -> dict[str, Any]:
        for name, value in params.items():
            if name in _NOT_PARAMS:
                raise ValueError(f"{name} is none of the parameters that can be set here")
            number = name == "top_logprobs" and type(value) is int and 1 <= value <= 20
            if name in STANDARD_PARAMS and value is not False and not number and not (isinstance(value, str) and value):
                other = "sampling.<role>" if name in ("temperature", "top_p", "max_tokens", "stop") else "sampling.seed"
                raise ValueError(
                    f'{name} = false leaves it out, {name} = "another_name" renames it; its value is {other}\'s'
                )
        try:
            json.dumps(params, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError("a parameter is a text, a number, true, false, or a list or table of them") from None
        return params

    @model_validator(mode="after")
    def _one_source(self) -> "ModelConfig":
        if self.path is None and not self.base_urls:
            raise ValueError("a model needs a path (to be served here) or base_urls (of servers that run it)")
        if self.base_urls and self.served_name is None:
            raise ValueError("base_urls need served_name: the model's name at those servers")
        if any(urlsplit(url).scheme not in ("http", "https") for url in self.base_urls):
            raise ValueError("base_urls begin with http:// or https://")
        # they stand in `generations`, and no key may
        if any("@" in urlsplit(url).netloc or urlsplit(url).query for url in self.base_urls):
            raise ValueError("base_urls must not hold a key or password: name its variable in api_key_env")
        return self


class RolesConfig(Section):
    """Which model plays each role: `policy` (all by it is self-play, the paper's way), `frozen` (the policy that the
    run began with), or one named under `models`."""

    propose: str = Field("policy", description="writes problems and reference answers")
    answer: str = Field("policy", description="answers without the document")
    rubric: str = Field("policy", description="writes rubrics with the document in view")
    judge: str = Field("policy", description="rates answers by the rubric")


class Sampling(Section):
    """How one role's text is drawn."""

    temperature: float = Field(1.0, ge=0.0, le=5.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    max_tokens: Positive = Field(6144, description="tokens to generate at most")
    stop: tuple[str, ...] = Field((), description="texts at which generation ends")
    top_k: int = Field(0, ge=0, description="likeliest tokens to draw from; 0: all")
    min_p: Share = Field(0.0, description="tokens less likely than this share of the likeliest are not drawn; 0: off")
    repetition_penalty: float = Field(1.0, gt=0.0, le=10.0, description="above 1: what was said is less likely; 1: off")
    from_model: bool = Field(
        False,
        description="temperature, top_p, top_k, min_p and repetition_penalty as the model's generation_config.json "
        "states them; what it leaves open stays as set here",
    )

    def beyond_openai(self) -> dict[str, Any]:
        """The parameters that OpenAI's protocol does not have, where they are set: servers may refuse them."""
        return self.model_dump(include={"top_k", "min_p", "repetition_penalty"}, exclude_defaults=True)

    def identity(self) -> dict[str, Any]:
        """What shapes a text. A parameter that is off is left out: so it was before there was a setting for it."""
        plain = self.model_dump(include={"temperature", "top_p", "max_tokens", "stop"})
        return plain | self.beyond_openai()


class SamplingConfig(Section):
    """Sampling of each role (defaults: the paper's)."""

    answers: Positive = Field(32, description="answers a problem")
    propose: Sampling = Sampling()
    answer: Sampling = Sampling()
    rubric: Sampling = Sampling(temperature=0.0, max_tokens=8192)
    judge: Sampling = Sampling(temperature=0.0, max_tokens=4096)
    cut_answers: Literal["drop", "sentence"] = Field(
        "drop", description="an answer cut at max_tokens: not used, or used up to its last full sentence"
    )
    seed: int = Field(0, description="another seed draws other texts from the same prompts")
    own_likelihood: bool = Field(
        False, description="keep how likely each answer was to the model that wrote it (answers.own_logprob)"
    )


class RubricConfig(Section):
    """How rubrics are written."""

    max_criteria: int = Field(5, ge=1, le=10)
    shown_answers: int | None = Field(
        None,
        ge=0,
        description="candidate answers in view, by length rank; empty: 5 for creative writing, else 11",
    )
    shown_answer_max_words: Positive = Field(2048, description="each is cut to this many words")
    min_support: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="share of a gold fact's words that its passage of the document must hold (tasks/texts/evidence.py);"
        " by a criterion with less nothing is rated; empty: 0.6 for general, health_care and knowledge, else 0",
    )
    show_document: bool = Field(True, description="false: the ablation without document and reference in view")
    criteria: tuple[Criterion, ...] = Field((), max_length=10, description="a rubric of your own, for every problem")

    @field_validator("criteria")
    @classmethod
    def _unique(cls, criteria: tuple[Criterion, ...]) -> tuple[Criterion, ...]:
        if criteria:
            Rubric(criteria=list(criteria))
        return criteria


class RatingConfig(Section):
    """How answers are rated by a rubric."""

    mode: Literal["pointwise", "logprob", "likelihood", "pairwise", "anchor", "auto"] = Field(
        "pointwise",
        description="pointwise: the judge writes 0, 1 or 2 a criterion; logprob: how likely each of the three is; "
        "likelihood: how much likelier the answer makes each gold fact; pairwise: every two answers; "
        "anchor: each answer against one of median length; auto: the one that orders best for its cost in a trial on "
        "the run's first problems",
    )
    samples: int = Field(1, ge=1, le=25, description="judgements an answer (pointwise, with a temperature above 0)")
    max_comparisons: int | None = Field(
        None, ge=1, description="comparisons a problem (pairwise), each in both orders; empty: every two answers"
    )
    likelihood_scale_nats: float = Field(
        0.5, gt=0.0, description="gain in nats a token at which a likelihood rating is 2·tanh(1/2) ≈ 0.92"
    )
    contradiction_weight: float = Field(
        0.0,
        ge=0.0,
        le=10.0,
        description="likelihood: what an answer says against a fact is taken off its score, times this; 0: it is worth "
        "as much as silence",
    )
    own_likelihood: bool = Field(
        True, description="the zero line: how likely the judge's model finds each answer by itself, where it can say so"
    )


Control = Literal["none", "shuffled", "reversed", "flipped", "random", "own_likelihood", "length"]


class PairingConfig(Section):
    """How answers become preference pairs."""

    strategy: Literal["best_worst", "all_above_margin", "top_fraction"] = Field(
        "best_worst",
        description="best_worst: the widest pair of each problem; all_above_margin: every two answers at least "
        "min_margin apart; top_fraction: the widest pairs of the round's widest problems",
    )
    min_answers: int = Field(2, ge=2, description="rated answers a problem needs")
    min_deviation: float = Field(0.001, ge=0.0, description="scores closer together than this are a tie")
    min_margin: float = Field(0.0, ge=0.0, le=2.0, description="chosen must score this much higher")
    max_length_gap_words: int = Field(100, ge=0, description="chosen and rejected differ by at most this many words")
    max_length_gap_characters: int | None = Field(
        None, ge=0, description="the same in characters, for languages without spaces"
    )
    min_chosen_score: float = Field(
        0.0, ge=0.0, le=2.0, description="chosen must score at least this; 0: it tells more than nothing by its margin"
    )
    min_margin_spreads: float = Field(
        0.0, ge=0.0, le=100.0, description="the least margin in units of the judge's own spread (tasks/pair.py)"
    )
    window: tuple[Share, Share] | None = Field(
        None,
        description="problems to pair, by the mean of their answers between an answer that tells nothing (0) and the "
        "reference (1), such as [0.1, 0.9]; empty, as in the paper: all",
    )
    include_reference: bool = Field(
        False,
        description="beyond the paper: the reference may be chosen, too. It is no text of the policy's own: wants a "
        "smaller learning rate or training.nll_loss_coef",
    )
    top_fraction: float = Field(0.4, gt=0.0, le=1.0, description="share of problems that top_fraction keeps")
    max_pairs_per_problem: Positive = Field(8, description="pairs that all_above_margin keeps, widest first")
    control: Control = Field(
        "none",
        description="for experiments. shuffled: which of the two is chosen is drawn by lot; reversed: the worse one "
        "is; flipped: it is in flipped_share of the pairs; random: two answers are drawn by lot, the better one is "
        "chosen; own_likelihood, length: of the same problems the likeliest answer by the model itself, or the longest",
    )
    flipped_share: Share = Field(0.25, description="share of the pairs that control=flipped turns round, by lot")

    @field_validator("window")
    @classmethod
    def _in_order(cls, window: tuple[float, float] | None) -> tuple[float, float] | None:
        if window is not None and window[0] >= window[1]:
            raise ValueError(f"from {window[0]} to {window[1]} there is nothing: give the lower end first")
        return window


class ReuseConfig(Section):
    """Rows taken from another round of the same root instead of being made anew, each as `run/round`."""

    problems: str | None = Field(None, description="take that round's documents and problems")
    answers: str | None = Field(None, description="and its answers")
    rubrics: str | None = Field(None, description="and its rubrics")
    ratings: str | None = Field(None, description="and its ratings")

    @field_validator("*")
    @classmethod
    def _run_and_round(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[\w.-]+/\d{1,6}", value):
            raise ValueError(f"{value!r} is not run/round, such as demo/0")
        return value


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
