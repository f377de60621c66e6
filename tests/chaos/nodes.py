"""Kills nodes of a real Ray cluster, servers on them, and the controller of a round at random moments.

    python -m tests.chaos.nodes --kills 10 --nodes 3 --seed 7     # needs `pop setup --cluster`

The stand-ins of the harness take the place of vLLM and OpenRLHF. A killed node is replaced by a new one.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tasks.runtime import runtime_dir
from tests.chaos import harness
from tests.chaos.harness import Round, Say, Setting, standin_setting
from tests.cluster.real_ray import Cluster

PARTS = ("node", "node", "node", "server", "controller")
STAGED_SEC = 6.0  # a round on the stand-ins, from its servers to its pairs, takes about as long


class OnNodes(Round):
    """A round whose servers and trainer are on a cluster's nodes."""

    cluster: Cluster

    def target(self, part: str) -> int | None:
        """The pid of the controller, or of the guardian of a server on a node."""
        if part == "controller":
            return super().target(part)
        runtime = self.setting.env["POP_RUNTIME"]
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if any(word.startswith(runtime) for word in words) and any(w.endswith("/serve_on_cpu.py") for w in words):
                return int(process.pid)
        return None

    def kill(self, part: str, draw: random.Random) -> bool:
        """Kill that part at a random moment; a node is lost with all that is on it, and another one joins."""
        delay_sec, number = draw.uniform(0.0, STAGED_SEC), draw.randrange(len(self.cluster.nodes))
        if part != "node":
            return super().kill(part, draw)
        if not self.appears("server"):
            return False
        time.sleep(delay_sec)
        self.seen |= dict(harness.calls(self.root, self.setting.run))
        self.cluster.kill(number)
        self.say("killed a node")
        self.cluster.add()
        return True


def on(cluster: Cluster) -> harness.RoundOf:
    """What makes rounds on this cluster."""

    def made(setting: Setting, root: Path, cache: Path, say: Say) -> OnNodes:
        one = OnNodes(setting, root, cache, say)
        one.cluster = cluster
        return one

    return made


def main() -> int:
    """Run from the command line; exit code 1 where anything was found."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    parser = argparse.ArgumentParser("python -m tests.chaos.nodes", description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    began, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="pop-chaos-"))

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", flush=True)

    python = runtime_dir() / "bin/python"
    os.environ["STANDIN_SERVER"] = harness.SERVER  # servers have their nodes' environment
    with prefect_test_harness(server_startup_timeout=600), Cluster(python, given.nodes) as cluster:
        setting = standin_setting(folder, "stepwise", str(PREFECT_API_URL.value()))
        sets = ("cluster.kind=ray", f"cluster.address={cluster.address}", "engine.replicas=2", "training.processes=1")
        setting.command += [word for one in sets for word in ("--set", one)]
        setting.env["STANDIN_RAY"] = str(python)
        setting.patience_sec = 240.0
        report = harness.chaos(given.kills, given.seed, setting, folder, say, kind=on(cluster), plan=(PARTS,))
    say(str(report))
    shutil.rmtree(folder)  # after an error it stays, to be looked at
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
