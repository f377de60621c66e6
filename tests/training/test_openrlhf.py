"""A training from pairs to a model: resume, failure and what is published, in the controller."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import CheckFailed, DependencyError, PopError, UserError
from tasks.training.checkpoints import keep_last_checkpoint
from tasks.training.job import TrainingJob, Workdir, claim
from tasks.training.openrlhf import TrainerDied, _death, train
from tests.training.samples import PREPARED


def test_only_the_last_whole_checkpoint_is_resumed(tmp_path: Path) -> None:
    for tag in ("global_step2", "global_step4", "global_step6"):
        (tmp_path / "c" / tag).mkdir(parents=True)
    (tmp_path / "c/latest").write_text("global_step4")  # 6 was torn by a kill
    assert keep_last_checkpoint(tmp_path / "c")
    assert {entry.name for entry in (tmp_path / "c").iterdir()} == {"global_step4", "latest"}
    (tmp_path / "c/latest").write_text("global_step8")
    assert not keep_last_checkpoint(tmp_path / "c")
    assert not (tmp_path / "c").exists()


# A Python that answers for the runtime's scripts as they do: through files. What it should do is in `plan.json`.
STAND_IN = """
import json, pathlib, sys
plan = json.loads(pathlib.Path(__file__).with_name("plan.json").read_text())
script, args = pathlib.Path(sys.argv[1]).stem, sys.argv[2:]
with open(pathlib.Path(__file__).with_name("ran"), "a") as ran:
    ran.write(script + " ")
option = lambda name: pathlib.Path(args[args.index(name) + 1])
def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value)
if script in plan:
    print(plan[script]["says"])
    sys.exit(plan[script]["exit"])
if script == "prepare":
    write(pathlib.Path(args[2]) / "example.txt", "an example")
    write(pathlib.Path(args[2]) / "prepared.json", json.dumps(plan["prepared"]))
if script == "launch":
    losses = plan.get("losses", [0.7, 0.6])
    rows = [json.dumps({"step": step, "loss": loss}) for step, loss in enumerate(losses, 1)]
    for step in plan.get("checkpoints", []):
        write(option("--ckpt.path") / f"global_step{step}" / "state", "whole")
        write(option("--ckpt.path") / "latest", f"global_step{step}")
    write(option("--pop-metrics"), "\\n".join(rows) + "\\n")
    write(option("--ckpt.output_dir") / "model.safetensors", "trained")
if script == "finish":
    write(pathlib.Path(args[2]) / "model.safetensors", "trained, in the parent's dtype")
if script == "check":
    verdict = {"weights_sha256": "ab", "parameters": 7, "answer": "Sleep.", "problems": plan["problems"]}
    write(pathlib.Path(args[3]), json.dumps(verdict))
"""


@pytest.fixture
def stand_in(job: TrainingJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TrainingJob]:
    """A function that makes the job run against the stand-in, with changes to its plan."""
    monkeypatch.setenv("POP_CACHE", str(tmp_path / "cache"))
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\n{STAND_IN}")
    python.chmod(0o755)

    def planned(**changes: Any) -> TrainingJob:
        plan = {"prepared": vars(PREPARED), "problems": [], **changes}
        (tmp_path / "plan.json").write_text(json.dumps(plan))
        return replace(job, python=python, batch_size=8)

    return planned


def test_a_training_goes_from_pairs_to_a_model_and_is_not_done_twice(
    stand_in: Callable[..., TrainingJob], tmp_path: Path
) -> None:
    rows: list[dict[str, Any]] = []
    trained = train(stand_in(), rows.append)
    assert [row["step"] for row in rows] == [1, 2]
    assert (trained.path.name, trained.parameters, trained.answer) == ("model", 7, "Sleep.")
    assert trained.example.read_text() == "an example"
    assert (tmp_path / "ran").read_text() == "prepare launch finish check "

    assert train(stand_in(), rows.append) == trained
    assert [row["step"] for row in rows] == [1, 2, 1, 2]  # a new controller hears of every step again
    assert (tmp_path / "ran").read_text() == "prepare launch finish check "


def test_a_model_that_fails_its_check_is_not_published(stand_in: Callable[..., TrainingJob]) -> None:
    job = stand_in(problems=["3 tensors hold NaN", "it answers nothing"])
    with pytest.raises(CheckFailed, match="3 tensors hold NaN\nit answers nothing"):
        train(job, print)
    assert not (job.workdir / "model").exists()
    assert train(stand_in(), print).parameters == 7


def test_a_dead_trainer_is_a_dependency_that_failed_and_a_retry_goes_on(
    stand_in: Callable[..., TrainingJob], tmp_path: Path
) -> None:
    with pytest.raises(DependencyError, match=r"exit 3.*\nthe GPU fell off"):
        train(stand_in(launch={"says": "the GPU fell off", "exit": 3}), print)
    train(stand_in(), print)
    assert (tmp_path / "ran").read_text() == "prepare launch launch finish check "


@pytest.mark.parametrize(
    ("says", "exit_code", "error", "message"),
    [
        ("x", 137, TrainerDied, "was killed, perhaps for want of memory"),
        ("ChildFailedError:  exitcode  : -9 (pid: 7)", 1, TrainerDied, "was killed, perhaps for want of memory"),
        ("SignalException: Process 7 got signal: 15", 1, TrainerDied, "was killed (signal 15)"),
        ("torch.OutOfMemoryError: CUDA out of memory", 1, TrainerDied, "lower training.micro_batch_size"),
        ("DefaultCPUAllocator: not enough memory", 1, TrainerDied, "ran out of memory"),
        ("OSError: [Errno 28] No space left on device", 1, UserError, "the disk is full"),
        ("ValueError: bad", 1, DependencyError, "the trainer failed"),
    ],
)
def test_a_dead_trainer_says_why_and_whether_another_try_is_worth_it(
    stand_in: Callable[..., TrainingJob], says: str, exit_code: int, error: type[PopError], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)) as caught:
        train(stand_in(launch={"says": says, "exit": exit_code}), print)
    assert isinstance(caught.value, TrainerDied) == (error is TrainerDied)


def checkpoints(paths: Workdir, *steps: int) -> None:
    """Whole checkpoints, as DeepSpeed leaves them."""
    for step in steps:
        (paths.checkpoints / f"global_step{step}").mkdir(parents=True)
        (paths.checkpoints / "latest").write_text(f"global_step{step}")


def test_a_checkpoint_that_the_trainer_cannot_read_is_set_aside_and_the_next_try_begins_anew(
    stand_in: Callable[..., TrainingJob],
) -> None:
    job = stand_in(launch={"says": "UnpicklingError", "exit": 1})
    paths = claim(job)
    checkpoints(paths, 2)
    with pytest.raises(TrainerDied, match="could not go on from its checkpoint"):
        train(job, print)
    assert not paths.checkpoints.exists() and (paths.root / "checkpoints.bad/global_step2").exists()
    assert train(stand_in(), print).parameters == 7


@pytest.mark.parametrize(
    ("losses", "latest"),
    [([0.6, 0.5, 0.4, 0.3], "global_step4"), ([0.6, 0.5, None, None], "global_step2"), ([0.6, None, None, None], "")],
)
def test_a_broken_model_is_trained_on_from_the_last_checkpoint_that_was_good(
    stand_in: Callable[..., TrainingJob], losses: list[float | None], latest: str
) -> None:
    job = stand_in(problems=["3 tensors hold NaN"], losses=losses, checkpoints=[2, 4])
    paths = Workdir(job.workdir.resolve())
    with pytest.raises(CheckFailed, match="3 tensors hold NaN"):
        train(job, print)
    found = (paths.checkpoints / "latest").read_text() if paths.checkpoints.exists() else ""
    assert found == latest and not paths.model.exists()
    with pytest.raises(CheckFailed):  # broken again, and no loss says why: then nothing of it is believed
        train(job, print)
    if None not in losses:
        assert not paths.checkpoints.exists()


def test_a_parent_that_changes_while_it_is_trained_from_is_told_and_what_was_trained_is_kept(
    stand_in: Callable[..., TrainingJob], tmp_path: Path
) -> None:
    job = stand_in()
    template = job.model / "chat_template.jinja"

    def swap(row: dict[str, Any]) -> None:
        template.write_text("another one")

    with pytest.raises(UserError, match="has changed while it was trained from"):
        train(job, swap)
    template.unlink()
    assert train(job, lambda _: None).parameters == 7
    assert (tmp_path / "ran").read_text() == "prepare launch finish check "


def test_a_model_without_chat_template_is_the_users_mistake(stand_in: Callable[..., TrainingJob]) -> None:
    with pytest.raises(UserError, match=r"^no chat template$"):
        train(stand_in(prepare={"says": "no chat template", "exit": 2}), print)


def test_a_missing_runtime_names_the_mend(job: TrainingJob) -> None:
    with pytest.raises(DependencyError, match="pop setup"):
        train(replace(job, python=Path("/nowhere/python")), print)


def test_a_guardian_that_is_killed_with_its_trainer_is_no_fault_of_the_checkpoint(job: TrainingJob) -> None:
    paths = claim(job)
    checkpoints(paths, 2)
    assert isinstance(_death(-9, paths.log("train"), paths), TrainerDied)
    assert keep_last_checkpoint(paths.checkpoints)
