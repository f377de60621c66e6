"""Let the loss and accuracy that OpenRLHF logs be those of all processes. Loaded by launch.py, in the runtime.

Upstream reduces a step's other figures over the processes, but logs these two as rank 0 has them: of its share of the
batch alone.
"""

import importlib
from typing import Any

OF_ONE_RANK = ("loss_mean", "acc_mean")


def use() -> None:
    """Patch the trainer; call it once, before training begins."""
    trainer: Any = importlib.import_module("openrlhf.trainer.dpo_trainer").DPOTrainer
    log = trainer.save_logs_and_checkpoints

    def of_all(
        self: Any, args: Any, step: int, bar: Any, logs: dict[str, Any] | None = None, states: Any = None
    ) -> Any:
        means = {name: value for name, value in (logs or {}).items() if name in OF_ONE_RANK}
        return log(self, args, step, bar, {**(logs or {}), **self.strategy.all_reduce(means)}, states)

    trainer.save_logs_and_checkpoints = of_all
