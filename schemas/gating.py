"""The sections of the configuration that say how a candidate is measured, and what is promoted."""

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from schemas.exams import ExamConfig
from schemas.section import FROZEN, Section

Suite = Literal["heldout", "grounded", "winrate", "perplexity", "ifeval", "lm_eval", "exam"]
EXAM = "exam"  # of which each exam is a suite of its own: `exam.NAME`


class EvaluationConfig(Section):
    """How a candidate is measured against the model that it came from. Nothing here changes what a round makes,
    but for the probes of its judge."""

    suites: tuple[Suite, ...] = Field(
        ("heldout", "winrate", "perplexity"),
        description="heldout: rubric scores on problems from held-out documents; grounded: how much of these the "
        "answers have, by program; winrate: compared in both orders; perplexity of held-out documents; ifeval: "
        "instructions that a program checks; lm_eval: tasks of lm-eval; exam: each of evaluation.exams",
    )
    examiner: str = Field(FROZEN, description="writes the problems and rubrics, once a run: frozen, or one of models")
    judge: str = Field(FROZEN, description="rates and compares the answers: frozen, or one of models")
    problems: int = Field(128, ge=2, le=4096, description="problems made from held-out documents, at most")
    answers: int = Field(2, ge=1, le=32, description="answers a problem, of each model")
    rating_mode: Literal["pointwise", "logprob", "likelihood"] | None = Field(
        None, description="how answers are rated; empty: as in the rounds, where that rates them one by one"
    )
    perplexity_words: int = Field(300, ge=20, le=8192, description="words of each held-out document that are scored")
    bootstrap_samples: int = Field(2000, ge=200, le=100_000, description="resamples for each 95 % interval")
    seed: int = Field(0, description="of the sampling and of the bootstrap")
    ifeval_file: str | None = Field(None, description="IFEval's prompts: a .jsonl file as google/IFEval has it")
    ifeval_limit: int | None = Field(None, ge=1, description="prompts used, spread over the file; empty: all")
    ifeval_max_tokens: int = Field(1280, ge=16, le=32768, description="tokens of an answer to IFEval, at most")
    exams: tuple[ExamConfig, ...] = Field(
        (), description="files of questions of your own, sat in the suite exam; no problem may share 13 words with them"
    )
    files: tuple[str, ...] = Field(
        (), description="evaluation data (.jsonl, .json, .csv, .parquet, text) that no problem may share 13 words with"
    )
    probes: int = Field(4, ge=0, description="problems a round whose judge is probed with made answers; 0: none")
    lm_eval_tasks: tuple[str, ...] = Field((), description="tasks of lm-eval, by name")
    lm_eval_limit: int | None = Field(None, ge=1, description="examples a task of lm-eval; empty: all")
    lm_eval_include: str | None = Field(None, description="folder with task files of your own for lm-eval")
    timeout_sec: float = Field(14400.0, gt=0.0, description="time for one suite")

    @model_validator(mode="after")
    def _complete(self) -> "EvaluationConfig":
        if "ifeval" in self.suites and self.ifeval_file is None:
            raise ValueError("the suite ifeval needs evaluation.ifeval_file: the path of its .jsonl file")
        if "lm_eval" in self.suites and not self.lm_eval_tasks:
            raise ValueError("the suite lm_eval needs evaluation.lm_eval_tasks: names of its tasks")
        if EXAM in self.suites and not self.exams:
            raise ValueError("the suite exam needs evaluation.exams: a name and a file for each exam")
        names = [one.name for one in self.exams]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two of evaluation.exams are called {twice[0]!r}: their figures would be mixed up")
        return self

    @property
    def measured(self) -> tuple[str, ...]:
        """The suites that run, in order; each exam is one of its own, `exam.NAME`."""
        exams = tuple(f"{EXAM}.{one.name}" for one in self.exams)
        return tuple(name for suite in self.suites for name in (exams if suite == EXAM else (suite,)))


def _metric_name(name: str) -> str:
    suite, dot, metric = name.partition(".")
    named = suite != EXAM or "." in metric
    if suite not in get_args(Suite) or not dot or not metric.endswith("difference") or not named:
        raise ValueError(
            f"{name!r} is no difference to the parent: heldout.difference, grounded.difference, winrate.difference, "
            "winrate.length_controlled_difference, perplexity.difference, ifeval.prompt_strict_difference or "
            "exam.NAME.difference"
        )
    return name


Metric = Annotated[str, AfterValidator(_metric_name)]


class Bounds(Section):
    """From where on a figure of a trained model is told (`warn`), and makes the model broken; empty: never."""

    warn: float | None = None
    broken: float | None = None


class HealthConfig(Section):
    """What a training may do to a model; the figures are in `models`. Defaults: what healthy trainings of the 135M
    model stay well within and trainings that broke it do not (benchmarks/RESULTS.md)."""

    loss: Bounds = Field(Bounds(warn=2.0, broken=20.0), description="largest loss of a step; it begins at 0.69")
    grad_norm: Bounds = Field(Bounds(warn=1000.0), description="largest gradient norm of a step, before clipping")
    changed_share: Bounds = Field(Bounds(warn=0.0001), description="share of the weights that changed: fewer")
    weight_change: Bounds = Field(
        Bounds(warn=0.05, broken=0.5), description="length of the change of all weights, as a share of their own"
    )
    kl_from_parent: Bounds = Field(
        Bounds(warn=0.2, broken=2.0), description="divergence from the parent on held-out text, nats a token"
    )
    heldout_rise: Bounds = Field(
        Bounds(warn=0.2, broken=2.0), description="rise of the loss on held-out text, nats a token"
    )
    shorter: Bounds = Field(Bounds(warn=0.5), description="tokens an answer, as a share of the parent's: fewer")
    longer: Bounds = Field(Bounds(warn=2.0), description="tokens an answer, as a multiple of the parent's: more")
    new_tokens: Bounds = Field(
        Bounds(warn=0.7, broken=0.1),
        description="different tokens an answer that its prompt does not have, as a share of the parent's: fewer",
    )
    repetition: Bounds = Field(
        Bounds(warn=0.2, broken=0.6), description="rise of the share of an answer's 4-token runs that came before in it"
    )
    ended: Bounds = Field(Bounds(warn=0.4), description="fall of the share of answers that end by themselves")


class GateConfig(Section):
    """The decision whether a candidate is promoted. All metrics are differences to the parent: above 0 is better."""

    audits: Literal["block", "warn", "off"] = Field(
        "block",
        description="before training, a blocking audit that fails: stops the round, is told, or is not looked at",
    )
    metric: Metric = Field("heldout.difference", description="the one that decides")
    threshold: float = Field(
        0.0, ge=-10.0, le=10.0, description="the lower end of the metric's 95 % interval must be above this"
    )
    guards: dict[Metric, Annotated[float, Field(ge=0.0, le=100.0)]] = Field(
        default_factory=lambda: {"perplexity.difference": 0.2},
        description="metrics that may fall by at most this much (perplexity: nats a token); further: rolled back",
    )
    share_tolerance: float = Field(
        0.05,
        ge=0.0,
        le=1.0,
        description="the shares of finished and of rated answers may be this much below the parent's; else the metric "
        "must clear the threshold with the missing answers at their worst",
    )
    correct_rounds: bool = Field(
        False,
        description="widen the interval with each candidate asked of the same parent, so that many rounds err "
        "as seldom as one question",
    )
    min_problems: int = Field(16, ge=2, le=100_000, description="problems that the metric must rest on")
    health: HealthConfig = Field(HealthConfig(), description="what the check of a trained model looks at")
    patience: int = Field(3, ge=1, le=1000, description="rounds in a row without a promotion after which to stop")
    max_rounds: int = Field(100, ge=1, le=10_000, description="rounds of a run, at most")
    keep_unpromoted: int = Field(
        1, ge=0, le=1000, description="weights kept of the newest models that were not promoted (promoted ones stay)"
    )
