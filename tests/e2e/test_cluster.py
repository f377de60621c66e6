"""A real Ray cluster on this machine loses a node in the middle of serving, and one in the middle of training."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.config import ClusterConfig
from tasks.runtime import runtime_dir
from tasks.training.job import TrainingJob
from tasks.training.openrlhf import TrainerDied, train
from tests.cluster.real_ray import Cluster
from tests.cluster.test_serving import run, serving, texts
from tests.training.samples import in_runtime, write_pairs

pytestmark = pytest.mark.e2e


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Two nodes of a CPU each."""
    python = runtime_dir() / "bin/python"
    if not python.with_name("ray").exists():
        pytest.skip(f"no Ray in {python.parents[1]}: `pop setup --cluster`")
    monkeypatch.setenv("POP_CACHE", str(tmp_path / "cache"))
    with Cluster(python, nodes=2) as there:
        yield there


def test_a_lost_node_costs_no_request_and_no_training(tmp_path: Path, cluster: Cluster) -> None:
    by_ray, said = ClusterConfig(kind="ray", address=cluster.address), list[str]()
    what = serving(tmp_path, "--fault", "slow=4")

    def lose_one(**_: int) -> None:
        cluster.kill(1)

    made = asyncio.run(run(tmp_path, said, what, lose_one, 2, by_ray, start_timeout_sec=60))
    assert texts(made) == texts(asyncio.run(run(tmp_path, [], serving(tmp_path), None, 2, by_ray)))
    cluster.add()

    python = runtime_dir() / "bin/python"
    in_runtime(python, Path(__file__).parents[1] / "training/shapes.py", tmp_path, "qwen2")
    pairs = write_pairs(tmp_path / "pairs.parquet", {f"p{n}": (f"Yes, a warm bath {n}", f"No: {n}") for n in range(32)})
    job = TrainingJob(
        python, tmp_path / "qwen2", pairs, tmp_path / "work", batch_size=8, micro_batch_size=2, warmup_ratio=0.0,
        eval_share=0.0, learning_rate=1e-3, beta=0.1, epochs=2, save_steps=2, processes=2, cluster=by_ray,
    )  # fmt: skip
    two: dict[int, Any] = {}
    after: dict[int, Any] = {}
    alone: dict[int, Any] = {}

    def until_the_fifth(row: dict[str, Any]) -> None:
        two[row["step"]] = row["loss"]
        if row["step"] == 5:
            cluster.kill(1)

    with pytest.raises(TrainerDied, match="the cluster lost a part of the training: a node went"):
        train(job, until_the_fifth)
    train(job, lambda row: after.update({row["step"]: row["loss"]}))  # by one process, on what nodes are there
    assert (tmp_path / "work/logs/universal.log").exists() and not (tmp_path / "work/checkpoints.bad").exists()
    train(replace(job, cluster=ClusterConfig(), processes=1, workdir=tmp_path / "alone"),
          lambda row: alone.update({row["step"]: row["loss"]}))  # fmt: skip
    assert sorted(after) == list(range(1, 9)) == sorted(alone)
    for step, loss in {**after, **two}.items():
        assert loss == pytest.approx(alone[step], abs=1e-3)
