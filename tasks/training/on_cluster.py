"""A training whose processes Ray places on the nodes of a cluster: as many as have room there."""

from dataclasses import dataclass
from pathlib import Path

from tasks.cluster.driver import command, nodes_of, order
from tasks.cluster.places import Share, room, share
from tasks.training.job import TrainingJob, Workdir
from tasks.training.launcher import environment, processes

_PLACE_SEC = 300.0  # for the cluster to have room; then nodes are counted anew


@dataclass(frozen=True)
class Places:
    """How many processes a training has on the cluster's nodes, and what each takes."""

    many: int
    each: Share


def places(job: TrainingJob, paths: Workdir) -> Places:
    """What the nodes that are there now have room for; `training.processes` at most, and as a batch can be shared.

    Raises:
        UserError: there is room for none.
        DependencyError: there is no Ray, or no cluster answers.
    """
    nodes = nodes_of(job.cluster, paths.log("nodes").parent)
    each = share(job.cluster, nodes, 1 if job.device == "cuda" else 0)
    return Places(processes(job, job.device, room(nodes, each, job.processes, "a trainer process")), each)


def by_ray(job: TrainingJob, paths: Workdir, at: Places, script: Path, arguments: list[str]) -> list[str]:
    """The command that runs launch.py on the cluster and ends with it."""
    what = order(
        "train", job.cluster, paths.log("train").with_suffix(".jsonl"), at.each, at.many,
        command=[str(job.python), str(script), *arguments], env=environment(job, paths, at.many),
        needs=[str(job.python), str(script), str(job.model.resolve()), str(paths.root)],
        log=str(paths.log("train-{}")), folder=str(paths.root), place_sec=_PLACE_SEC,
    )  # fmt: skip
    return command(what)
