"""Of the configuration: from answers to preference pairs, by rubrics and ratings."""

import re
from typing import Literal

from pydantic import Field, field_validator

from schemas.outputs import Criterion, Rubric
from schemas.section import Positive, Section, Share


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
