"""The files that hold a model's weights, and the hash over them that a model is known by."""

import hashlib
import json
from pathlib import Path

from schemas.ids import content_id
from tasks.processes.guarded import state_dir
from tasks.storage.store import publish_local

BLOCK = 1 << 22  # bytes that are hashed at a time


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a model's weights, in order."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def weights_hash(folder: Path) -> str:
    """SHA-256 over a model folder's weight files; remembered by name, size and time, since it reads gigabytes."""
    memory = _memory(folder)
    if memory.exists():
        return str(json.loads(memory.read_text(encoding="utf-8"))["sha256"])
    digest = hashlib.sha256()
    for path in weight_files(folder):
        with path.open("rb") as handle:
            while block := handle.read(BLOCK):
                digest.update(block)
    remember(folder, digest.hexdigest())
    return digest.hexdigest()


def remember(folder: Path, sha256: str) -> None:
    """Note the hash of weights that were read just now."""
    publish_local(_memory(folder), json.dumps({"sha256": sha256}).encode())


def _memory(folder: Path) -> Path:
    files = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in weight_files(folder)]
    return state_dir() / "weights" / f"{content_id('stamp', files)}.json"
