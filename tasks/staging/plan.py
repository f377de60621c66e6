"""What a round will do: which settings shape which stage, and the fingerprint by which a finished shard is known.

A stage's *key* hashes its own settings (config section, prompts, model); ids are made with it. Its *fingerprint* adds
the fingerprints of the stages it reads, so that a change re-does what follows and nothing else (DESIGN section 6).
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from schemas.config import Config
from schemas.ids import content_id
from schemas.preferences import PairingConfig
from schemas.version import package_version
from tasks.prompts import HINT, Prompts, names_of

STAGES = ("shard", "propose", "answer", "rubric", "rate", "probe", "pair", "train")
TABLES_OF_STAGES = ("documents", "problems", "answers", "rubrics", "ratings", "probes", "pairs", "models")
TABLE_OF = dict(zip(STAGES, TABLES_OF_STAGES, strict=True))
ROLE_OF = {"propose": "propose", "answer": "answer", "rubric": "rubric", "rate": "judge", "probe": "judge"}
READS = {
    "shard": (), "propose": ("shard",), "answer": ("propose",), "rubric": ("propose", "answer"),
    "rate": ("rubric", "answer", "propose"), "probe": ("rate", "answer"),
    "pair": ("rate", "answer"), "train": ("pair",),
}  # fmt: skip
# How many rows there are is not what any one of them is: with more answers, those that there are stay.
NOT_IN_KEYS = frozenset(
    {"sampling.answers", "task.problems_per_document", "task.max_similarity", "task.max_attempts", "earlier_rounds",
     "sampling.own_likelihood", "sampling.hints"}
)  # fmt: skip
# raised when the code of a stage makes other rows from the same settings
# 2: only whole answers and references count, criteria have evidence, and saying nothing earns nothing
VERSIONS = {"shard": 1, "propose": 2, "answer": 2, "rubric": 2, "rate": 2, "probe": 2, "pair": 1, "train": 1}
_PROBLEMS = ("problems_per_document", "max_similarity", "min_reference_words")


@dataclass(frozen=True)
class Source:
    """Another round whose rows a stage takes over: `name` is run/round, `fingerprint` what its files must have."""

    name: str
    fingerprint: str

    @property
    def run(self) -> str:
        """Name of the run."""
        return self.name.rpartition("/")[0]

    @property
    def round(self) -> int:
        """Number of the round."""
        return int(self.name.rpartition("/")[2])


@dataclass(frozen=True)
class Plan:
    """A round's settings and identities. `models` maps each model's name to its identity (weights or served name)."""

    config: Config
    run: str
    round: int
    models: Mapping[str, str]
    prompts: Prompts
    corpus: str | None = None
    reused: Mapping[str, Source] = field(default_factory=dict)
    settings: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    def footer(self, stage: str) -> dict[str, Any]:
        """Provenance for the footer of a file that `stage` writes."""
        source = self.reused.get(stage)
        return {
            "stage": stage, "reused_from": source.name if source else None, "fingerprint": self.fingerprints[stage],
            "config_hash": content_id("config", self.config.model_dump()), "settings": self.settings[stage],
            "version": package_version(), "inputs": {name: self.fingerprints[name] for name in READS[stage]},
        }  # fmt: skip

    def manifest(self, finished: bool = False) -> dict[str, Any]:
        """What a round was begun with, and at its very end that it is `finished`."""
        return {
            "run": self.run, "round": self.round, "version": package_version(), "finished": finished,
            "written": datetime.now(UTC).isoformat(timespec="seconds"), "config": self.config.model_dump(mode="json"),
            "models": dict(self.models), "corpus": self.corpus, "earlier": self.settings["propose"]["earlier_rounds"],
            "reused": {stage: asdict(source) for stage, source in self.reused.items()},
            "fingerprints": {stage: self.fingerprints[stage] for stage in STAGES},
        }  # fmt: skip

    def model_of(self, stage: str) -> str:
        """Name (in `config.models`) of the model that plays the stage's role."""
        return str(getattr(self.config.roles, ROLE_OF[stage]))

    def asks(self, stage: str) -> bool:
        """Whether the stage asks a model at all."""
        given = stage == "rubric" and self.config.rubric.criteria
        return stage in ROLE_OF and stage not in self.reused and not given


def make_plan(
    config: Config, run: str, round_: int, models: Mapping[str, str], corpus: str | None = None,
    earlier: str | None = None, reused: Mapping[str, Source] | None = None,
) -> Plan:  # fmt: skip
    """Work out settings, keys and fingerprints of every stage.

    Args:
        corpus: a stamp of the corpus' content.
        earlier: a stamp of the problems of earlier rounds, which this round's must not repeat.
        reused: the stages whose rows come from another round.
    """
    prompts, reused = Prompts(config.task.type), reused or {}
    settings = {stage: _settings(stage, config, models, prompts) for stage in STAGES}
    settings["shard"]["content"] = corpus
    settings["propose"]["earlier_rounds"] = earlier
    keys = {stage: content_id("key", stage, VERSIONS[stage], _of_rows(settings[stage])) for stage in STAGES}
    prints: dict[str, str] = {}
    for stage in STAGES:
        reads = [prints[name] for name in READS[stage] if not unread(config, stage, name)]
        own = content_id("settings", settings[stage])
        prints[stage] = content_id("fingerprint", keys[stage], own, reads, round_ if stage == "shard" else None)
        if source := reused.get(stage):
            prints[stage] = content_id("reused", source.name, source.fingerprint)
    return Plan(config, run, round_, models, prompts, corpus, reused, settings, keys, prints)


def _of_rows(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that make a row what it is; how many rows there are is left out."""
    return {name: value for name, value in settings.items() if name not in NOT_IN_KEYS}


def followers(config: Config, stages: Collection[str]) -> set[str]:
    """The stages and all that are made from them."""
    found = set(stages)
    for stage in STAGES:  # in order, so once over them is enough
        if any(name in found and not unread(config, stage, name) for name in READS[stage]):
            found.add(stage)
    return found


def unread(config: Config, stage: str, reads: str) -> bool:
    """Whether a stage does without one that it usually reads: a rubric may have no answers in view."""
    return stage == "rubric" and reads == "answer" and shown_answers(config) == 0


def shown_answers(config: Config) -> int:
    """How many candidate answers the rubric's writer sees; where it asks for facts or writes nothing, none."""
    if config.dialect_of("rubric") == "stepwise" or config.rubric.criteria:
        return 0
    if config.rubric.shown_answers is not None:
        return config.rubric.shown_answers
    return 5 if config.task.type == "creative_writing" else 11


LATER_PAIRING = ("min_chosen_score", "min_margin_spreads", "window", "include_reference")
IN_THE_DOCUMENT = ("general", "health_care", "knowledge")  # problems whose answers are found there, not made


def least_support(config: Config) -> float:
    """What a criterion's gold fact needs of the document; nothing where its writer does not see that."""
    if not config.rubric.show_document or config.rubric.criteria:
        return 0.0
    least = config.rubric.min_support
    return least if least is not None else 0.6 if config.task.type in IN_THE_DOCUMENT else 0.0


def least_reference_support(config: Config) -> float:
    """What a reference answer needs of the document."""
    least = config.task.min_support
    return least if least is not None else 0.4 if config.task.type in IN_THE_DOCUMENT else 0.0


def _settings(stage: str, config: Config, models: Mapping[str, str], prompts: Prompts) -> dict[str, Any]:
    """What changes a stage's output, by name: kept in the footer, so that a stale file can say what changed."""
    if stage == "shard":
        return {"corpus": config.corpus.model_dump(exclude={"index"})}  # the documents are the same with one
    if stage == "pair":
        return {"pairing": _pairing(config), "training.target": config.training.target}
    if stage == "train":
        training = config.training.model_dump(exclude={"timeout_sec", "save_steps", "processes", "enabled", "target"})
        return {"training": training, **_identity(models["policy"])}
    role = ROLE_OF[stage]
    name = getattr(config.roles, role)
    if stage == "rubric" and config.rubric.criteria:
        return {"rubric.criteria": [criterion.model_dump() for criterion in config.rubric.criteria]}
    own: dict[str, Any] = {
        **_identity(models[name]),
        "output_format": config.model_of(role).output_format,
        "max_model_len": config.model_of(role).max_model_len or config.engine.max_model_len,
        "engine": config.engine.model_dump(include={"dtype", "extra_args"}),
        "task.type": config.task.type,
        "task.dialect": config.dialect_of(role),
        "task.max_attempts": config.task.max_attempts,
        "sampling": getattr(config.sampling, role).identity(),
        "sampling.seed": config.sampling.seed,
        "prompts": prompts.hash(*names_of(role, config.dialect_of(role), config.rating.mode)),
    }
    if stage == "propose":
        own |= {f"task.{key}": getattr(config.task, key) for key in _PROBLEMS}
        own |= {"task.min_support": least} if (least := least_reference_support(config)) else {}
    if stage == "answer":
        own |= {"sampling.answers": config.sampling.answers, "sampling.cut_answers": config.sampling.cut_answers}
        own |= {"sampling.own_likelihood": True} if config.sampling.own_likelihood else {}  # rows made before had none
        if config.sampling.hints:  # blind answers keep their ids; what a hinted one has seen is in its own
            own |= {"sampling.hints": {"share": config.sampling.hints} | prompts.hash(HINT)}
    if stage == "rubric":
        written = config.rubric.model_dump(exclude={"criteria", "min_support"})
        held = {"min_support": least} if (least := least_support(config)) else {}
        own |= {"rubric": written | {"shown_answers": shown_answers(config)} | held}
    if stage in ("rate", "probe"):
        own |= {"rating": _rating(config)}
    if stage == "probe":
        own |= {"probes": config.evaluation.probes}
    return own


def _identity(model: str) -> dict[str, str]:
    """A model's identity, and by name the parts of it that the run did not begin with (`weights:…;chat_template=…`)."""
    plain, *parts = re.split(r";(?=[a-z_]+=\w+(?:;|$))", model)
    return {"model": plain} | {f"model.{name}": value for name, _, value in (part.partition("=") for part in parts)}


def changed_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted names of the settings that differ, each with its old and its new value; None where there is none."""
    before, after = _flat(json.loads(json.dumps(old))), _flat(json.loads(json.dumps(new)))
    both = {name: (before.get(name), after.get(name)) for name in sorted(before.keys() | after.keys())}
    return {name: (a, b) for name, (a, b) in both.items() if a != b}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _pairing(config: Config) -> dict[str, Any]:
    """The pairing section without the settings that came later and are off, and without the share that only one control
    looks at: rounds made before stay what they are."""
    off = {name for name in LATER_PAIRING if getattr(config.pairing, name) == PairingConfig.model_fields[name].default}
    return config.pairing.model_dump(exclude=off if config.pairing.control == "flipped" else off | {"flipped_share"})


def _rating(config: Config) -> dict[str, Any]:
    """The rating section without the settings that the mode does not look at."""
    of_mode = {
        "likelihood_scale_nats": "likelihood", "contradiction_weight": "likelihood", "max_comparisons": "pairwise",
    }  # fmt: skip
    others = {key for key, mode in of_mode.items() if config.rating.mode != mode}
    return config.rating.model_dump(exclude=others)


def why_not_trained(config: Config) -> str | None:
    """Why a round with these settings ends with its pairs; None where it trains."""
    if not config.training.enabled:
        return "training.enabled is false"
    if config.engine.kind == "fake":
        return "the texts come from the fake engine: there is nothing to learn from them"
    if config.models["policy"].path is None:
        return "models.policy has no path: weights that only a server has cannot be trained here"
    return None
