"""What a round will do: which settings shape which stage, and the fingerprint by which a finished shard is known.

A stage's *key* hashes its own settings (config section, prompts, model); ids are made with it. Its *fingerprint* adds
the fingerprints of the stages it reads, so that a change re-does what follows and nothing else (DESIGN section 6).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from schemas.config import Config
from schemas.ids import content_id
from tasks.prompts import NAMES, Prompts

STAGES = ("shard", "propose", "answer", "rubric", "rate", "probe", "pair", "train")
TABLES_OF_STAGES = ("documents", "problems", "answers", "rubrics", "ratings", "probes", "pairs", "models")
TABLE_OF = dict(zip(STAGES, TABLES_OF_STAGES, strict=True))
ROLE_OF = {"propose": "propose", "answer": "answer", "rubric": "rubric", "rate": "judge", "probe": "judge"}
READS = {
    "shard": (), "propose": ("shard",), "answer": ("propose",), "rubric": ("propose", "answer"),
    "rate": ("rubric", "answer", "propose"), "probe": ("rate", "answer"),
    "pair": ("rate", "answer"), "train": ("pair",),
}  # fmt: skip
# raised when the code of a stage makes other rows from the same settings
VERSIONS = {"shard": 1, "propose": 1, "answer": 1, "rubric": 1, "rate": 1, "probe": 1, "pair": 1, "train": 1}


@dataclass(frozen=True)
class Plan:
    """A round's settings and identities. `models` maps each model's name to its identity (weights or served name)."""

    config: Config
    run: str
    round: int
    models: Mapping[str, str]
    prompts: Prompts
    corpus: str | None = None
    settings: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    def footer(self, stage: str) -> dict[str, Any]:
        """Provenance for the footer of a file that `stage` writes."""
        return {
            "stage": stage, "fingerprint": self.fingerprints[stage],
            "config_hash": content_id("config", self.config.model_dump()), "settings": self.settings[stage],
            "version": package_version(), "inputs": {name: self.fingerprints[name] for name in READS[stage]},
        }  # fmt: skip

    def model_of(self, stage: str) -> str:
        """Name (in `config.models`) of the model that plays the stage's role."""
        return str(getattr(self.config.roles, ROLE_OF[stage]))


def make_plan(
    config: Config, run: str, round_: int, models: Mapping[str, str], corpus: str | None = None
) -> Plan:  # fmt: skip
    """Work out settings, keys and fingerprints of every stage. `corpus` is a stamp of the corpus' content."""
    prompts = Prompts(config.task.type)
    settings = {stage: _settings(stage, config, models, prompts) for stage in STAGES}
    settings["shard"]["content"] = corpus
    keys = {stage: content_id("key", stage, VERSIONS[stage], settings[stage]) for stage in STAGES}
    prints: dict[str, str] = {}
    for stage in STAGES:
        reads = [prints[name] for name in READS[stage] if not _unread(config, stage, name)]
        prints[stage] = content_id("fingerprint", keys[stage], reads, round_ if stage == "shard" else None)
    return Plan(config, run, round_, models, prompts, corpus, settings, keys, prints)


def _unread(config: Config, stage: str, reads: str) -> bool:
    """A rubric that shows no candidate answers does not depend on them."""
    return stage == "rubric" and reads == "answer" and shown_answers(config) == 0


def shown_answers(config: Config) -> int:
    """How many candidate answers the rubric's writer sees; in stepwise calls for facts, none."""
    return config.rubric.shown_answers if config.task.dialect == "structured" else 0


def _settings(stage: str, config: Config, models: Mapping[str, str], prompts: Prompts) -> dict[str, Any]:
    """What changes a stage's output, by name: kept in the footer, so that a stale file can say what changed."""
    if stage == "shard":
        return {"corpus": config.corpus.model_dump()}
    if stage == "pair":
        return {"pairing": config.pairing.model_dump()}
    if stage == "train":
        training = config.training.model_dump(exclude={"timeout_sec", "save_steps", "enabled"})
        return {"training": training, "model": models["policy"]}
    role = ROLE_OF[stage]
    name = getattr(config.roles, role)
    variant = config.rating.mode if role == "judge" else config.task.dialect
    own: dict[str, Any] = {
        "model": models[name],
        "output_format": config.models[name].output_format,
        "max_model_len": config.models[name].max_model_len or config.engine.max_model_len,
        "engine": config.engine.model_dump(include={"dtype", "extra_args"}),
        "task": config.task.model_dump(),
        "sampling": getattr(config.sampling, role).model_dump(),
        "sampling.seed": config.sampling.seed,
        "prompts": prompts.hash(*NAMES[role][variant]),
    }
    if stage == "answer":
        own |= {"sampling.answers": config.sampling.answers, "sampling.cut_answers": config.sampling.cut_answers}
    if stage == "rubric":
        own |= {"rubric": config.rubric.model_dump()}
    if stage in ("rate", "probe"):
        own |= {"rating": config.rating.model_dump()}
    if stage == "probe":
        own |= {"probes": config.evaluation.probes}
    return own


def package_version() -> str:
    """This package's version, for footers."""
    try:
        return version("pop-selfplay")
    except PackageNotFoundError:
        return "unknown"
