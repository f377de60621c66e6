"""As much of Ray's interface as on_ray.py uses, in one process.

Nodes are lines `name cpus` of a file that a test writes. One whose line is gone takes its actors along, as Ray does
with a node that is lost.
"""

import os
import sys
import threading
import time
import types
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for
from pathlib import Path
from typing import Any

FILE = Path(os.environ["POP_TEST_NODES"])
HOST = "127.0.0.1"
ACTORS: list["Actor"] = []
LOCK = threading.Lock()


class RayError(Exception): ...


class RayActorError(RayError): ...


class GetTimeoutError(RayError): ...


def nodes() -> list[dict[str, Any]]:
    there = dict(line.split() for line in FILE.read_text().splitlines())
    return [{"NodeID": name, "NodeManagerAddress": HOST, "Alive": True,
             "Resources": {"CPU": float(cpus), "memory": 8e9}}
            for name, cpus in there.items()]  # fmt: skip


def init(address: str, **_: Any) -> None:
    threading.Thread(target=_watch, daemon=True).start()


def shutdown() -> None:
    for actor in [*ACTORS]:
        kill(actor)


def _watch() -> None:
    while True:
        time.sleep(0.05)
        there = {node["NodeID"] for node in nodes()}
        for actor in [actor for actor in ACTORS if actor.node and actor.node not in there]:
            kill(actor)


class Method:
    def __init__(self, actor: "Actor", name: str) -> None:
        self.actor, self.name = actor, name

    def remote(self, *arguments: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        if self.actor.dead:
            future.set_exception(RayActorError("the actor is dead"))
            return future
        self.actor.pending.append(future)
        threading.Thread(target=self._run, args=(future, arguments), daemon=True).start()
        return future

    def _run(self, future: "Future[Any]", arguments: tuple[Any, ...]) -> None:
        while not self.actor.placed():
            time.sleep(0.02)
        try:
            result, error = getattr(self.actor.object, self.name)(*arguments), None
        except Exception as problem:
            result, error = None, problem
        if not future.done():
            future.set_exception(error) if error else future.set_result(result)


class Actor:
    def __init__(self, made: Any, cpus: float) -> None:
        self.object, self.cpus, self.node, self.dead = made, cpus, "", False
        self.pending: list[Future[Any]] = []
        ACTORS.append(self)

    def placed(self) -> bool:
        with LOCK:
            for node in nodes() if not self.node and not self.dead else ():
                used = sum(one.cpus for one in ACTORS if one.node == node["NodeID"])
                if used + self.cpus <= node["Resources"]["CPU"]:
                    self.node = node["NodeID"]
                    break
        return bool(self.node)

    def __getattr__(self, name: str) -> Method:
        return Method(self, name)


class Made:
    def __init__(self, kind: type, cpus: float = 1.0) -> None:
        self.kind, self.cpus = kind, cpus

    def options(self, num_cpus: float, **_: Any) -> "Made":
        return Made(self.kind, num_cpus)

    def remote(self) -> Actor:
        return Actor(self.kind(), self.cpus)


def remote(kind: type) -> Made:
    return Made(kind)


def kill(actor: Actor) -> None:
    if not actor.dead:
        actor.dead = True
        ACTORS.remove(actor)
        if actor.object._lifeline >= 0:
            os.close(actor.object._lifeline)  # as its process' end does
            actor.object._lifeline = -1
        for future in actor.pending:
            if not future.done():
                future.set_exception(RayActorError("the actor died"))


def get(what: Any, timeout: float | None = None) -> Any:
    try:
        return [one.result(timeout) for one in what] if isinstance(what, list) else what.result(timeout)
    except TimeoutError:
        raise GetTimeoutError from None


def wait(waits: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
    done = wait_for(waits, timeout, FIRST_COMPLETED).done
    return list(done)[:1], []


def get_runtime_context() -> Any:
    return types.SimpleNamespace(get_node_id=lambda: "head")


class Group:
    def wait(self, seconds: float) -> bool:
        return True


def _module(name: str, **contents: Any) -> None:
    module = types.ModuleType(name)
    module.__dict__.update(contents)
    sys.modules[name] = module


_module("ray.exceptions", RayError=RayError, RayActorError=RayActorError, GetTimeoutError=GetTimeoutError)
util = types.SimpleNamespace(get_node_ip_address=lambda: HOST)
_module("ray.util", **vars(util))
_module("ray.util.placement_group", placement_group=lambda bundles, strategy: Group())
_module("ray.util.scheduling_strategies", PlacementGroupSchedulingStrategy=lambda group, **_: group)
