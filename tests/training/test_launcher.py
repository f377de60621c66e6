"""How many processes train, and what starts them."""

from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import UserError
from tasks.training.arguments import dpo_arguments
from tasks.training.checkpoints import keep_good_checkpoint, made_by, universal
from tasks.training.job import TrainingJob, Workdir
from tasks.training.launcher import environment, launcher, processes
from tests.training.samples import PREPARED


def test_one_process_a_gpu_and_one_on_a_cpu_unless_told(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    cuda = replace(job, device="cuda", batch_size=16)
    assert [
        processes(one, one.device) for one in (job, cuda, replace(cuda, processes=2), replace(job, processes=2))
    ] == [1, 4, 2, 2]
    assert launcher(cuda, 1)[1:5] == ["-m", "torch.distributed.run", "--nproc_per_node", "1"]
    assert launcher(cuda, 4)[1:5] == ["-m", "torch.distributed.run", "--nproc_per_node", "4"]
    assert launcher(job, 1) == [str(job.python)]
    assert launcher(job, 2)[1:5] == ["-m", "torch.distributed.run", "--nproc_per_node", "2"]
    assert environment(job, Workdir(job.workdir), 64)["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"processes": 3}, r"training.batch_size \(16\) must be a multiple .* times the 3 processes"),
     ({"device": "cuda", "processes": 8}, "training.processes=8 need a GPU each, and this machine has 4")],
)  # fmt: skip
def test_what_cannot_be_shared_is_refused_before_anything_runs(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], says: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    with pytest.raises(UserError, match=says):
        one = replace(job, batch_size=16, **changes)  # type: ignore[arg-type]
        processes(one, one.device)


def test_a_checkpoint_of_another_number_of_processes_is_told_and_its_conversion_is_none_of_its_own(
    tmp_path: Path, job: TrainingJob
) -> None:
    paths = Workdir(tmp_path)
    for name in ("global_step2", "global_step4", "global_step4_universal"):
        (paths.checkpoints / name).mkdir(parents=True)
    (paths.checkpoints / "latest").write_text("global_step4")
    assert made_by(paths.checkpoints) == 0  # in one piece: as it is, for any number
    for rank in (0, 1):
        (paths.checkpoints / f"global_step4/bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt").touch()
    assert made_by(paths.checkpoints) == 2
    assert universal(paths.checkpoints).name == "global_step4_universal"
    keep_good_checkpoint(paths)
    assert (paths.checkpoints / "latest").read_text() == "global_step4"
    before, after = (dpo_arguments(job, PREPARED, paths, True, converted) for converted in (False, True))
    assert "--ds.use_universal_ckpt" in after and "--ds.use_universal_ckpt" not in before
    assert after[after.index("--ckpt.max_num") + 1] == "3"  # the source stays until its successor is written
