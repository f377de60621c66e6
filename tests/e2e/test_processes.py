"""The real trainer in several processes: its losses are those of one, which goes on from where they were killed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.processes.guarded import stop_all
from tasks.runtime import runtime_dir
from tasks.training.job import TrainingJob
from tasks.training.openrlhf import TrainerDied, train
from tests.training.samples import in_runtime, write_pairs

pytestmark = pytest.mark.e2e


def test_two_processes_killed_and_one_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = runtime_dir() / "bin/python"
    if not python.exists():
        pytest.skip(f"no runtime environment at {python}")
    monkeypatch.setenv("POP_CACHE", str(tmp_path / "cache"))
    in_runtime(python, Path(__file__).parents[1] / "training/shapes.py", tmp_path, "qwen2")
    pairs = write_pairs(tmp_path / "pairs.parquet", {f"p{n}": (f"Yes, a warm bath {n}", f"No: {n}") for n in range(32)})
    job = TrainingJob(
        python, tmp_path / "qwen2", pairs, tmp_path / "work", batch_size=8, micro_batch_size=2, warmup_ratio=0.0,
        eval_share=0.0, learning_rate=1e-3, beta=0.1, epochs=6, save_steps=4, processes=2,
    )  # fmt: skip
    two: dict[int, Any] = {}
    one: dict[int, Any] = {}
    alone: dict[int, Any] = {}

    def until_the_fifth(row: dict[str, Any]) -> None:
        two[row["step"]] = row["loss"]
        if row["step"] == 5:
            stop_all()

    with pytest.raises(TrainerDied, match="was killed"):
        train(job, until_the_fifth)
    train(replace(job, processes=1), lambda row: one.update({row["step"]: row["loss"]}))
    train(replace(job, processes=1, workdir=tmp_path / "alone"), lambda row: alone.update({row["step"]: row["loss"]}))
    assert (tmp_path / "work/logs/universal.log").exists() and not (tmp_path / "work/checkpoints.bad").exists()
    assert sorted(one) == list(range(1, 25)) == sorted(alone) and len(two) < 24
    for step, loss in {**one, **two}.items():
        assert loss == pytest.approx(alone[step], abs=1e-3)
