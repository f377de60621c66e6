"""From a preset's name or a TOML file and `--set` overrides to a checked Config, with errors that name the mend."""

import difflib
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from schemas.config import Config
from schemas.errors import UserError

PROJECT = Path(__file__).resolve().parent.parent
PRESETS = PROJECT / "configs"


def presets() -> list[str]:
    """Names of the presets that the project ships."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_config(name: str, overrides: list[str] | None = None) -> Config:
    """Read a preset or a TOML file and apply `key.sub=value` overrides.

    Raises:
        UserError: no such preset or file, broken TOML, an unknown key (the nearest known one is named), a value out
            of bounds.
    """
    data = _read(name)
    for override in overrides or []:
        _apply(data, override)
    return check(data)


def check(data: dict[str, Any]) -> Config:
    """Validate, saying the first error in one line."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise UserError(_one_line(_unknown_key(first["loc"]))) from None
        message = first["msg"].removeprefix("Value error, ")
        got = "" if isinstance(first["input"], dict | BaseModel) else f" (got {first['input']!r})"
        raise UserError(_one_line(f"config: {where + ': ' if where else ''}{message}{got}")) from None


def _one_line(message: str) -> str:
    return " ".join(message.split())  # a quoted TOML key may hold a line end


def _read(name: str) -> dict[str, Any]:
    path = Path(name)
    if path.suffix != ".toml":
        if name not in presets():
            raise UserError(f"no preset is called {name!r}{did_you_mean(name, presets())}; presets: {_listed()}")
        path = PRESETS / f"{name}.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"no such config file: {name}; presets: {_listed()}") from None
    except OSError as error:
        raise UserError(f"cannot read the config file {name}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{name} is not valid TOML: {error}") from None


def _listed() -> str:
    return ", ".join(presets())


def _apply(data: dict[str, Any], override: str) -> None:
    key, sep, text = override.partition("=")
    if not sep or not key:
        raise UserError(f"--set wants key.sub=value, got {override!r}")
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    *parents, last = key.strip().split(".")
    for part in parents:
        node = data.setdefault(part, {})
        if not isinstance(node, dict):
            raise UserError(f"--set {key}: {part} is a value, not a section")
        data = node
    data[last] = value


def did_you_mean(word: str, known: list[str]) -> str:
    """`; did you mean 'x'?` where a known word is near, else nothing."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _unknown_key(location: tuple[int | str, ...]) -> str:
    model: type[BaseModel] = Config
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
        elif part == "models":
            from schemas.roles import ModelConfig

            model = ModelConfig
    known = sorted(model.model_fields)
    where = ".".join(map(str, location))
    return f"config: there is no {where}{did_you_mean(str(location[-1]), known)}; known here: {', '.join(known)}"
