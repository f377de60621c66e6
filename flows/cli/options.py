"""What the commands share: the application, its consoles, the options, and the run that is meant."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from schemas.names import checked_run

if TYPE_CHECKING:  # what a command needs is imported when it runs: `--help` is to come at once
    from schemas.config import Config

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
DEFAULT_ROOT = os.environ.get("POP_ROOT") or "data/runs"


def configured(config: str, overrides: list[str] | None, run: str | None) -> "tuple[Config, str]":
    """The checked configuration, and the run's name: the one given, or the configuration's.

    Raises:
        UserError: a setting is wrong, or the name (a folder's) has other characters than letters, digits, dot, dash and
            underscore.
    """
    from schemas.load import load_config

    checked, name = load_config(config, overrides), Path(config).stem if run is None else run
    return checked, checked_run(name)


def exam_settings(files: list[str] | None) -> list[str]:
    """The settings for a look at these exams alone, each named after its file."""
    import json

    from schemas.exams import name_of_file

    exams = [f"{{name={json.dumps(name_of_file(file))}, file={json.dumps(file)}}}" for file in files or ()]
    return ['evaluation.suites=["exam"]', f"evaluation.exams=[{', '.join(exams)}]"] if exams else []


def begin_server() -> None:
    """Let the Prefect server of the command start, where it needs one, while the flow is imported."""
    from flows.cli.kept_server import begin

    begin(err)
