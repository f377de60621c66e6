"""How many processes train, and what starts them."""

from dataclasses import replace

import pytest

from schemas.errors import UserError
from tasks.training.job import TrainingJob, Workdir
from tasks.training.launcher import environment, launcher, processes


def test_one_process_a_gpu_and_one_on_a_cpu_unless_told(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    cuda = replace(job, device="cuda", batch_size=16)
    assert [
        processes(one, one.device) for one in (job, cuda, replace(cuda, processes=2), replace(job, processes=2))
    ] == [1, 4, 2, 2]
    assert launcher(cuda, 4)[1:5] == ["-m", "deepspeed.launcher.runner", "--num_gpus", "4"]
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
