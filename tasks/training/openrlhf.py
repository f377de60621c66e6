"""One DPO training from pairs to a checked model, as the controller sees it: prepare, train, finish, check, publish.

Everything heavy runs in the runtime environment as a guarded subprocess and answers through files in the job's folder.
The same job asked for again continues where it stopped, and a finished one returns at once.
"""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from schemas.errors import AGAIN, RETRY, DependencyError, PopError, UnfitModel, UserError, unwritable
from tasks.cluster.driver import ENVIRONMENT, NODE_LOST, UNABLE
from tasks.processes.guarded import Guarded, tail
from tasks.storage.jsonfile import read_json
from tasks.training.arguments import dpo_arguments, refuse_too_few
from tasks.training.checkpoints import (
    checkpoint_step,
    keep_good_checkpoint,
    keep_last_checkpoint,
    made_by,
    set_aside,
    universal,
)
from tasks.training.endings import OUT_OF_MEMORY, signal_of
from tasks.training.finishing import TrainerDied, finish_and_check
from tasks.training.health import Trial, health, lost
from tasks.training.job import Prepared, TrainedModel, TrainingJob, Workdir, claim, job_hash, read_rows
from tasks.training.launcher import environment, launcher, processes
from tasks.training.on_cluster import by_ray, places

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
        UserError: the model has no chat template, the pairs do not fit it, or a batch does not fit the processes.
        CheckFailed: too few pairs; `UnfitModel`: the trained model is not fit for use.
        DependencyError: no runtime environment, or the trainer died; the text ends with its last lines.
    """
    _require(job)
    processes(job, job.device, (job.processes or 1) if job.cluster.kind == "ray" else None)
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


def _require(job: TrainingJob) -> None:
    if not job.python.exists():
        raise DependencyError(f"no runtime environment ({job.python} is missing): run `pop setup`")
    if not (job.model / "config.json").exists():
        raise UserError(f"{job.model} is no model folder (it has no config.json)")


def _run(job: TrainingJob, paths: Workdir, name: str, *arguments: str | Path) -> int:
    """Run one of the scripts in the runtime environment; its exit code."""
    paths.log(name).unlink(missing_ok=True)
    command = [str(job.python), str(SCRIPTS / f"{name}.py"), *map(str, arguments)]
    return Guarded(f"{name} of a training", command, environment(job, paths), paths.log(name)).wait(SCRIPT_TIMEOUT_SEC)


def _prepare(job: TrainingJob, paths: Workdir) -> Prepared:
    done = paths.data / "prepared.json"
    before = (paths.data / "train.jsonl").exists()  # texts, as prepared by a version before token ids
    if before or not done.exists():
        shutil.rmtree(paths.data, ignore_errors=True)
        limits: tuple[str, ...] = ("--max-tokens", str(job.max_tokens), "--eval-share", str(job.eval_share))
        limits += ("--trust-remote-code",) * job.trust_remote_code
        code = _run(job, paths, "prepare", job.model.resolve(), job.preferences, paths.data, *limits)
        if code == 2:
            raise UserError(tail(paths.log("prepare"), 1).replace("models.NAME", "models.policy"))
        if code or not done.exists():
            raise DependencyError(f"preparing the pairs failed (exit {code}):\n{tail(paths.log('prepare'))}")
    return Prepared(**read_json(done))


def _launch(job: TrainingJob, prepared: Prepared, paths: Workdir, follow: Callable[[], None]) -> None:
    """Run the trainer to its end; what it saved is then in `paths.saved`."""
    at = places(job, paths) if job.cluster.kind == "ray" else None
    many = at.many if at else processes(job, job.device)
    resume = keep_last_checkpoint(paths.checkpoints) and _readable_by(many, job, paths)
    if not resume:  # from the first step on: an earlier attempt's rows would be written twice
        shutil.rmtree(paths.events, ignore_errors=True)
        paths.metrics.unlink(missing_ok=True)
    shutil.rmtree(paths.saving, ignore_errors=True)
    converted = resume and made_by(paths.checkpoints) not in (0, many)
    arguments = ["--pop-metrics", str(paths.metrics), *dpo_arguments(job, prepared, paths, resume, converted)]
    script, env = SCRIPTS / "launch.py", environment(job, paths, many)
    if at:
        command, env = by_ray(job, paths, at, script, arguments), ENVIRONMENT
    else:
        command = [*launcher(job, many), str(script), *arguments]
    guarded = Guarded("the trainer", command, env, paths.log("train"))
    code = guarded.wait(job.timeout_sec, tick=follow)
    if code:
        raise _death(code, guarded.log, paths)
    paths.saving.replace(paths.saved)


def _readable_by(many: int, job: TrainingJob, paths: Workdir) -> bool:
    """Whether so many processes can go on from the last checkpoint: one of another number is converted for them."""
    if made_by(paths.checkpoints) in (0, many):
        return True
    source = paths.checkpoints / (paths.checkpoints / "latest").read_text(encoding="utf-8").strip()
    arguments = ["--input_folder", str(source), "--output_folder", str(universal(paths.checkpoints))]
    command = [str(job.python), "-m", "deepspeed.checkpoint.ds_to_universal", *arguments, "--inject_missing_state"]
    log = paths.log("universal")
    if Guarded("the conversion of a checkpoint", command, environment(job, paths), log).wait(SCRIPT_TIMEOUT_SEC):
        set_aside(paths.checkpoints)
        return False
    return True


def _death(code: int, log: Path, paths: Workdir) -> PopError:
    """What to say of a trainer that ended badly, and whether another try is worth it."""
    said = _last_lines(log)
    if code == UNABLE:
        return DependencyError(tail(log, 1))
    if code == NODE_LOST:
        return TrainerDied(f"the cluster lost a part of the training: {tail(log, 1)}")
    if "No space left on device" in said:
        return UserError(f"the disk is full, the trainer cannot write in {paths.root}: {AGAIN}")
    text = f"its last lines:\n{said}"
    if any(sign in said.lower() for sign in OUT_OF_MEMORY):
        mend = "lower training.micro_batch_size or training.max_tokens, or set training.gradient_checkpointing = true"
        return TrainerDied(f"the trainer ran out of memory: {mend}; {text}")
    if killer := signal_of(code, tail(log, 500)):
        kill = ", perhaps for want of memory" if killer == signal.SIGKILL else f" (signal {killer})"
        return TrainerDied(f"the trainer was killed{kill}; {text}")
    done = max((row["step"] for row in read_rows(paths.metrics)), default=0)
    if 0 < checkpoint_step(paths.checkpoints) >= done:
        set_aside(paths.checkpoints)
        return TrainerDied(f"the trainer could not go on from its checkpoint, which is set aside; {text}")
    return DependencyError(f"the trainer failed (exit {code}); {text}")


def _last_lines(log: Path, lines: int = 15) -> str:
    """The end of the trainer's log, without its progress bars and what torchrun says of processes that failed."""
    said = [line for line in tail(log, 500).splitlines() if "%|" not in line]
    own = next((n for n, line in enumerate(said) if "torch.distributed.elastic" in line or "/elastic/" in line), None)
    return "\n".join(said[:own][-lines:] or said[-lines:])


def _require_same_parent(job: TrainingJob, paths: Workdir) -> None:
    """The new model gets its parent's tokenizer and template: not those that came into its folder after it was read."""
    if job_hash(job) != read_json(paths.job).get("hash"):
        raise UserError(
            f"{job.model} (or {job.preferences.name}) has changed while it was trained from; what was trained is kept "
            f"in {paths.saved}: put back what was there, {RETRY}, and it goes on from there; with what is there now, "
            "the same command trains anew"
        )


def _finish_and_check(job: TrainingJob, paths: Workdir, trial: Trial) -> None:
    """Make the servable model in `paths.finished`; raises UnfitModel with what is wrong with it, one a line."""

    def run(name: str, *arguments: str | Path) -> int:
        return _run(job, paths, name, *arguments)

    _require_same_parent(job, paths)
    steps = read_rows(paths.metrics)
    problems = finish_and_check(job, paths, trial, run)
    problems += [problem] if (problem := lost(steps)) else []
    if problems:
        keep_good_checkpoint(paths)
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
