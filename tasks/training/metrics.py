"""Turns OpenRLHF's tensorboard events into JSON lines, one a step, while it trains. Loaded by launch.py.

The metrics file is a pure function of all event files of the workdir: a resumed training adds an event file, the rows
are made anew from the first event on, and a step that was trained twice (once after the last checkpoint, before the
kill) is written once.
"""

import contextlib
import functools
import json
import math
import threading
import traceback
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

INTERVAL_SEC = 1.0
LAST_TAG = "acc_mean"  # OpenRLHF logs it last: with it a step's row is whole


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _row(step: int, values: dict[str, float], seconds: float) -> dict[str, Any]:
    """One step's row. Loss and accuracy are means over the batch.

    The rewards are those of the step's last micro-batch and the learning rate is the coming step's: upstream logs no
    others.
    """
    chosen, rejected = _number(values.get("chosen_reward")), _number(values.get("reject_reward"))
    return {
        "step": step,
        "loss": _number(values.get("loss_mean")),
        "accuracy": _number(values.get("acc_mean")),
        "chosen_reward": chosen,
        "rejected_reward": rejected,
        "margin": None if chosen is None or rejected is None else chosen - rejected,
        "learning_rate": _number(values.get("lr")),
        "grad_norm": _number(values.get("grad_norm")),
        "seconds": round(seconds, 3),
    }


class Follower:
    """Reads the event files under `events` as they grow and appends to `target`.

    Held-out loss and accuracy, where there are any, go to `<target's stem>_eval.jsonl`.
    """

    def __init__(self, events: Path, target: Path) -> None:
        self.events = events
        self.files = {"train": target, "eval": target.with_name(f"{target.stem}_eval.jsonl")}
        self.written: dict[str, set[int]] = {"train": set(), "eval": set()}
        self.loaders: dict[Path, Any] = {}
        self.values: dict[tuple[Path, str, int], dict[str, float]] = defaultdict(dict)
        self.origin: dict[Path, float] = {}  # the wall time that is second 0 of each file
        self.seconds = 0.0
        for path in self.files.values():
            path.unlink(missing_ok=True)

    def drain(self) -> None:
        """Read everything that is there now."""
        from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

        for path in sorted(self.events.rglob("events.out.tfevents.*")):
            loader = self.loaders.setdefault(path, LegacyEventFileLoader(str(path)))
            for event in loader.Load():
                # Training time goes on where the file before this one left it.
                self.origin.setdefault(path, event.wall_time - self.seconds)
                for value in event.summary.value:
                    self._take(path, value.tag, event.step, value.simple_value, event.wall_time)

    def _take(self, path: Path, tag: str, step: int, value: float, wall_time: float) -> None:
        kind, _, name = tag.partition("/")
        values = self.values[path, kind, step]
        values[name] = value
        if name != LAST_TAG or step in self.written[kind]:
            return
        if kind == "train":
            self.seconds = wall_time - self.origin[path]
            self._append(kind, _row(step, values, self.seconds))
        else:
            loss, accuracy = _number(values.get("eval_loss")), _number(values.get("acc_mean"))
            self._append(kind, {"step": step, "loss": loss, "accuracy": accuracy})

    def _append(self, kind: str, row: dict[str, Any]) -> None:
        self.written[kind].add(row["step"])
        with self.files[kind].open("ab") as out:
            out.write(json.dumps(row, allow_nan=False).encode() + b"\n")


@contextlib.contextmanager
def following(events: Path, target: Path) -> Iterator[None]:
    """Follow the events from a thread for as long as the block runs, and once more after it."""
    from torch.utils.tensorboard import SummaryWriter

    # The default of 120 s between flushes would hide the metrics, and lose them to a kill.
    SummaryWriter.__init__ = functools.partialmethod(SummaryWriter.__init__, flush_secs=1)
    target.parent.mkdir(parents=True, exist_ok=True)
    follower, over = Follower(events, target), threading.Event()

    def follow() -> None:
        while not over.wait(INTERVAL_SEC):
            try:
                follower.drain()
            except Exception:  # metrics are not worth a training; the final drain below tries again
                traceback.print_exc()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        follower.drain()
