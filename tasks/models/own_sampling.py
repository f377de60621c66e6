"""`sampling.ROLE.from_model`: the sampling that a model's generation_config.json states, taken into the settings."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from schemas.config import Config
from schemas.errors import UserError
from schemas.roles import Sampling
from tasks.models.resolve import Resolved
from tasks.storage.jsonfile import read_json

ROLES = ("propose", "answer", "rubric", "judge")
_OFF: dict[str, tuple[float, ...]] = {"top_k": (0, -1), "min_p": (0,), "repetition_penalty": (1,)}
NAMES = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


def with_own_sampling(config: Config, find: Callable[[str], Resolved]) -> Config:
    """The configuration with the values of `from_model` in it; a dry run has no model, and keeps what is set.

    Raises:
        UserError: the model of a role states no sampling, or none that can be used.
    """
    wanted = [role for role in ROLES if getattr(config.sampling, role).from_model]
    if not wanted or config.engine.kind == "fake":
        return config
    update = {role: _filled(role, getattr(config.sampling, role), config, find) for role in wanted}
    return config.model_copy(update={"sampling": config.sampling.model_copy(update=update)})


def _filled(role: str, sampling: Sampling, config: Config, find: Callable[[str], Resolved]) -> Sampling:
    name = getattr(config.roles, role)
    setting, folder = f"sampling.{role}.from_model", find(name).path
    if folder is None:
        raise UserError(f"{setting}: models.{name} is known by its server alone; set the values themselves")
    stated = {key: value for key, value in _stated(Path(folder), setting).items() if value is not None}
    if not stated:
        raise UserError(f"{setting}: the model states no {', '.join(NAMES)}; set the values themselves")
    if stated.get("top_k", 0) < 0:
        stated["top_k"] = 0  # as some write "all"
    try:
        return Sampling.model_validate(sampling.model_dump() | stated)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{setting}: the model states {first['loc'][0]}={first['input']!r}: {first['msg']}") from None


def filled_in_before(config: Config, models: Mapping[str, Resolved]) -> list[str]:
    """What to say of a round that was begun before models were kept by their parts, a line a model.

    Its server filled in what the settings leave open, from the model's generation_config.json; now it adds nothing.
    """
    lines = []
    for name, model in sorted(models.items()):
        playing = [role for role in ROLES if getattr(config.roles, role) == name]
        stated = read_json(Path(model.path) / "generation_config.json") if model.path else {}
        found = {key: stated.get(key) for key, off in _OFF.items() if stated.get(key) not in (None, *off)}
        set_ = {key for role in playing for key in getattr(config.sampling, role).beyond_openai()}
        if playing and (left := {key: value for key, value in found.items() if key not in set_}):
            told = ", ".join(f"{key} = {value}" for key, value in left.items())
            lines.append(
                f"models.{name}: what this round has so far was drawn with {told}, which the server took from the "
                "model's generation_config.json; the rest is drawn as the settings say (off, or sampling.ROLE."
                "from_model = true)"
            )
    return lines


def _stated(folder: Path, setting: str) -> dict[str, Any]:
    path = folder / "generation_config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{setting}: there is no {path}; set the values themselves") from None
    except ValueError:
        raise UserError(f"{setting}: {path} is no JSON") from None
    return {name: content.get(name) for name in NAMES}
