"""Runtime-side script: what of POP talks to Ray. Standard library and Ray only; its one argument is an order as JSON.

    RUNTIME_PYTHON on_ray.py '{"do": "nodes" | "serve" | "train", "address": "host:port", ...}'

What it has to tell is a JSON line each in the order's file `events`. Its processes live as long as it does: Ray ends
the holders with the job of who asked for them, and each holder's process ends with its holder.
"""

import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

NODE_LOST, UNABLE = 75, 76  # exit codes; after the first, another try on the nodes that are left may do
_GRACE_SEC = 8.0  # in which the guardian of a holder that is gone has ended what it guarded
_OTHERS_SEC = 45.0  # after one process of a training has failed, for the others: Ray tells of a lost node after a while
_LOOK_SEC = 2.0
_REACH_SEC = 10.0
# A worker of Ray kills its own children, the guardian too, and then nobody would end what that guards: it is no child.
_APART = "import os, sys; os.fork() and os._exit(0); os.setsid(); os.execv(sys.executable, sys.argv[1:])"

Order = dict[str, Any]


class Holder:
    """An actor that holds one process on the node where Ray has put it. Whatever ends the holder ends the process."""

    def __init__(self) -> None:
        self._said = self._lifeline = -1

    def place(self, needs: list[str]) -> dict[str, Any]:
        """This node's address, a free port there, and which of these files and folders it does not see."""
        host = ray.util.get_node_ip_address()
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.bind((host, 0))
            port = probe.getsockname()[1]
        return {"host": host, "port": port, "missing": [path for path in needs if not Path(path).exists()]}

    def start(self, order: Order, env: dict[str, str]) -> None:
        """Start the order's command under a guardian, which ends it when this process is gone."""
        inner, self._lifeline = os.pipe()
        self._said, outer = os.pipe()
        interface = _interface(ray.util.get_node_ip_address())
        fixed = {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface} if interface else {}
        env = fixed | dict(os.environ) | env | {"POP_EXIT_FD": str(outer)}
        command = [sys.executable, "-S", "-c", _APART, sys.executable, "-S", order["guardian"], *order["command"]]
        Path(order["log"]).parent.mkdir(parents=True, exist_ok=True)  # where nodes share no folder of logs
        with Path(order["log"]).open("ab") as log:
            subprocess.run(
                command, stdin=inner, stdout=log, stderr=log, env=env, cwd=order["folder"], pass_fds=(outer,),
                check=True,
            )  # fmt: skip
        os.close(inner)
        os.close(outer)

    def ended(self) -> int:
        """Wait for its end; the exit code."""
        said = os.read(self._said, 16)
        return int(said or -9)  # nothing: its guardian was killed

    def stop(self) -> None:
        """End it; returns when all of it is gone."""
        os.close(self._lifeline)
        self._lifeline = -1


def _interface(host: str) -> str:
    """The network interface that has this address: what the host's name stands for may be another one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                found = fcntl.ioctl(sock.fileno(), 0x8915, struct.pack("256s", name.encode()[:15]))  # SIOCGIFADDR
                if socket.inet_ntoa(found[20:24]) == host:
                    return name
    return ""


class Teller:
    """Writes what happens as JSON lines."""

    def __init__(self, order: Order) -> None:
        self._path, self._lock = Path(order["events"]), threading.Lock()

    def __call__(self, **event: Any) -> None:
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")


class Unable(Exception):
    """Why an order cannot be carried out, in one line."""


def connect(order: Order) -> None:
    """Join the cluster, or begin one on this machine that ends with this process."""
    own: dict[str, Any] = {}
    if not order["address"]:
        cores = len(os.sched_getaffinity(0))
        own = {"num_cpus": cores, "include_dashboard": False, "object_store_memory": 100_000_000}
    try:
        host, colon, port = order["address"].rpartition(":")
        if colon:  # Ray itself would try for minutes
            socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_SEC).close()
        ray.init(address=order["address"] or "local", log_to_driver=False, logging_level="ERROR", **own)
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise Unable(f"no Ray cluster answers at cluster.address={order['address']!r}: {said}") from None


def alive() -> list[dict[str, Any]]:
    """The cluster's nodes and all that each has to give."""
    return [
        {"id": node["NodeID"], "host": node["NodeManagerAddress"], "cpus": int(node["Resources"].get("CPU", 0)),
         "gpus": int(node["Resources"].get("GPU", 0)), "memory": int(node["Resources"].get("memory", 0))}
        for node in ray.nodes() if node["Alive"]
    ]  # fmt: skip


def holder(order: Order, **options: Any) -> Any:
    """A holder with the order's share of a node."""
    options |= {"num_cpus": order["cpus"], "num_gpus": order["gpus"], "memory": order["memory"] or None}
    return ray.remote(Holder).options(max_concurrency=4, max_restarts=0, **options).remote()


def placed(one: Any, order: Order) -> dict[str, Any]:
    """Where a holder is; waits until there is room for it."""
    wanted = ", ".join(f"{order[name]:g} {name}" for name in ("gpus", "cpus") if order[name])
    try:
        place: dict[str, Any] = ray.get(one.place.remote(order["needs"]), timeout=order["place_sec"])
    except GetTimeoutError:
        raise Unable(f"no node of the cluster had room for {wanted} within {order['place_sec']:.0f} s") from None
    if place["missing"]:
        raise Unable(
            f"the node {place['host']} does not see {place['missing'][0]}: all nodes of a cluster need the project, "
            "its runtime environment, the models and the runs at the same paths, on a file system that they share"
        )
    return place


def keep(number: int, order: Order, tell: Teller) -> None:
    """Keep one replica of a server: when its process or its node goes, it comes up again where there is room."""
    order = order | {"log": order["log"].format(number + 1)}
    for times in range(order["restarts"] + 1):
        one = holder(order, scheduling_strategy="SPREAD")
        lost = True
        try:
            place = placed(one, order)
            filled = {"{host}": place["host"], "{port}": str(place["port"])}
            command = [filled.get(word, word) for word in order["command"]]
            ray.get(one.start.remote(order | {"command": command}, order["env"]))
            tell(event="started", replica=number, host=place["host"], port=place["port"])
            code = ray.get(one.ended.remote())
            why, lost = f"it ended with exit code {code}", False
        except RayActorError:
            why = "its node, or its holder there, went"
        except Exception as error:
            why = str(error) if isinstance(error, Unable) else " ".join(str(error).split())[-300:]
            ray.kill(one)
            tell(event="lost", replica=number, why=why)
            return
        ray.kill(one)
        tell(event="gone", replica=number, why=why, node=lost, last=times == order["restarts"])


def serve(order: Order) -> int:
    """Keep the replicas up until this process is ended."""
    tell, here = Teller(order), ray.get_runtime_context().get_node_id()
    for number in range(order["count"]):
        threading.Thread(target=keep, args=(number, order, tell), daemon=True).start()
    while any(node["id"] == here for node in alive()):  # Ray goes on in a process whose own node has gone, to no end
        time.sleep(_LOOK_SEC)
    raise Unable("the cluster's node on this machine went")


def train(order: Order) -> int:
    """Run a command as that many processes that find each other; the exit code of what failed, or 0."""
    each = {"CPU": order["cpus"], "GPU": order["gpus"], "memory": order["memory"]}
    group = placement_group(
        [{name: much for name, much in each.items() if much}] * order["count"],
        strategy="PACK" if order["gpus"] else "SPREAD",
    )
    if not group.wait(order["place_sec"]):
        raise NodeLost(f"there was no room for {order['count']} processes within {order['place_sec']:.0f} s")
    where = [PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=n) for n in range(order["count"])]
    holders = [holder(order, scheduling_strategy=one) for one in where]
    try:
        places = [placed(one, order) for one in holders]
        for rank, one in enumerate(holders):
            log = order["log"].format(rank)
            ray.get(one.start.remote(order | {"log": log}, order["env"] | ranked(rank, places, order)))
    except RayActorError:
        raise NodeLost("a node went while the training was being started") from None
    codes = ended([one.ended.remote() for one in holders])
    for one in holders:
        with contextlib.suppress(RayError):
            ray.get([one.stop.remote(), one.ended.remote()], timeout=_GRACE_SEC)
    if None in codes.values():
        raise NodeLost(f"a node went, with {sum(code is None for code in codes.values())} of {len(holders)} processes")
    bad = sorted((rank for rank, code in codes.items() if code), key=lambda rank: codes[rank] < 128)  # signals first
    if bad:
        print(Path(order["log"].format(bad[0])).read_bytes()[-20_000:].decode(errors="replace"), flush=True)
    return codes[bad[0]] if bad else 0


def ranked(rank: int, places: list[dict[str, Any]], order: Order) -> dict[str, str]:
    """Who a process is among the others, as torchrun tells it; each sees the GPUs that Ray gave it, and no other."""
    return {
        "MASTER_ADDR": places[0]["host"], "MASTER_PORT": str(places[0]["port"]), "WORLD_SIZE": str(len(places)),
        "RANK": str(rank), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "OMP_NUM_THREADS": str(order["cpus"]),
    }  # fmt: skip


def ended(waits: list[Any]) -> dict[int, Any]:
    """The exit code by rank, None where a node went, in the order of the ends. After one that failed not all are
    waited for: the others may wait for it, to no end; but that it failed may come of a lost node, not yet told of."""
    codes: dict[int, Any] = {}
    left, over = {wait: rank for rank, wait in enumerate(waits)}, float("inf")
    while left and time.monotonic() < over:
        for wait in ray.wait(list(left), timeout=_LOOK_SEC)[0]:
            try:
                codes[left[wait]] = ray.get(wait)
            except RayActorError:
                codes[left[wait]] = None
            if codes[left.pop(wait)] != 0:
                known = None in codes.values() or max(codes.values()) > 128
                over = min(over, time.monotonic() + (0 if known else _OTHERS_SEC))
    return codes


class NodeLost(Exception):
    """A training has ended because a node went."""


def main(order: Order) -> int:
    """Do what was ordered; the exit code."""
    try:
        connect(order)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # Ray's own handler writes pages into the log
        if order["do"] == "nodes":
            Teller(order)(event="nodes", nodes=alive())
            return 0
        return serve(order) if order["do"] == "serve" else train(order)
    except Unable as error:
        print(error, file=sys.stderr, flush=True)
        return UNABLE
    except NodeLost as error:
        ray.shutdown()
        time.sleep(_GRACE_SEC)  # what is left of it, wherever it is, may still write into the training's folder
        print(error, file=sys.stderr, flush=True)
        return NODE_LOST


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
