"""One DPO training from pairs to a checked model, as the controller sees it: prepare, train, finish, check, publish.

Everything heavy runs in the runtime environment as a guarded subprocess and answers through files in the job's folder.
The same job asked for again continues where it stopped, and a finished one returns at once.
"""

import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from schemas.errors import AGAIN, DependencyError, PopError, UnfitModel, UserError, unwritable
from tasks.processes.guarded import Guarded, tail
from tasks.training.arguments import dpo_arguments, refuse_too_few
from tasks.training.endings import OUT_OF_MEMORY
from tasks.training.finishing import TrainerDied, finish_and_check
from tasks.training.health import Trial, health, lost
from tasks.training.job import Prepared, TrainedModel, TrainingJob, Workdir, claim, read_json, read_rows

__all__ = ["Prepared", "TrainedModel", "TrainerDied", "TrainingJob", "Trial", "dpo_arguments", "read_rows", "train"]

OnStep = Callable[[dict[str, Any]], None]
OnPrepared = Callable[[Prepared], None]
SCRIPTS = Path(__file__).resolve().parent
SCRIPT_TIMEOUT_SEC = 3600.0  # prepare, finish and check; minutes for a 7B model


def train(
    job: TrainingJob, on_step: OnStep, trial: Trial | None = None, on_prepared: OnPrepared = lambda _: None
) -> TrainedModel:  # fmt: skip
    """Train `job` and return the checked model. The same call goes on where an earlier one was stopped.

    Args:
        job: what to train, on what, and where.
        on_step: called once with each optimizer step's metrics row, in order, from the first step on (also with the
            rows of an earlier attempt that this one continues): step, loss, accuracy, chosen_reward, rejected_reward,
            margin, learning_rate, grad_norm, seconds; null where a number is not finite.
        trial: what the trained model is asked, and the bounds of its figures.
        on_prepared: called with what became of the pairs, before there may be too few of them.

    Raises:
        UserError: the model has no chat template, or the pairs do not fit it.
        CheckFailed: too few pairs; `UnfitModel`: the trained model is not fit for use.
        DependencyError: no runtime environment, or the trainer died; the text ends with its last lines.
    """
    _require(job)
    trial = trial or Trial()
    try:
        paths = claim(job)
        follow = _follower(paths.metrics, on_step)
        if not paths.model.exists():
            prepared = _prepare(job, paths)
            on_prepared(prepared)
            refuse_too_few(job, prepared)
            if not paths.saved.exists():
                _launch(job, prepared, paths, follow)
            _finish_and_check(job, paths, trial)
            _publish(paths)
    except OSError as error:
        raise unwritable(error.filename or job.workdir, error) from None
    follow()
    return _result(paths, trial)


def usable_cores() -> int:
    """Physical cores that this process may use: a second thread on a core slows the training down."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def _require(job: TrainingJob) -> None:
    if not job.python.exists():
        raise DependencyError(f"no runtime environment ({job.python} is missing): run `pop setup`")
    if not (job.model / "config.json").exists():
        raise UserError(f"{job.model} is no model folder (it has no config.json)")


def _environment(job: TrainingJob, paths: Workdir) -> dict[str, str]:
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"), "1")
    env = {
        **offline,
        "HF_DATASETS_CACHE": str(paths.cache),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": "",  # the controller's packages are not the runtime's
        "OMP_NUM_THREADS": str(usable_cores()),
    }
    if job.device == "cpu":
        env["CUDA_VISIBLE_DEVICES"] = ""
        # Waiting threads sleep. Spinning, they take the core that they wait for as soon as anything else runs: 4 times
        # slower with one busy neighbour on 2 cores, against 5 % gained on a quiet machine.
        env["OMP_WAIT_POLICY"] = "passive"
    return env


def _run(job: TrainingJob, paths: Workdir, name: str, *arguments: str | Path) -> int:
    """Run one of the scripts in the runtime environment; its exit code."""
    paths.log(name).unlink(missing_ok=True)
    command = [str(job.python), str(SCRIPTS / f"{name}.py"), *map(str, arguments)]
    return Guarded(f"{name} of a training", command, _environment(job, paths), paths.log(name)).wait(SCRIPT_TIMEOUT_SEC)


def _prepare(job: TrainingJob, paths: Workdir) -> Prepared:
    done = paths.data / "prepared.json"
    before = (paths.data / "train.jsonl").exists()  # texts, as prepared by a version before token ids
    if before or not done.exists():
        shutil.rmtree(paths.data, ignore_errors=True)
        limits: tuple[str, ...] = ("--max-tokens", str(job.max_tokens), "--eval-share", str(job.eval_share))
        limits += ("--trust-remote-code",) * job.trust_remote_code
        code = _run(job, paths, "prepare", job.model.resolve(), job.preferences, paths.data, *limits)
        if code == 2:
            raise UserError(tail(paths.log("prepare"), 1))
        if code or not done.exists():
            raise DependencyError(f"preparing the pairs failed (exit {code}):\n{tail(paths.log('prepare'))}")
    return Prepared(**read_json(done))


def _launch(job: TrainingJob, prepared: Prepared, paths: Workdir, follow: Callable[[], None]) -> None:
    """Run the trainer to its end; what it saved is then in `paths.saved`."""
    resume = _keep_last_checkpoint(paths.checkpoints)
    if not resume:  # from the first step on: an earlier attempt's rows would be written twice
        shutil.rmtree(paths.events, ignore_errors=True)
        paths.metrics.unlink(missing_ok=True)
    shutil.rmtree(paths.saving, ignore_errors=True)
    arguments = ["--pop-metrics", str(paths.metrics), *dpo_arguments(job, prepared, paths, resume)]
    command = [*_launcher(job), str(SCRIPTS / "launch.py"), *arguments]
    guarded = Guarded("the trainer", command, _environment(job, paths), paths.log("train"))
    code = guarded.wait(job.timeout_sec, tick=follow)
    if code:
        raise _death(code, guarded.log, paths)
    paths.saving.replace(paths.saved)


def _death(code: int, log: Path, paths: Workdir) -> PopError:
    """What to say of a trainer that ended badly, and whether another try is worth it."""
    said = _last_lines(log)
    if "No space left on device" in said:
        return UserError(f"the disk is full, the trainer cannot write in {paths.root}: {AGAIN}")
    text = f"its last lines:\n{said}"
    if any(sign in said.lower() for sign in OUT_OF_MEMORY):
        mend = "lower training.micro_batch_size or training.max_tokens, or set training.gradient_checkpointing = true"
        return TrainerDied(f"the trainer ran out of memory: {mend}; {text}")
    if code > 128:
        kill = ", perhaps for want of memory" if code == 128 + signal.SIGKILL else f" (signal {code - 128})"
        return TrainerDied(f"the trainer was killed{kill}; {text}")
    done = max((row["step"] for row in read_rows(paths.metrics)), default=0)
    if 0 < checkpoint_step(paths.checkpoints) >= done:
        _set_aside(paths.checkpoints)
        return TrainerDied(f"the trainer could not go on from its checkpoint, which is set aside; {text}")
    return DependencyError(f"the trainer failed (exit {code}); {text}")


def _set_aside(checkpoints: Path) -> None:
    kept = checkpoints.with_name("checkpoints.bad")
    shutil.rmtree(kept, ignore_errors=True)
    checkpoints.replace(kept)


def checkpoint_step(checkpoints: Path) -> int:
    """The optimizer step of the last whole checkpoint; 0 where there is none."""
    latest = checkpoints / "latest"
    return _step(latest.read_text()) if latest.exists() else 0


def _step(tag: str) -> int:
    return int("".join(filter(str.isdigit, tag)) or 0)


def _last_lines(log: Path, lines: int = 15) -> str:
    """The end of the trainer's log without its progress bars."""
    return "\n".join([line for line in tail(log, 500).splitlines() if "%|" not in line][-lines:])


def _launcher(job: TrainingJob) -> list[str]:
    """What starts launch.py: Python itself, or DeepSpeed's launcher (one process a GPU), as upstream documents it."""
    if job.device == "cpu":
        return [str(job.python)]
    return [str(job.python), "-m", "deepspeed.launcher.runner", "--master_port", str(_free_port())]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _keep_last_checkpoint(checkpoints: Path) -> bool:
    """Whether there is a checkpoint to resume from; every other one, perhaps torn by a kill, is removed.

    DeepSpeed names the last whole one in the file `latest`. OpenRLHF deletes by age and would count a torn one.
    """
    latest = checkpoints / "latest"
    tag = latest.read_text().strip() if latest.exists() else ""
    if not tag or not (checkpoints / tag).is_dir():
        shutil.rmtree(checkpoints, ignore_errors=True)
        return False
    for other in checkpoints.iterdir():
        if other.is_dir() and other.name != tag:
            shutil.rmtree(other)
    return True


def _finish_and_check(job: TrainingJob, paths: Workdir, trial: Trial) -> None:
    """Make the servable model in `paths.finished`; raises UnfitModel with what is wrong with it, one a line."""

    def run(name: str, *arguments: str | Path) -> int:
        return _run(job, paths, name, *arguments)

    steps = read_rows(paths.metrics)
    problems = finish_and_check(job, paths, trial, run)
    problems += [problem] if (problem := lost(steps)) else []
    if problems:
        _keep_good_checkpoint(paths)
        shutil.rmtree(paths.saved)  # a retry trains on from the last checkpoint instead of judging this again
        shutil.rmtree(paths.finished, ignore_errors=True)
        raise UnfitModel("the trained model is not fit for use:\n" + "\n".join(problems))
    if broken := health(read_json(paths.verdict), steps, trial.bounds).broken:  # by the user's bounds: it may stay
        raise UnfitModel(
            "training broke the model:\n"
            + "\n".join(broken)
            + f"\nit is kept in {paths.saved}: with a wider bound the "
            "same command takes it; to train another one, lower training.learning_rate"
        )


def _keep_good_checkpoint(paths: Workdir) -> None:
    """The checkpoint that a retry of a model that came out broken may start from.

    One made before the first step whose loss was no number. Where every loss was one, the last checkpoint is believed
    once; if the model is broken again, the next training begins anew.
    """
    broken_at = min((row["step"] for row in read_rows(paths.metrics) if row["loss"] is None), default=None)
    tags = sorted((path.name for path in paths.checkpoints.glob("*") if path.is_dir()), key=_step)
    good = [tag for tag in tags if broken_at is None or _step(tag) < broken_at]
    doubted = paths.broken.exists()
    paths.broken.touch()
    if good and not (broken_at is None and doubted):
        (paths.checkpoints / "latest").write_text(good[-1])
    else:
        shutil.rmtree(paths.checkpoints, ignore_errors=True)


def _publish(paths: Workdir) -> None:
    """Let `model/` appear, whole; then remove what only a retry would have needed."""
    shutil.copyfile(paths.data / "example.txt", paths.finished / "training_example.txt")
    paths.finished.replace(paths.model)
    for folder in (paths.saved, paths.checkpoints, paths.cache):
        shutil.rmtree(folder, ignore_errors=True)
    paths.broken.unlink(missing_ok=True)


def _result(paths: Workdir, trial: Trial) -> TrainedModel:
    verdict, evaluations = read_json(paths.verdict), read_rows(paths.evaluations)
    found = health(verdict, read_rows(paths.metrics), trial.bounds)
    return TrainedModel(
        path=paths.model,
        weights_sha256=verdict["weights_sha256"],
        parameters=verdict["parameters"],
        answer=verdict["answer"],
        prepared=Prepared(**read_json(paths.data / "prepared.json")),
        example=paths.model / "training_example.txt",
        evaluation=evaluations[-1] if evaluations else None,
        figures=found.figures,
        warnings=found.warnings,
    )


def _follower(metrics: Path, on_step: OnStep) -> Callable[[], None]:
    """A function that hands on the rows that are new since its last call."""
    seen: set[int] = set()
    size = -1

    def follow() -> None:
        nonlocal size
        now = metrics.stat().st_size if metrics.exists() else 0
        if now == size:
            return
        size = now
        for row in read_rows(metrics):
            if row["step"] not in seen:
                seen.add(row["step"])
                on_step(row)

    return follow
