"""What a model is beside its weights: tokenizer, chat template, generation settings, configuration, code of its own.

A run knows a model by its weights alone, as long as the rest is what the run first met it with (`manifests/models.json`
keeps that). A part that is another one then stands in the identity by name, so that what was made with the old one is
made again, and two models of the same weights are not taken for one. Runs from before that file begin to know it with
their next start.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.engine.templates import written
from tasks.models.resolve import Resolved
from tasks.training.job import TOKENIZER_FILES

PARTS = ("config", "tokenizer", "chat_template", "generation_config", "code")
_NOISE = ("transformers_version", "_name_or_path", "_from_model_config", "_commit_hash")
Known = dict[str, dict[str, str]]  # identity by weights → part → hash


def parts_of(folder: Path) -> dict[str, str]:
    """A short hash of every part of a model folder; `none` where there is no such part."""
    settings = _read(folder / "tokenizer_config.json")
    if isinstance(settings, dict):
        settings.pop("chat_template", None)
    files = (path for pattern in TOKENIZER_FILES for path in folder.glob(pattern) if path.is_file())
    tokenizer = {path.name: _file(path) for path in files}
    code = {path.name: _file(path) for path in folder.glob("*.py") if path.is_file()}
    return {
        "config": _hash(_quiet(_read(folder / "config.json"))),
        "tokenizer": _hash([tokenizer, _quiet(settings)]),
        "chat_template": _hash(written(folder)),
        "generation_config": _hash(_quiet(_read(folder / "generation_config.json"))),
        "code": _hash(code),
    }


def told_apart(models: Mapping[str, Resolved], known: Known) -> dict[str, Resolved]:
    """The models with identities that say which part is not the one that the run began with; `known` grows by the new.

    The policy comes first: of two models with the same weights it is the one that keeps the plain identity.
    """
    found = dict(models)
    for name in sorted(models, key=lambda name: (name != "policy", name)):
        model = models[name]
        if model.path is None:
            continue
        parts = parts_of(Path(model.path))
        first = known.setdefault(model.served, parts)
        other = [part for part in PARTS if part in first and parts[part] != first[part]]
        marks = "".join(f";{part}={parts[part]}" for part in other)
        found[name] = replace(
            model, identity=model.identity + marks, weights=model.served + marks, changed=tuple(other)
        )
    return found


def _quiet(content: Any) -> Any:
    """Without what a library notes of itself."""
    return {key: value for key, value in content.items() if key not in _NOISE} if isinstance(content, dict) else content


def _read(path: Path) -> Any:
    """JSON; text where it is none; None where there is no file."""
    text = _text(path)
    try:
        return json.loads(text) if text is not None else None
    except ValueError:
        return text


def _text(path: Path) -> str | None:
    return path.read_bytes().decode(errors="replace") if path.is_file() else None


def _file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _hash(content: Any) -> str:
    if content in (None, {}, [{}, None]):
        return "none"
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
