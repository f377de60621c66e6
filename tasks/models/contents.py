"""What a model's folder consists of, file by file: what an upload leaves behind it, and a download is checked by."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from schemas.ids import content_id
from tasks.models.weights import BLOCK, remember, weight_files, weights_hash

MANIFEST = "pop-model.json"  # beside the files; the last to be written, the first to be removed
LAST = "config.json"  # of the files: without it nobody takes a folder for a model
VERSION = 1


@dataclass(frozen=True)
class File:
    """A file of a model: its name below the folder, its bytes, and their hash (None where nobody has told)."""

    name: str
    size: int
    sha256: str | None

    @property
    def weights(self) -> bool:
        """Whether it holds weights: large, and all that a model's hash is over."""
        return self.name.endswith((".safetensors", ".bin"))


@dataclass(frozen=True)
class Contents:
    """All files of a model, in the order in which they are sent, and the hash of its weights."""

    files: tuple[File, ...]
    weights_sha256: str | None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def key(self) -> str:
        """The model's name in a cache: its weights, and what is beside them, for two may differ in that alone."""
        rest = content_id("rest", sorted((file.name, file.sha256) for file in self.files if not file.weights))
        return f"{(self.weights_sha256 or '')[:24]}.{rest[:8]}"

    def manifest(self) -> bytes:
        """As it is written beside the files."""
        return json.dumps({"version": VERSION} | asdict(self), indent=1).encode()

    def fault(self, folder: Path) -> str | None:
        """Why a folder does not hold this model, in words; None where it does. Weights are read once, then known."""
        for file in self.files:
            path = folder / file.name
            if not path.is_file():
                return f"{file.name} is missing"
            if (size := path.stat().st_size) != file.size:
                return f"{file.name} has {size} bytes, not {file.size}"
            if not file.weights and file.sha256 not in (None, hash_of(path)):
                return f"{file.name} holds other bytes than were sent"
        if self.weights_sha256 not in (None, weights_hash(folder)):
            return "its weights hold other bytes than were sent"
        return None


def contents_of(folder: Path, told: Callable[[int], None] = lambda _: None) -> Contents:
    """What a folder consists of; every byte is read. `told` hears how many, now and then."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST]
    paths.sort(key=lambda path: (path.name == LAST, path.name))
    weights, order, whole = {}, weight_files(folder), hashlib.sha256()
    for path in order:
        own = hashlib.sha256()
        with path.open("rb") as handle:
            while block := handle.read(BLOCK):
                own.update(block)
                whole.update(block)
                told(len(block))
        weights[path] = own.hexdigest()
    remember(folder, whole.hexdigest())
    files = (
        File(path.relative_to(folder).as_posix(), path.stat().st_size, weights.get(path) or hash_of(path))
        for path in paths
    )
    return Contents(tuple(files), whole.hexdigest())


def read_contents(manifest: bytes) -> Contents | None:
    """What a manifest says; None where it is none of ours, or names a file outside of its folder."""
    try:
        found: dict[str, Any] = json.loads(manifest)
        files = tuple(File(str(one["name"]), int(one["size"]), str(one["sha256"])) for one in found["files"])
        known = Contents(files, str(found["weights_sha256"]))
    except (ValueError, TypeError, KeyError):
        return None
    return known if found.get("version") == VERSION and files and all(map(_inside, known.files)) else None


def _inside(file: File) -> bool:
    name = PurePosixPath(file.name)
    return bool(name.parts) and not name.is_absolute() and ".." not in name.parts


def hash_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sized(size: float) -> str:
    """Bytes as a person reads them."""
    units: Sequence[str] = ("B", "kB", "MB", "GB", "TB")
    place = 0
    while size >= 1000 and place < len(units) - 1:
        size, place = size / 1000, place + 1
    return f"{size:.3g} {units[place]}" if size < 1000 else f"{size:.0f} {units[place]}"
