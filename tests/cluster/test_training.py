"""A training on a cluster: its processes are told of each other, and how it ended is told apart."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.config import ClusterConfig
from schemas.errors import UserError
from tasks.cluster.driver import ENVIRONMENT, NODE_LOST
from tasks.cluster.places import Node, Share, divided, room, share
from tasks.processes.guarded import Guarded
from tasks.training.job import TrainingJob, Workdir
from tasks.training.launcher import processes
from tasks.training.on_cluster import by_ray, places
from tests.cluster.conftest import ADDRESS, Nodes
from tests.training.samples import write_pairs

TOLD = "import json, os, sys; print(json.dumps([os.environ[n] for n in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'LOCAL_RANK')]), flush=True); "  # noqa: E501


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    """A job on the cluster, of two processes."""
    (tmp_path / "parent").mkdir()
    pairs = write_pairs(tmp_path / "pairs.parquet", {"a": ("yes", "no")})
    cluster = ClusterConfig(kind="ray", address=ADDRESS)
    return TrainingJob(
        Path(sys.executable), tmp_path / "parent", pairs, tmp_path / "work", cluster=cluster, processes=2
    )


def started(job: TrainingJob, then: str) -> tuple[Guarded, Workdir]:
    """The processes of a training that do this."""
    paths = Workdir(job.workdir)
    paths.log("train").parent.mkdir(parents=True)
    script = paths.root / "script.py"
    script.write_text(TOLD + then)
    command = by_ray(job, paths, places(job, paths), script, [])
    return Guarded("the trainer", command, ENVIRONMENT, paths.log("train")), paths


def said(paths: Workdir, rank: int) -> list[str]:
    lines: list[str] = json.loads(paths.log(f"train-{rank}").read_text().splitlines()[0])
    return lines


def test_its_processes_find_each_other(job: TrainingJob, nodes: Nodes) -> None:
    trainer, paths = started(job, "")
    assert trainer.wait(30) == 0, trainer.tail()
    assert [said(paths, rank) for rank in (0, 1)] == [[str(rank), "2", "127.0.0.1", "0"] for rank in (0, 1)]


def test_one_that_is_killed_ends_all_and_its_last_words_are_the_trainers(job: TrainingJob, nodes: Nodes) -> None:
    die = "os.environ['RANK'] == '1' and (print('out of memory', flush=True), os.kill(os.getpid(), 9)); import time; "
    trainer, _ = started(job, die + "time.sleep(60)")
    assert (trainer.wait(30), "out of memory" in trainer.tail()) == (128 + 9, True)


def test_a_lost_node_is_told_apart_and_the_next_try_takes_what_is_there(
    job: TrainingJob, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, paths = started(job, "import time; time.sleep(60)")
    while not all((log := paths.log(f"train-{rank}")).exists() and log.stat().st_size for rank in (0, 1)):
        time.sleep(0.2)
    nodes(a=1)
    assert (trainer.wait(40), trainer.tail(1)) == (NODE_LOST, "a node went, with 1 of 2 processes")
    assert places(job, paths).many == 1


def test_room_is_made_of_nodes_and_never_split_over_two() -> None:
    gpus = [Node("a", "a", 64, 8, 10**12), Node("b", "b", 64, 3, 10**12), Node("c", "head", 4, 0, 10**10)]
    two = share(ClusterConfig(), gpus, 2)
    assert (two, room(gpus, two, 0, "x"), room(gpus, two, 3, "x")) == (Share(2, 2, 0), 5, 3)
    assert divided(Share(2, 1, 10), 4, 0.5) == (Share(1, 0.5, 5), 4) and divided(two, 5, 0.5) == (two, 2)
    whole = share(ClusterConfig(memory_gb=20), gpus, 0)
    assert (
        whole == Share(4, 0, 20 * 10**9) and room(gpus, whole, 0, "x") == 2
    )  # one a node, and the head has too little
    with pytest.raises(UserError, match=r"no node of the cluster has room for x \(16 GPUs, .*a: 8 GPUs, 64 CPUs"):
        room(gpus, share(ClusterConfig(), gpus, 16), 0, "x")


def test_a_batch_is_shared_by_as_many_as_have_room(job: TrainingJob) -> None:
    assert [processes(replace(job, processes=0), "cpu", there) for there in (1, 3, 5, 20)] == [1, 2, 4, 16]
    with pytest.raises(UserError, match="times the 3 processes"):
        processes(replace(job, processes=3), "cpu", 3)
