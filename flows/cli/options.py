"""What the commands share: the application, its consoles, the options, and the run that is meant."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from schemas.errors import UserError

if TYPE_CHECKING:  # what a command needs is imported when it runs: `--help` is to come at once
    from schemas.config import Config
    from tasks.storage.store import Store

app = typer.Typer(
    name="pop", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich",
    help="Rubric-based self-play on pre-training text: documents → problems → answers → rubrics → DPO → next model.",
)  # fmt: skip
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Root = Annotated[str, typer.Option("--root", help="folder or object store URL that holds the runs")]
Run = Annotated[str | None, typer.Option("--run", help="the run; default: the newest under the root")]
Set = Annotated[list[str] | None, typer.Option("--set", help="override a setting: key.sub=value (repeatable)")]
RoundNumber = Annotated[int | None, typer.Option("--round", help="the round; default: the run's newest")]
Preset = Annotated[str, typer.Argument(metavar="CONFIG", help="a preset's name or a TOML file")]
NewRun = Annotated[str | None, typer.Option("--run", help="name of the run; default: the config's name")]
DEFAULT_ROOT = os.environ.get("POP_ROOT", "data/runs")


def configured(config: str, overrides: list[str] | None, run: str | None) -> "tuple[Config, str]":
    """The checked configuration, and the run's name: the one given, or the configuration's.

    Raises:
        UserError: a setting is wrong, or the name (a folder's) has other characters than letters, digits, dot, dash and
            underscore.
    """
    from schemas.load import load_config

    checked, name = load_config(config, overrides), run or Path(config).stem
    if not name or not all(c.isalnum() or c in "._-" for c in name) or name.startswith("."):
        raise UserError(f"--run {name!r}: use letters, digits, dots, dashes and underscores")
    return checked, name


def absolute(root: str) -> str:
    """A local root as a whole path; a URL as it is."""
    return root if "://" in root else str(Path(root).expanduser().resolve())


def store_of(root: str, run: str | None, round_: int | None = None) -> "Store":
    """The store of a run that is there: the one named, or the newest.

    Raises:
        UserError: there is none, or it has no such round.
    """
    from tasks.storage.runs import newest_run, runs
    from tasks.storage.store import Store

    root = absolute(root)
    if run is None and (run := newest_run(root)) is None:
        raise UserError(f"there is no run under {root} yet; make one: pop round demo")
    if run not in (known := runs(root)):
        from schemas.load import did_you_mean

        raise UserError(
            f"there is no run {run!r} under {root}{did_you_mean(run, known)}; runs: {', '.join(known) or 'none'}"
        )
    store = Store(root, run)
    if round_ is not None:
        round_of(store, round_)
    return store


def round_of(store: "Store", number: int | None) -> int:
    """The round asked for, or the newest one."""
    from tasks.storage.manifests import manifests

    known = [manifest["round"] for manifest in manifests(store)]
    if number is not None and number not in known:
        raise UserError(f"run {store.run} has no round {number}; rounds: {', '.join(map(str, known))}")
    return max(known) if number is None else number


def stores_of(root: str, run: str | None, all_: bool) -> "list[Store]":
    """The store of one run, or those of every run under the root."""
    first = store_of(root, run)
    if not all_:
        return [first]
    if run is not None:
        raise UserError("--run names one run and --all means every run: give one of them")
    from tasks.storage.runs import runs
    from tasks.storage.store import Store

    return [Store(first.root, name) for name in runs(first.root)]
