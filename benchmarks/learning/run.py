"""Rounds of an arm, by the project's own flows: what is there is reused, so the same command goes on."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.learning.arms import BASE, Size, config_of, run_name
from benchmarks.learning.margins import heldout_pairs, margins, margins_file
from benchmarks.learning.table import line, write
from flows.cli.running import run_flow
from flows.evaluate import evaluate_flow
from flows.round import round_flow
from schemas.config import Config
from schemas.errors import CheckFailed, UnfitModel
from tasks.evaluation.bench import NESTED
from tasks.models.registry import known_models
from tasks.models.resolve import resolve
from tasks.storage.store import Store


async def base(size: Size, seed: int, judge: str | None, root: Path) -> None:
    """The first round's problems, answers and ratings, the exam, and the untrained policy's answers to it."""
    config = config_of(size, BASE, seed, judge, first=True)
    run = run_name(BASE, seed)
    await round_flow(config, run=run, root=str(root))
    await evaluate_flow(config, run=run, model=BASE, root=str(root))


async def arm(size: Size, name: str, seed: int, judge: str | None, root: Path) -> str | None:
    """All rounds of an arm, each from the model before it, whatever the gate would say; why it ended early, if so.

    The exam and the untrained policy's answers to it are the base's, copied once. What needs no answers comes first.
    """
    run, store = run_name(name, seed), Store(str(root), run_name(name, seed))
    exam = root / run / NESTED
    if not exam.exists():
        shutil.copytree(root / run_name(BASE, seed) / NESTED, exam.with_name("copying"), dirs_exist_ok=True)
        exam.with_name("copying").rename(exam)
    for number in range(size.rounds_of(name)):
        config = _from_last(config_of(size, name, seed, judge, first=number == 0), store, number)
        began = time.monotonic()
        try:
            await round_flow(config, run=run, round=number, root=str(root))
        except (CheckFailed, UnfitModel) as why:
            return f"round {number}: {why}"
        trained = time.monotonic()
        learned(size, store, number, seed, judge, root)
        if size.margins_only:
            continue
        await evaluate_flow(config, run=run, model=str(number), root=str(root))
        print(
            f"{run}, round {number}: {trained - began:.0f} s, evaluation {time.monotonic() - trained:.0f} s", flush=True
        )
    return None


def learned(size: Size, store: Store, number: int, seed: int, judge: str | None, root: Path) -> None:
    """The margins of a round's model on the held-out pairs, against the untrained policy."""
    config = config_of(size, BASE, seed, judge, first=True)
    policy = resolve("policy", config, print).path
    trained = next(row["path"] for row in known_models(store) if row["round"] == number)
    assert policy is not None
    margins(Path(policy), Path(trained), heldout_pairs(root, seed, config), margins_file(root, store.run, number))


def _from_last(config: Config, store: Store, number: int) -> Config:
    """The configuration with the model of the round before as its policy."""
    if number == 0:
        return config
    path = next(row["path"] for row in known_models(store) if row["round"] == number - 1)
    policy = config.models["policy"].model_copy(update={"path": path})
    return config.model_copy(update={"models": {**config.models, "policy": policy}})


def run_now(size: Size, seeds: Sequence[int], names: Sequence[str], judge: str | None, root: Path) -> None:
    """Of each seed the base, and then the arms one after the other, with a line for each as it ends."""

    async def work() -> None:
        for seed in seeds:
            await base(size, seed, judge, root)
            print(line(root, BASE, seed), flush=True)
            for name in names:
                why = await arm(size, name, seed, judge, root)
                print(line(root, name, seed) + (f"; ended: {why}" if why else ""), flush=True)
                write(root)

    run_flow(work, Console(stderr=True, highlight=False))
