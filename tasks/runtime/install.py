"""Make the runtime environment: run the steps of this machine's kind that are not done, and check the result.

A finished step leaves a marker with the hash of what it depends on, so an interruption costs one step at most, a
changed requirement file redoes its own steps, and a repeated run costs a second. Light: the standard library only.
"""

import contextlib
import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from schemas.errors import DependencyError
from tasks.processes import guardian
from tasks.runtime.command import Job, explain
from tasks.runtime.environment import STATE, made_for, mark_ready, marked_ready
from tasks.runtime.selfcheck import require_sound
from tasks.runtime.steps import REQUIREMENTS, Device, Step, steps_for

Say = Callable[[str], None]


@dataclass(frozen=True)
class StepReport:
    """One step: how long it took (this time or earlier), and whether it had been done before."""

    title: str
    seconds: float
    done_before: bool


@dataclass(frozen=True)
class Report:
    """What `install` did."""

    device: Device
    venv: Path
    steps: tuple[StepReport, ...]
    seconds: float


def detect_device() -> Device:
    """`cuda` where an NVIDIA driver answers, else `cpu`."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "cpu"
    return "cuda" if listed.returncode == 0 and "GPU" in listed.stdout else "cpu"


def install(device: Literal["auto", "cpu", "cuda"], venv: Path, say: Say) -> Report:
    """Make `venv` the runtime environment for this machine, or finish, update or merely check it.

    Raises:
        DependencyError: a step failed, or the finished environment does not work; the text names the mend.
    """
    began = time.monotonic()
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        raise DependencyError(
            f"the runtime environment needs Python 3.11 or 3.12, and this is {sys.version.split()[0]}"
        )
    if sys.platform != "linux":
        raise DependencyError("vLLM and DeepSpeed run on Linux only (on Windows: inside WSL 2)")
    chosen = detect_device() if device == "auto" else device
    if device == "cuda" and detect_device() != "cuda":
        raise DependencyError("`nvidia-smi` finds no GPU here: install the NVIDIA driver, or use --device cpu")
    if _is_foreign(venv):
        say(f"{venv} was not made by `pop setup`: nothing is installed there, it is only checked")
        require_sound(venv)
        return Report(made_for(venv), venv, (), time.monotonic() - began)
    steps = steps_for(chosen)
    reports = run_steps(steps, venv, say, extra=1)
    whole = hashlib.sha256("".join(step.key() for step in steps).encode()).hexdigest()
    if not marked_ready(venv, whole):
        say(f"[{len(steps) + 1}/{len(steps) + 1}] self-check …")
        require_sound(venv, chosen)
        mark_ready(venv, whole, chosen)
    seconds = time.monotonic() - began
    say(f"the runtime environment for {chosen} is ready: {venv} ({seconds:.0f} s)")
    return Report(chosen, venv, tuple(reports), seconds)


def run_steps(
    steps: Sequence[Step], venv: Path, say: Say, requirements: Path = REQUIREMENTS, extra: int = 0
) -> list[StepReport]:
    """Run the steps that are not done yet, in order. `extra` more are announced in the count.

    Raises:
        DependencyError: a step failed, the disk is too small, or another setup is at work there.
    """
    missing = [name for step in steps for name in step.files if not (requirements / name).is_file()]
    if missing:
        raise DependencyError(f"{requirements / missing[0]} is missing: run `pop setup` from a clone of the repository")
    state = venv / STATE
    try:
        state.mkdir(parents=True, exist_ok=True)
        with _alone(state) as lock:
            _require_disk(steps, venv, requirements)
            runs = [_Run(step, i, len(steps) + extra, venv, requirements, say, lock) for i, step in enumerate(steps, 1)]
            return [run.report() for run in runs]
    except OSError as error:
        raise DependencyError(f"cannot write the runtime environment: {error}") from error


@dataclass(frozen=True)
class _Run:
    """One step on its way."""

    step: Step
    number: int
    count: int
    venv: Path
    requirements: Path
    say: Say
    lock: int

    def report(self) -> StepReport:
        """Do the step, unless its marker says that it is done."""
        seconds = _done(self.step, self.venv, self.requirements)
        if seconds is not None:
            return StepReport(self.step.title, seconds, done_before=True)
        began, label = time.monotonic(), f"[{self.number}/{self.count}] {self.step.title}"
        self.say(f"{label} …")
        (self.venv / STATE / "ready").unlink(missing_ok=True)
        _clear(self.venv) if self.step.empties else _drop_halves(self.venv)
        self._work(label)
        seconds = time.monotonic() - began
        _mark(self.step, self.venv, self.requirements, seconds)
        self.say(f"{label} … {seconds:.0f} s")
        return StepReport(self.step.title, seconds, done_before=False)

    def _work(self, label: str) -> None:
        log = self.venv / STATE / f"{self.number:02}-{self.step.slug}.log"
        log.write_bytes(b"")
        job = Job(label, log, self.step.env, self.step.limit_sec, self.lock, self.say)

        def run(commands: Sequence[Sequence[str]]) -> bool:
            return all(job.run([self._fill(word) for word in command]) for command in commands)

        usual, other = self.step.commands, self.step.fallback
        if not run(usual) and not (other and run(other) and run(usual)):
            raise DependencyError(explain(label, self.step.hint, log))

    def _fill(self, word: str) -> str:
        return (
            word.replace("{python}", str(self.venv / "bin" / "python"))
            .replace("{base}", sys.executable)
            .replace("{venv}", str(self.venv))
            .replace("{requirements}", str(self.requirements))
        )


def _is_foreign(venv: Path) -> bool:
    """A folder with something in it that no setup began: somebody's own environment, which is not ours to change."""
    return venv.is_dir() and not (venv / STATE).is_dir() and any(venv.iterdir())


@contextlib.contextmanager
def _alone(state: Path) -> Iterator[int]:
    """Hold the folder's lock; it goes when this process and its guardians are gone, however they end."""
    with (state / "lock").open("w") as handle:
        deadline = time.monotonic() + guardian.GRACE_SEC + 5
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise DependencyError(f"another `pop setup` is at work in {state.parent}: wait for it") from None
                time.sleep(0.3)
        yield handle.fileno()


def _marker(step: Step, venv: Path) -> Path:
    return venv / STATE / f"{step.slug}.done"


def _done(step: Step, venv: Path, requirements: Path) -> float | None:
    """The seconds that the step took when it was done as it is now; None if it is owed."""
    try:
        record = json.loads(_marker(step, venv).read_text(encoding="utf-8"))
        return float(record["seconds"]) if record["key"] == step.key(requirements) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _mark(step: Step, venv: Path, requirements: Path, seconds: float) -> None:
    path = _marker(step, venv)
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"key": step.key(requirements), "seconds": round(seconds, 1)}))
    part.replace(path)


def _clear(venv: Path) -> None:
    """Empty the environment, its markers first; the folder of markers and logs stays."""
    for marker in (venv / STATE).glob("*.done"):
        marker.unlink()
    for path in venv.iterdir():
        if path.name != STATE:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _drop_halves(venv: Path) -> None:
    """Forget packages that an ended pip left half installed: it writes INSTALLER last, and trusts any .dist-info."""
    for site in venv.glob("lib/python3*/site-packages"):
        for info in site.glob("*.dist-info"):
            if not (info / "INSTALLER").exists():
                shutil.rmtree(info)
        for stash in site.glob("~*"):
            shutil.rmtree(stash) if stash.is_dir() else stash.unlink()


def _require_disk(steps: Sequence[Step], venv: Path, requirements: Path) -> None:
    owed = [step for step in steps if _done(step, venv, requirements) is None]
    if any(step.empties for step in owed):
        owed = list(steps)
    needed, free = sum(step.disk_gb for step in owed), shutil.disk_usage(venv).free / 1e9
    if free < needed:
        raise DependencyError(
            f"{venv} needs {needed:.1f} GB of free disk and there are {free:.1f}: "
            "free some space, or name a folder on another disk with POP_RUNTIME"
        )
