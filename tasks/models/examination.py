"""Whether a model can play its roles and be trained, known before it is asked anything, and remembered by identity."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from schemas.config import Config
from schemas.errors import DependencyError, UserError
from schemas.ids import content_id
from tasks.engine.templates import written
from tasks.models.parts import parts_of
from tasks.models.resolve import Resolved
from tasks.processes.guarded import Guarded, state_dir, tail
from tasks.training.openrlhf import SCRIPTS

TIMEOUT_SEC = 900.0  # seconds on a quiet machine; a network disk may take its time
_SOURCES = ("examine.py", "token_ids.py")
_OFFLINE = dict.fromkeys(("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"), "1")


@dataclass(frozen=True)
class Examined:
    """What examine.py found.

    Attributes:
        load: why nothing can be done with the model, a line each with its mend; `chat`: why it cannot be spoken with;
            `train`: why it cannot be trained.
        messages: a question, and `prompt_ids` what a server must make of it.
        pair: that question with an answer, token by token: id, token, and whether it bears loss.
    """

    load: tuple[str, ...]
    chat: tuple[str, ...]
    train: tuple[str, ...]
    facts: Mapping[str, Any]
    messages: tuple[dict[str, str], ...]
    prompt_ids: tuple[int, ...]
    pair: tuple[dict[str, Any], ...]


def examine(model: Resolved, python: Path, trust_remote_code: bool = False) -> Examined:
    """Look a model's folder over in the runtime environment, or recall what was found.

    Raises:
        DependencyError: the examination itself died.
    """
    assert model.path is not None
    folder = state_dir() / "examined"
    name = _key(model, python, trust_remote_code)
    report, log = folder / f"{name}.json", folder / f"{name}.log"
    if not report.exists():
        command = [str(python), str(SCRIPTS / "examine.py"), model.path, str(report)]
        command += ["--trust-remote-code"] * trust_remote_code
        env = _OFFLINE | {"TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": "", "CUDA_VISIBLE_DEVICES": ""}
        code = Guarded("the examination of a model", command, env, log).wait(TIMEOUT_SEC)
        if code or not report.exists():
            raise DependencyError(f"the examination of {model.path} died (exit {code}); its log ends:\n{tail(log)}")
        log.unlink(missing_ok=True)
    found = json.loads(report.read_text(encoding="utf-8"))
    lists = {key: tuple(found[key]) for key in ("load", "chat", "train", "messages", "prompt_ids", "pair")}
    return Examined(facts=found["facts"], **lists)


def _key(model: Resolved, python: Path, trust_remote_code: bool) -> str:
    """What an examination depends on: the model, its files' names, the scripts and the packages that look at it."""
    assert model.path is not None
    files = sorted((path.name, path.is_dir()) for path in Path(model.path).iterdir())
    scripts = [hashlib.sha256((SCRIPTS / name).read_bytes()).hexdigest() for name in _SOURCES]
    packages = sorted(path.name for path in python.parents[1].glob("lib/python3*/site-packages/transformers-*"))
    own = [model.identity, parts_of(Path(model.path)), files, scripts, packages, trust_remote_code]
    return content_id("examined", *own, *([date.today().isoformat()] if _is_dated(Path(model.path)) else []))


def _is_dated(folder: Path) -> bool:
    """Whether the chat template writes today's date: its server's prompts are others tomorrow."""
    return "strftime_now" in json.dumps(written(folder))


def unfit_to_train(found: Examined, config: Config) -> list[str]:
    """Why a model cannot be trained with these settings, a line each with its mend."""
    facts, training = found.facts, config.training
    lines = [*found.load, *found.chat, *found.train]
    positions = facts.get("positions")
    if positions and positions < training.max_tokens:
        lines.append(
            f"it was made for {positions} positions, and pairs may have training.max_tokens = {training.max_tokens}: "
            f"set training.max_tokens={positions} or less"
        )
    if facts.get("opens_thoughts") and training.target == "final":
        lines.append(
            "its chat template begins the model's thoughts, so an answer without thoughts was never given: set "
            "training.target=text, or use a template that leaves the beginning to the model"
        )
    end = facts.get("end_of_turn")
    if end and not facts["ends_an_answer"] and end not in config.sampling.answer.stop:
        lines.append(
            f"a server does not end an answer at the {end} of its chat template: add {facts['end_of_turn_id']} to "
            "eos_token_id in its generation_config.json"
        )
    return lines


def speaks(name: str, config: Config) -> bool:
    """Whether a model is spoken with: a judge by likelihood only reads."""
    roles = config.roles.model_dump()
    reads = {"judge"} if config.rating.mode == "likelihood" else set()
    return any(model == name for role, model in roles.items() if role not in reads)


def require_fit(name: str, found: Examined, config: Config, trains: bool) -> None:
    """Say all at once why a model cannot do what the settings want of it.

    Raises:
        UserError: the reasons with their mends.
    """
    spoken = [*found.load, *(found.chat if speaks(name, config) else ())]
    if lines := unfit_to_train(found, config) if trains else spoken:
        cannot = "cannot be trained" if trains and not spoken else "cannot be used"
        told = "; ".join(lines).replace("models.NAME", f"models.{name}")
        raise UserError(f"models.{name} {cannot}: {told} (pop check-model {config.models[name].path} shows more)")
