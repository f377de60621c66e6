"""`pop setup`: make the runtime environment, check it, and say what it is."""

from typing import Literal

from rich.console import Console

from tasks.runtime import runtime_dir
from tasks.runtime.install import install, run_steps
from tasks.runtime.steps import EVALUATION, cluster_step


def run_setup(
    device: Literal["auto", "cpu", "cuda"], console: Console, evaluation: bool = False, cluster: bool = False
) -> None:
    """Install what is missing and check the whole; raises DependencyError with the mend where it does not work."""

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    report = install(device, runtime_dir(), say)
    more = [EVALUATION] * evaluation + [cluster_step(report.device)] * cluster
    if more and not all(step.done_before for step in run_steps(more, runtime_dir(), say)):
        install(device, runtime_dir(), say)  # checks the whole again
