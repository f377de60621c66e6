"""`pop setup --cluster`."""

import sys
from pathlib import Path

import pytest
from rich.console import Console

from flows.cli import setup
from tasks.runtime.install import Report
from tasks.runtime.steps import REQUIREMENTS, Step, cluster_step


def test_rays_version_is_that_of_the_cuda_environment_and_changes_nothing_else() -> None:
    ray = next(line for line in (REQUIREMENTS / "runtime-cluster.txt").read_text().splitlines() if line[0] != "#")
    assert ray in (REQUIREMENTS / "runtime-cuda.lock.txt").read_text().splitlines()
    for device in ("cpu", "cuda"):
        (command,) = cluster_step(device).commands
        assert f"-c{{requirements}}/runtime-{device}.lock.txt" in command


def test_what_is_installed_more_leaves_an_environment_that_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes the mark of a finished environment away, and only a check gives it back."""
    ready = tmp_path / ".pop-setup/ready"
    ready.parent.mkdir()

    def checked(*_: object) -> Report:
        ready.touch()
        return Report("cpu", tmp_path, (), 0.0)

    monkeypatch.setenv("POP_RUNTIME", str(tmp_path))
    monkeypatch.setattr(setup, "install", checked)  # minutes of installing
    monkeypatch.setattr(setup, "cluster_step", lambda _: Step("x", "x", ((sys.executable, "-c", ""),)))
    for _ in range(2):
        setup.run_setup("cpu", Console(quiet=True), cluster=True)
        assert ready.exists()
