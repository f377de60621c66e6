"""Kills the controller, the server or the trainer of a round at random moments, resumes, and compares the tables.

    python -m tests.chaos.harness --kills 200 --seed 7        # what `make chaos` runs
    python -m tests.chaos.harness --kills 5 --seed 7 --real   # vLLM, OpenRLHF and the smoke preset

Which part is killed and how long after it appeared follows from the seed. A round is compared row for row with one that
nobody disturbed; every call that was finished before a kill must be in the tables as it was, to its seconds.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from flows import settings  # noqa: F401  (Prefect's settings, before Prefect)
from schemas.load import PROJECT
from schemas.tables import TABLES
from tasks.processes.guarded import alive
from tasks.storage.db import connect
from tasks.storage.store import Store
from tests.chaos import standin

# What a clock or a folder's name decides, and no more than that.
VOLATILE = {"generations": ("seconds", "endpoint"), "training_steps": ("seconds",), "models": ("path",)}
SERVER = "--latency-sec 0.12 --fault http500=0.03 --fault http429=0.03 --fault disconnect=0.02 --retry-after-sec 0.1"
Plan = Sequence[Sequence[str]]
PLAN: Plan = (("server",) * 4 + ("controller",) * 3, ("trainer", "trainer", "controller"))  # what is killed in a round
GOES_ON = (0, 3)  # how a controller may end by itself: finished, or a part was killed more often than it tries again
Say = Callable[[str], None]
Tables = dict[str, list[tuple[Any, ...]]]


@dataclass
class Setting:
    """One way to run a round as a process: `scale` stretches the moments of the kills."""

    command: list[str]
    env: dict[str, str]
    run: str
    scale: float = 1.0
    patience_sec: float = 90.0


@dataclass
class Report:
    """What happened and what was found wrong."""

    kills: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    rows: int = 0
    kept: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = ", ".join(f"{count} {part}" for part, count in sorted(self.kills.items()))
        found = f"{self.kills.total()} kills ({parts}) in {self.rounds} rounds; {self.rows} rows compared; "
        found += f"{self.kept} finished calls seen before a kill, all to be kept; {len(self.wrong)} findings"
        return "\n".join([found, *self.wrong])


def contents(root: Path | str, run: str) -> Tables:
    """Every row of every table, without the volatile columns."""
    con = connect(Store(str(root), run))
    found = {}
    for table in TABLES:
        without = f" EXCLUDE ({', '.join(VOLATILE[table])})" if table in VOLATILE else ""
        found[table] = con.execute(f"SELECT *{without} FROM {table} ORDER BY ALL").fetchall()
    return found


def calls(root: Path, run: str) -> Iterator[tuple[str, float]]:
    """Id and seconds of every finished call on disk, in tables and journals; a call made again has other seconds."""
    folder = root / run
    if any((folder / "generations").glob("*/*.parquet")):
        yield from connect(Store(str(root), run)).execute("SELECT generation_id, seconds FROM generations").fetchall()
    for journal in folder.glob("journal/*/*.jsonl"):
        for line in journal.read_bytes().splitlines():
            try:
                call = json.loads(line)
            except ValueError:
                continue  # torn: owed again
            yield call["generation_id"], call["seconds"]


class Round:
    """A round that is killed and resumed until it is finished."""

    def __init__(self, setting: Setting, root: Path, cache: Path, say: Say) -> None:
        self.setting, self.root, self.cache, self.say = setting, root, cache, say
        self.process: subprocess.Popen[bytes] | None = None
        self.log = root.with_suffix(".log")
        self.seen: dict[str, float] = {}

    def start(self) -> None:
        """The same command, every time."""
        if self.process is None or self.process.poll() is not None:
            env = os.environ | self.setting.env | {"POP_CACHE": str(self.cache)}
            command = [*self.setting.command, "--root", str(self.root)]
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    command, env=env, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )

    def target(self, part: str) -> int | None:
        """The pid of a part that runs: the controller, or what the guardian of a server or trainer guards."""
        assert self.process
        if part == "controller":
            return self.process.pid
        for path in (self.cache / "processes").glob("*.json"):
            try:
                record = json.loads(path.read_text())
            except (OSError, ValueError):
                continue
            if record["name"].startswith({"server": "vLLM", "trainer": "the trainer"}[part]):
                return int(record["pid"])
        return None

    def kill(self, part: str, draw: random.Random) -> bool:
        """Kill that part at a random moment of its life; False where there was none any more."""
        delay_sec, guardian, early = (
            draw.uniform(0.0, 3.0) * self.setting.scale,
            draw.random() < 0.3,
            draw.random() < 0.3,
        )
        if not self.appears("server" if part == "controller" and not early else part):
            return False
        time.sleep(delay_sec)
        pid = self.target(part)
        victims = [pid] if part == "controller" or guardian else _children(pid or 0)
        if pid is None or self.process is None or self.process.poll() is not None or not victims:
            return False
        try:
            os.kill(victims[0] or 0, signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.say(f"killed the {part}{' (its guardian)' if guardian and part != 'controller' else ''}")
        if part == "controller":
            self.process.wait()
        self.seen |= dict(calls(self.root, self.setting.run))
        return True

    def appears(self, part: str) -> bool:
        """Run the round until that part does; False where the round is finished, or past what that part does."""
        over = time.monotonic() + self.setting.patience_sec
        while time.monotonic() < over:
            if self.process is not None and (code := self.process.poll()) is not None:
                if code == 0:
                    return False
                self.must_go_on(code)
            self.start()
            if self.target(part) is not None:
                return True
            if part == "server" and self.training():
                return False
            time.sleep(0.02)
        said = self.log.read_text()[-3000:]
        raise TimeoutError(f"no {part} appeared in {self.setting.patience_sec:.0f} s; {self.log} ends:\n{said}")

    def training(self) -> bool:
        """Whether the round has come to its last stage."""
        return (self.root / self.setting.run / "training").exists()

    def must_go_on(self, code: int) -> None:
        """Raises where the controller ended in a way that nobody promised."""
        if code not in (*GOES_ON, -signal.SIGKILL):
            raise AssertionError(f"the controller ended with {code}:\n{self.log.read_text()[-3000:]}")

    def finish(self) -> None:
        """Resume until it is done."""
        over = time.monotonic() + 10 * self.setting.patience_sec
        while time.monotonic() < over:
            if self.process is not None and (code := self.process.wait()) == 0:
                return
            if self.process is not None:
                self.must_go_on(code)
            self.start()
        raise TimeoutError(f"the round does not finish; see {self.log}")

    def faults(self) -> list[str]:
        """What is wrong with the finished round, whatever its rows are."""
        con, wrong = connect(Store(str(self.root), self.setting.run)), []
        for name, table in TABLES.items():
            key = f"{table.key}, step" if name == "training_steps" else table.key
            twice = con.execute(f"SELECT {key}, count(*) FROM {name} GROUP BY ALL HAVING count(*) > 1").fetchall()
            wrong += [f"doubled in {name}: {row}" for row in twice]
        now = dict(con.execute("SELECT generation_id, seconds FROM generations").fetchall())
        lost = [name for name, seconds in self.seen.items() if now.get(name) != seconds]
        wrong += [f"a finished call was lost or made again: {name}" for name in lost]
        folder = self.root / self.setting.run
        left = [*folder.glob("*/round=*/.*.tmp"), *folder.glob("journal/*/*.jsonl")]
        wrong += [f"left behind: {path}" for path in left]
        for path in (self.cache / "processes").glob("*.json"):
            record = json.loads(path.read_text())
            if alive(record["pid"], record["started"]):
                wrong.append(f"still running: {record['name']}")
        return wrong


def _children(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.NoSuchProcess:
        return []


def differences(expected: Tables, found: Tables) -> list[str]:
    """Rows that one has and the other has not, by table."""
    wrong = []
    for table, rows in expected.items():
        lost, more = Counter(map(repr, rows)), Counter(map(repr, found[table]))
        wrong += [f"lost from {table}: {row[:200]}" for row in (lost - more)]
        wrong += [f"not expected in {table}: {row[:200]}" for row in (more - lost)]
    return wrong


RoundOf = Callable[[Setting, Path, Path, Say], Round]


def chaos(
    kills: int, seed: int, setting: Setting, folder: Path, say: Say, compare: bool = True, kind: RoundOf = Round,
    plan: Plan = PLAN,
) -> Report:  # fmt: skip
    """Kill `kills` times, over as many rounds as that takes, and look at each of them when it is finished.

    Args:
        compare: with a round of the same kind that nobody disturbed.
        plan: what is killed in a round; within a group in any order.
    """
    draw, report = random.Random(seed), Report()
    expected: Tables = {}
    if compare:
        undisturbed = kind(setting, folder / "undisturbed", folder / "cache", say)
        undisturbed.finish()
        expected = contents(undisturbed.root, setting.run)
        assert all(expected[table] for table in ("generations", "preferences", "training_steps", "models"))
    while report.kills.total() < kills:
        round_ = kind(setting, folder / f"round-{report.rounds}", folder / "cache", say)
        for part in [part for parts in plan for part in draw.sample(parts, len(parts))]:
            if report.kills.total() < kills:
                report.kills[part] += round_.kill(part, draw)
        round_.finish()
        found = contents(round_.root, setting.run)
        report.rounds, report.kept = report.rounds + 1, report.kept + len(round_.seen)
        report.rows += sum(map(len, found.values()))
        report.wrong += round_.faults() + (differences(expected, found) if compare else [])
        say(f"round {report.rounds}: {report.kills.total()} kills so far, {len(report.wrong)} findings")
    return report


def standin_setting(folder: Path, dialect: str, prefect_url: str) -> Setting:
    """A round on the fake engine and a trainer of a few lines."""
    config = standin.make(folder / dialect, dialect)
    env = {"POP_RUNTIME": str(folder / dialect / "runtime"), "STANDIN_SERVER": SERVER, "PREFECT_API_URL": prefect_url}
    return Setting([sys.executable, "-m", "flows.cli", "round", str(config), "--run", "chaos"], env, "chaos")


def real_setting(prefect_url: str) -> Setting:
    """The smoke preset with the real model, server and trainer; a checkpoint at every step."""
    sets = ("training.save_steps=1", "engine.max_restarts=20", "corpus.documents=6")
    command = [sys.executable, "-m", "flows.cli", "round", "smoke", "--run", "chaos"]
    command += [word for one in sets for word in ("--set", one)]
    return Setting(command, {"PREFECT_API_URL": prefect_url}, "chaos", scale=6.0, patience_sec=600)


def main() -> int:
    """Run from the command line; exit code 1 where anything was found."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    parser = argparse.ArgumentParser("python -m tests.chaos.harness", description=__doc__)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--dialect", choices=("structured", "stepwise"), default="stepwise")
    parser.add_argument("--real", action="store_true")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", flush=True)

    folder = tempfile.mkdtemp(prefix="pop-chaos-")
    with prefect_test_harness(server_startup_timeout=180):
        url = str(PREFECT_API_URL.value())
        setting = real_setting(url) if given.real else standin_setting(Path(folder), given.dialect, url)
        report = chaos(given.kills, given.seed, setting, Path(folder), say, compare=not given.real)
    say(str(report))
    shutil.rmtree(folder)  # after an error it stays, to be looked at
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
