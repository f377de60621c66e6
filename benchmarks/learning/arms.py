"""What is compared: the arms, and the settings by which each is a run of its own."""

from dataclasses import dataclass
from typing import Any

from benchmarks.learning.judge import CRITERIA, NAME
from schemas.config import Config
from schemas.load import check, load_config

BASE = "base"  # the run whose answers and ratings of the first round all arms share; it trains nothing
Sections = dict[str, dict[str, Any]]
CONTROLS = ("shuffled", "reversed", "own_likelihood", "length")
# name to the settings that differ from the judge's own pairs. One that samples otherwise has answers of its own to the
# same problems; all others have the base's
ARMS: dict[str, Sections] = {
    "truth": {},
    **{name: {"pairing": {"control": name}} for name in CONTROLS},
    **{
        f"flipped_{share}": {"pairing": {"control": "flipped", "flipped_share": share / 100}}
        for share in (12, 25, 37, 50)
    },
    "reference": {"pairing": {"include_reference": True}},
    "reference_nll": {"pairing": {"include_reference": True}, "training": {"nll_loss_coef": 0.2}},
    "hints": {"sampling": {"hints": 0.3}},
}
OFF_CURVE = (BASE, "own_likelihood", "length", "reference", "reference_nll", "hints")  # no share of right pairs
CURVE = ("truth", "flipped_12", "flipped_25", "flipped_37", "flipped_50", "reversed")


@dataclass(frozen=True)
class Size:
    """How much of everything. By the parts' own times on two quiet cores the defaults take an hour and a half: 5
    minutes for the base, 6 for the first round of an arm, 10 for each other one. The arms of `once` have one round. By
    half as many pairs and steps nothing was seen to be learned (RESULTS.md)."""

    source: str = "health_care"
    documents: int = 10
    problems_per_document: int = 8
    answers: int = 6
    heldout_documents: int = 10
    heldout_share: float = 0.25
    rounds: int = 3
    epochs: int = 1
    batch_size: int = 4
    arms: tuple[str, ...] = ("truth", "shuffled", "reversed", "own_likelihood", "length")
    once: tuple[str, ...] = ("own_likelihood", "length")
    margins_only: bool = False  # what was learned is looked for in held-out pairs alone; no new answers, no score
    extra: tuple[str, ...] = ()

    def rounds_of(self, arm: str) -> int:
        """Rounds of an arm."""
        return 1 if arm in self.once else self.rounds


def config_of(size: Size, arm: str, seed: int, judge: str | None, first: bool) -> Config:
    """The settings of an arm.

    Args:
        judge: address of the planted judge; None: the model judges by the likelihood of its rubric's facts.
        first: the round whose answers and ratings are the base's; the base itself makes them.
    """
    data = load_config("demo", list(size.extra)).model_dump()
    data["corpus"] |= {
        "source": size.source, "documents": size.documents, "heldout_documents": size.heldout_documents,
        "heldout_share": size.heldout_share, "documents_per_shard": size.documents, "seed": seed,
    }  # fmt: skip
    data["task"] |= {"problems_per_document": size.problems_per_document}
    data["sampling"] |= {"answers": size.answers, "seed": seed, "own_likelihood": True}
    data["pairing"] |= {"min_margin": 0.05}
    data["training"] |= {
        "enabled": arm != BASE, "learning_rate": 8e-5, "beta": 0.05, "epochs": size.epochs,
        "batch_size": size.batch_size, "seed": 42 + seed,
    }  # fmt: skip
    data["evaluation"] |= {
        "suites": ("heldout", "grounded"), "problems": size.heldout_documents * size.problems_per_document,
        "answers": 2, "probes": 0,
    }  # fmt: skip
    data["engine"] |= {"timeout_sec": 1800.0}  # a loaded machine is slow, not broken
    data["gate"] |= {"audits": "off"}  # which look at rubrics and judges, and would stop a control for being one
    differs = ARMS.get(arm, {})
    for section, settings in differs.items():
        data[section] |= settings
    if arm != BASE and first:
        data["reuse"] = {"problems" if "sampling" in differs else "ratings": f"{run_name(BASE, seed)}/0"}
    if judge is not None:
        data["models"]["planted"] = {"base_urls": (judge,), "served_name": NAME}
        data["roles"] |= {"judge": "planted"}
        data["rubric"] |= {"criteria": CRITERIA}
        data["rating"] |= {"mode": "logprob"}
        data["evaluation"] |= {"judge": "planted"}
    return check(data)


def run_name(arm: str, seed: int) -> str:
    """A run is an arm with a seed."""
    return f"{arm}-{seed}"
