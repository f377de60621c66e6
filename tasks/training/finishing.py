"""What follows a training: a servable model out of what was saved, and the verdict on it. Both can be repeated.

What was trained is paid for. Only a verdict on the model itself makes it broken; a kill, a full disk, too little memory
or a missing package is an error with its mend, `saved/` stays, and the same command goes on from there.
"""

import signal
from collections.abc import Callable
from pathlib import Path

from schemas.errors import AGAIN, RETRY, DependencyError, PopError, UserError
from tasks.processes.guarded import tail
from tasks.storage.jsonfile import read_json
from tasks.training.endings import DISK_FULL, NO_MEMORY, NO_PACKAGE, NOT_WHOLE
from tasks.training.health import Trial
from tasks.training.job import TrainingJob, Workdir, write_json

Script = Callable[..., int]  # name and arguments of a script, run in the runtime environment; its exit code


class TrainerDied(DependencyError):
    """The trainer was killed, ran out of memory or could not use its checkpoint: another try goes on or begins anew."""


def finish_and_check(job: TrainingJob, paths: Workdir, trial: Trial, run: Script) -> list[str]:
    """Make the servable model in `paths.finished` and the verdict on it; returns what is wrong with the model.

    Raises:
        PopError: one of the two could not be done; nothing is known of the model yet.
    """
    paths.verdict.unlink(missing_ok=True)
    code = run("finish", job.model.resolve(), paths.saved, paths.finished)
    if code == NOT_WHOLE:
        return [f"what OpenRLHF saved is no whole model: {tail(paths.log('finish'), 1)}"]
    if code:
        raise undone("finishing the trained model", code, paths.log("finish"), paths)
    asked = paths.root / "asked.json"
    write_json(asked, trial.asked() | {"prompt": [{"role": "user", "content": job.check_prompt}]})
    code = run("check", job.model.resolve(), paths.finished, asked, paths.verdict)
    verdict = read_json(paths.verdict)
    if code or not verdict:
        raise undone("the check of the trained model", code, paths.log("check"), paths)
    problems: list[str] = verdict["problems"]
    return problems


def undone(what: str, code: int, log: Path, paths: Workdir) -> PopError:
    """The error for a script that ended without a word on the model."""
    kept = f"what was trained is kept in {paths.saved}"
    if code == DISK_FULL:
        return UserError(f"the disk is full, {what} could not be done in {paths.root}; {kept}: {AGAIN}")
    if code == NO_MEMORY:
        return DependencyError(f"too little memory for {what}; {kept}: free some, {RETRY}, and it goes on from there")
    if code == NO_PACKAGE:
        said = tail(log, 1)
        return DependencyError(f"{what} lacks a package ({said}); {kept}: run `pop setup`, then {RETRY}")
    if code < 0 or code > 128:
        number = -code if code < 0 else code - 128
        why = ", perhaps for want of memory" if number == signal.SIGKILL else f" (signal {number})"
        return TrainerDied(f"{what} was killed{why}; {kept}: {RETRY}, and it goes on from there")
    return DependencyError(
        f"{what} failed (exit {code}); {kept}: mend it and {RETRY}, or remove that folder to train anew; "
        f"its last lines:\n{tail(log)}"
    )
