"""How many processes a cluster has room for, and how much of a node each one takes."""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.config import ClusterConfig
from schemas.errors import UserError


@dataclass(frozen=True)
class Node:
    """A node and all that it has to give, in use or not; memory in bytes."""

    id: str
    host: str
    cpus: int
    gpus: int
    memory: int


@dataclass(frozen=True)
class Share:
    """What one process takes; memory in bytes, 0 where nothing is asked for."""

    cpus: float
    gpus: float
    memory: int

    def fits(self, node: Node) -> int:
        """How many there is room for on a node."""
        given = ((node.cpus, self.cpus), (node.gpus, self.gpus), (node.memory, self.memory))
        return min(int(much // each) for much, each in given if each)


def divided(each: Share, many: int, part: float) -> tuple[Share, int]:
    """The same for one of several models that are served at once: a part of each share, or of the number of servers."""
    if each.gpus > 1 and part < 1:  # Ray gives out GPUs whole, or parts of a single one
        return each, max(1, int(many * part))
    return Share(_part(each.cpus, part), _part(each.gpus, part), int(each.memory * part)), many


def _part(much: float, part: float) -> float:
    return much * part if much * part < 1 else float(int(much * part))  # above 1 Ray takes whole numbers only


def share(cluster: ClusterConfig, nodes: Sequence[Node], gpus: int) -> Share:
    """What a process with so many GPUs takes: `cluster.cpus`, or for 0 a CPU a GPU, or the smallest node whole."""
    whole = min((node.cpus for node in nodes if node.cpus), default=1)
    return Share(cluster.cpus or gpus or whole, gpus, int(cluster.memory_gb * 1e9))


def room(nodes: Sequence[Node], each: Share, wanted: int, what: str) -> int:
    """How many processes run at once: `wanted` at most, for 0 one a GPU, or without GPUs one a node.

    Raises:
        UserError: there is no room for a single one.
    """
    fitting = [each.fits(node) for node in nodes]
    if not sum(fitting):
        needs = f"{each.gpus:g} GPUs, {each.cpus:g} CPUs, {each.memory / 1e9:g} GB"
        have = "; ".join(f"{n.host}: {n.gpus} GPUs, {n.cpus} CPUs, {n.memory / 1e9:.0f} GB" for n in nodes) or "none"
        raise UserError(f"no node of the cluster has room for {what} ({needs}; nodes are {have}): lower cluster.cpus, "
                        "cluster.memory_gb or engine.tensor_parallel_size")  # fmt: skip
    return min(wanted, sum(fitting)) if wanted else sum(fitting) if each.gpus else sum(1 for many in fitting if many)
