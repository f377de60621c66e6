"""Which GPUs or cores each replica of a model gets on this machine."""

from collections.abc import Sequence
from dataclasses import replace

from schemas.config import EngineConfig
from schemas.errors import UserError
from tasks.engine.server import Machine


def replicas(config: EngineConfig, machine: Machine, devices: Sequence[str]) -> int:
    """How many servers a model gets: `engine.replicas`, or for 0 as many as the GPUs hold.

    Raises:
        UserError: there are fewer GPUs than they need.
    """
    if machine.device == "cpu":
        return config.replicas or 1
    wanted = config.replicas or max(1, len(devices) // config.tensor_parallel_size)
    if wanted > 1 and wanted * config.tensor_parallel_size > len(devices):
        raise UserError(
            f"engine.replicas={wanted} of engine.tensor_parallel_size={config.tensor_parallel_size} need "
            f"{wanted * config.tensor_parallel_size} GPUs, and this machine has {len(devices)}; lower one of them"
        )
    return wanted


def place(
    number: int, of: int, machine: Machine, devices: Sequence[str], config: EngineConfig
) -> tuple[Machine, str]:  # fmt: skip
    """The machine as replica `number` (from 0) sees it, and its CUDA_VISIBLE_DEVICES; one alone gets all there is."""
    if machine.device != "cpu":
        each = config.tensor_parallel_size
        return machine, ",".join(devices[number * each : (number + 1) * each] if of > 1 else devices)
    cores = machine.cores
    first, last = len(cores) * number // of, len(cores) * (number + 1) // of
    return replace(machine, cores=cores[first:last] or (cores[number % len(cores)],)), ""
