"""What was trained is kept: whatever comes between the trainer and the check, the same command ends with the model."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from schemas.errors import DependencyError, PopError, UnfitModel, UserError
from schemas.gating import Bounds, HealthConfig
from tasks.processes.guarded import stop_all
from tasks.storage.jsonfile import read_json
from tasks.training.endings import Broken, code_of
from tasks.training.finishing import TrainerDied
from tasks.training.job import TrainingJob
from tasks.training.openrlhf import Trial, train
from tests.chaos import standin
from tests.training.samples import write_pairs


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingJob:
    """A training of four pairs on the stand-in runtime, which counts the scripts that it has run in `bin/ran`."""
    monkeypatch.setenv("POP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STANDIN_STEP_SEC", "0.01")
    standin.make(tmp_path, "structured")
    pairs = write_pairs(tmp_path / "pairs.parquet", {f"p{n}": (f"chosen {n}", f"rejected {n}") for n in range(4)})
    return TrainingJob(
        tmp_path / "runtime/bin/python", tmp_path / "model", pairs, tmp_path / "work",
        batch_size=1, warmup_ratio=0.0, eval_share=0.0,
    )  # fmt: skip


def ran(job: TrainingJob) -> list[str]:
    """The scripts that did their work, in order."""
    return (job.python.parent / "ran").read_text().split()


@pytest.fixture
def whole(job: TrainingJob) -> str:
    """The weights of the same training when nothing disturbs it."""
    elsewhere = TrainingJob(**{**vars(job), "workdir": job.workdir.with_name("undisturbed")})
    sha256 = train(elsewhere, lambda _: None).weights_sha256
    (job.python.parent / "ran").unlink()
    return sha256


@pytest.mark.parametrize(
    ("fails", "error", "says"),
    [
        ("finish:137", TrainerDied, "was killed, perhaps for want of memory"),
        ("check:137", TrainerDied, "was killed, perhaps for want of memory"),
        ("finish:4", UserError, "the disk is full"),
        ("check:4", UserError, "the disk is full"),
        ("finish:5", DependencyError, "too little memory"),
        ("check:6", DependencyError, "pop setup"),
        ("check:1", DependencyError, "failed"),
    ],
)
def test_what_stops_finish_or_check_is_no_verdict_and_the_same_command_ends_with_the_same_model(
    job: TrainingJob, whole: str, monkeypatch: pytest.MonkeyPatch, fails: str, error: type[PopError], says: str
) -> None:
    monkeypatch.setenv("STANDIN_FAILS", fails)
    with pytest.raises(error, match=says) as caught:
        train(job, lambda _: None)
    assert not isinstance(caught.value, UnfitModel) and "kept in" in str(caught.value)
    assert train(job, lambda _: None).weights_sha256 == whole
    assert ran(job).count("launch") == 1


@pytest.mark.parametrize("script", ["finish", "check"])
def test_a_cancellation_between_trainer_and_check_costs_no_training(
    job: TrainingJob, whole: str, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setenv("STANDIN_FAILS", f"{script}:hang")
    caught: list[BaseException] = []

    def work() -> None:
        try:
            train(job, lambda _: None)
        except PopError as problem:
            caught.append(problem)

    thread = threading.Thread(target=work)
    thread.start()
    while not (job.python.parent / f"failed-{script}").exists():
        time.sleep(0.02)
    stop_all()
    thread.join(20)
    assert [type(one) for one in caught] == [TrainerDied]
    assert train(job, lambda _: None).weights_sha256 == whole
    assert ran(job).count("launch") == 1


def test_a_controller_that_is_killed_in_the_check_goes_on_from_what_was_saved(
    job: TrainingJob, whole: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_FAILS", "check:hang")
    child = os.fork()
    if child == 0:
        train(job, lambda _: None)
        os._exit(0)
    while not (job.python.parent / "failed-check").exists():
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert train(job, lambda _: None).weights_sha256 == whole
    assert ran(job).count("launch") == 1


def test_a_bound_makes_a_model_broken_by_name_and_a_wider_one_takes_it_without_training_again(job: TrainingJob) -> None:
    strict = Trial(bounds=HealthConfig(loss=Bounds(broken=0.001)))
    with pytest.raises(UnfitModel, match=r"gate\.health\.loss\.broken = 0\.001"):
        train(job, lambda _: None, strict)
    assert not (job.workdir / "model").exists()
    found = train(job, lambda _: None, Trial(bounds=HealthConfig(loss=Bounds(warn=0.001))))
    assert ran(job).count("launch") == 1
    assert found.figures["largest_loss"] and "gate.health.loss.warn" in found.warnings[0]


def test_the_check_is_told_what_to_ask(job: TrainingJob) -> None:
    trial = Trial(([{"role": "user", "content": "Why?"}],) * 20, ("a text",), {"temperature": 0.5, "max_tokens": 900})
    train(job, lambda _: None, trial)
    asked = read_json(job.workdir / "asked.json")
    assert (len(asked["prompts"]), asked["texts"], asked["max_tokens"]) == (12, ["a text"], 256)
    assert (asked["temperature"], asked["top_p"], asked["prompt"][0]["content"]) == (0.5, 1.0, job.check_prompt)


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (Broken("7 weights missing"), 3),
        (OSError(28, "No space left on device"), 4),
        (RuntimeError('Error while serializing: IoError(Os { code: 28, message: "No space left on device" })'), 4),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to"), 5),
        (MemoryError(), 5),
        (OSError(12, "Cannot allocate memory"), 5),
        (ModuleNotFoundError("No module named 'peft'"), 6),
        (ValueError("Unrecognized model"), 1),
    ],
)
def test_a_script_tells_by_its_exit_code_what_it_met(problem: Exception, code: int) -> None:
    assert code_of(problem) == code
