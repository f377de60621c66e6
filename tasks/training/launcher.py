"""What starts the trainer, and in which environment: one process, or several that share each batch."""

import os
import socket
from typing import Protocol

import psutil

from schemas.errors import UserError
from tasks.runtime.devices import gpus
from tasks.runtime.steps import Device
from tasks.training.job import TrainingJob, Workdir


def usable_cores() -> int:
    """Physical cores that this process may use: a second thread on a core slows the training down."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def environment(job: TrainingJob, paths: Workdir, many: int = 1) -> dict[str, str]:
    """Environment of everything that runs for a training, as one of `many` processes."""
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"), "1")
    env = {
        **offline,
        "HF_DATASETS_CACHE": str(paths.cache),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": "",  # the controller's packages are not the runtime's
        "OMP_NUM_THREADS": str(max(1, usable_cores() // many)),
    }
    if job.device == "cpu":
        env["CUDA_VISIBLE_DEVICES"] = ""
        # Waiting threads sleep. Spinning, they take the core that they wait for as soon as anything else runs: 4 times
        # slower with one busy neighbour on 2 cores, against 5 % gained on a quiet machine.
        env["OMP_WAIT_POLICY"] = "passive"
    return env


class Shared(Protocol):
    """What a batch is and who shares it: of the settings, or of a job."""

    @property
    def processes(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def micro_batch_size(self) -> int: ...


def processes(wanted: Shared, device: Device, places: int | None = None) -> int:
    """How many processes train: `training.processes`, or for 0 one a GPU, and one on a CPU.

    Args:
        places: how many a cluster has room for: then no more than these, and as a batch can be shared among them.

    Raises:
        UserError: there are fewer GPUs, or a batch cannot be shared among so many.
    """
    if places is not None:
        _require_even(wanted, wanted.processes or 1)
        return max(many for many in range(1, places + 1) if not wanted.batch_size % (many * wanted.micro_batch_size))
    devices = len(gpus()) if device == "cuda" else 0
    many = wanted.processes or devices or 1
    if devices and many > devices:
        raise UserError(f"training.processes={many} need a GPU each, and this machine has {devices}")
    _require_even(wanted, many)
    return many


def _require_even(wanted: Shared, many: int) -> None:
    if wanted.batch_size % (many * wanted.micro_batch_size):
        raise UserError(
            f"training.batch_size ({wanted.batch_size}) must be a multiple of "
            f"training.micro_batch_size ({wanted.micro_batch_size}) times the {many} processes that train: change one "
            "of them, or training.processes"
        )


def launcher(job: TrainingJob, many: int) -> list[str]:
    """What starts launch.py `many` times: Python itself, or torchrun.

    With CUDA torchrun for one process too: OpenRLHF asks its environment who it is. Not DeepSpeed's launcher: told a
    number of GPUs, it takes the machine's first ones, whatever CUDA_VISIBLE_DEVICES says.
    """
    if many == 1 and job.device == "cpu":
        return [str(job.python)]
    return [str(job.python), "-m", "torch.distributed.run", "--nproc_per_node", str(many),
            "--master_addr", "127.0.0.1", "--master_port", str(_free_port())]  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
