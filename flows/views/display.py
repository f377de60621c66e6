"""What a person sees of a running round: bars on a terminal, plain lines elsewhere, and artifacts in the Prefect UI."""

import time
from types import TracebackType
from typing import Any

from prefect import runtime
from prefect.client.schemas.objects import StateType
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

LABELS = {
    "shard": "documents", "propose": "problems", "answer": "answers", "rubric": "rubrics", "rate": "ratings",
    "probe": "probes", "pair": "pairs", "train": "training", "evaluate": "evaluation",
}  # fmt: skip
EVERY_SEC = 10.0
_SHOWN: list["Display"] = []


class Display:
    """Bars with shards done and model calls made; to stderr, so that results can be piped."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.live = self.console.is_terminal
        self._started = self._last_line = time.monotonic()
        self.totals: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self.calls: dict[str, int] = {}
        self.logger: Any = None
        self.flow_run_id: str | None = None
        self.end = StateType.CANCELLED  # of the flow run, if this process ends now
        self._ids: dict[str, TaskID] = {}
        self._wait: TaskID | None = None
        self._bars = Progress(
            SpinnerColumn(finished_text="[green]✔"), TextColumn("{task.description:<10}"), BarColumn(32),
            MofNCompleteColumn(), TextColumn("[dim]{task.fields[note]}"), TimeElapsedColumn(), console=self.console,
        )  # fmt: skip

    def __enter__(self) -> "Display":
        _SHOWN.append(self)
        self.flow_run_id = runtime.flow_run.id
        if self.live:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if kind is None or issubclass(kind, Exception):  # else it is being ended, and `open_flow_runs` has it
            self.end = StateType.FAILED if kind else StateType.COMPLETED

    def stop(self) -> None:
        """Leave the terminal as it was; what is printed after this stays."""
        if self.live:
            self._bars.stop()

    def expect(self, stage: str, shards: int) -> None:
        """Say how many shards (training: steps) a stage has."""
        self.totals[stage] = shards
        if self.live:
            self._ids[stage] = self._bars.add_task(LABELS[stage], total=shards, note="", start=False)

    def say(self, text: str) -> None:
        """One line of news, with the time since the start."""
        seconds = int(time.monotonic() - self._started)
        line = Text.assemble((f"{seconds // 60:3d}:{seconds % 60:02d}  ", "dim"), text)
        self.console.print(line, soft_wrap=True)
        if self.logger:
            self.logger.info(text)

    def waiting(self, text: str) -> None:
        """A line that is only worth seeing while it lasts; empty when the wait is over."""
        if not self.live:
            if text and time.monotonic() - self._last_line > EVERY_SEC:
                self._last_line = time.monotonic()
                self.say(text)
            return
        if self._wait is None and text:
            self._wait = self._bars.add_task("engine", total=None, note=text)
        elif self._wait is not None and text:
            self._bars.update(self._wait, note=text)
        elif self._wait is not None:
            self._bars.remove_task(self._wait)
            self._wait = None

    def call(self, stage: str) -> None:
        """A model call (training: a step) is finished."""
        self.calls[stage] = self.calls.get(stage, 0) + 1
        unit = "steps" if stage == "train" else "calls"
        if self.live and stage in self._ids:
            self._bars.start_task(self._ids[stage])
            self._bars.update(self._ids[stage], note=f"{self.calls[stage]} {unit}")
        elif not self.live and time.monotonic() - self._last_line > EVERY_SEC:
            self._last_line = time.monotonic()
            self.say(f"{LABELS[stage]}: {self.calls[stage]} {unit}")

    def shard(self, stage: str, reused: bool) -> None:
        """A shard of a stage is done."""
        self.done[stage] = self.done.get(stage, 0) + 1
        if self.live and stage in self._ids:
            self._bars.start_task(self._ids[stage])
            self._bars.update(self._ids[stage], completed=self.done[stage])
            if reused:
                self._bars.update(self._ids[stage], note="reused")
        elif not self.live:
            how = " (reused)" if reused else ""
            self.say(f"{LABELS[stage]}: shard {self.done[stage]} of {self.totals.get(stage, 1)} done{how}")

    def reused(self, stage: str, shards: int) -> None:
        """Many shards of a stage are there already: one line for all."""
        self.done[stage] = self.done.get(stage, 0) + shards
        if self.live and stage in self._ids:
            self._bars.start_task(self._ids[stage])
            self._bars.update(self._ids[stage], completed=self.done[stage], note="reused")
        elif not self.live:
            self.say(f"{LABELS[stage]}: {shards} of {self.totals.get(stage, shards)} shards done (reused)")


def stop_displays() -> None:
    """Take every bar off the terminal, so that a last word is not drawn over."""
    for display in _SHOWN:
        display.stop()


def open_flow_runs() -> list[str]:
    """Ids of the flow runs of this process that have not ended by themselves, the innermost first."""
    return [one.flow_run_id for one in reversed(_SHOWN) if one.flow_run_id and one.end == StateType.CANCELLED]


def last_states() -> dict[str, StateType]:
    """How the flow runs of this process are to end if it ends now: the open ones, and the one that ended last, of which
    Prefect may not have been told yet."""
    told = [one for one in reversed(_SHOWN) if one.flow_run_id and one.end != StateType.CANCELLED][:1]
    ended = {str(one.flow_run_id): one.end for one in told}
    return dict.fromkeys(open_flow_runs(), StateType.CANCELLED) | ended
