"""From a model's name in the config to weights on disk and an identity that changes when the weights do."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from schemas.config import Config, ModelConfig
from schemas.errors import UserError
from schemas.ids import content_id
from tasks.processes import state_dir

BUILT_IN = "smollm2-135m-instruct"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Resolved:
    """A model ready to be served: `identity` names its weights, `path` is a folder or a name on the hub."""

    identity: str
    path: str | None
    revision: str | None = None


def resolve(name: str, config: Config, say: Say) -> Resolved:
    """Find (for the built-in model: fetch) a model's weights.

    Raises:
        UserError: a folder without weights or configuration.
    """
    model = config.models[name]
    if config.engine.kind == "fake":
        return Resolved(f"fake:{name}", None)
    if model.base_urls:
        return Resolved(f"served:{model.served_name}", None)
    assert model.path is not None
    if model.path == BUILT_IN:
        from tasks.runtime.default_model import default_model

        folder = default_model(say)
        return Resolved(f"{BUILT_IN}:{weights_hash(folder)[:16]}", str(folder))
    return _folder_or_hub(name, model)


def _folder_or_hub(name: str, model: ModelConfig) -> Resolved:
    assert model.path is not None
    folder = Path(model.path).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists() or not weight_files(folder):
            raise UserError(
                f"models.{name}.path: {model.path} is a folder without weights; it needs config.json and *.safetensors"
            )
        return Resolved(f"weights:{weights_hash(folder)[:24]}", str(folder.resolve()))
    if model.path.startswith((".", "/", "~")) or model.path.count("/") != 1:
        raise UserError(
            f"models.{name}.path: there is no folder {model.path}; give a folder, {BUILT_IN!r}, or owner/name on the hub"
        )
    return Resolved(f"hub:{model.path}@{model.revision or 'main'}", model.path, model.revision)


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a model's weights, in order."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def weights_hash(folder: Path) -> str:
    """SHA-256 over a model folder's weight files; remembered by name, size and time, since it reads gigabytes."""
    files = weight_files(folder)
    stamp = content_id("stamp", [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in files])
    memory = state_dir() / "weights" / f"{stamp}.json"
    if memory.exists():
        return str(json.loads(memory.read_text())["sha256"])
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as handle:
            while block := handle.read(1 << 22):
                digest.update(block)
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_text(json.dumps({"sha256": digest.hexdigest()}))
    return digest.hexdigest()
