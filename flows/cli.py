"""The command line: one verb a job.

Progress goes to stderr, results to stdout; errors are one line that names the mend.
"""

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from flows import settings
from schemas.errors import PopError, UserError, unwritable

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
DEFAULT_ROOT = os.environ.get("POP_ROOT", "data/runs")


@app.command(epilog="Example: pop setup --device cpu")
def setup(
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="what the heavy environment is for")] = "auto",
    evaluation: Annotated[
        bool, typer.Option("--evaluation", help="lm-eval too, for the suites ifeval, lm_eval")
    ] = False,
) -> None:
    """Make .venv-runtime (vLLM, OpenRLHF) for this machine. Can be repeated; continues after an interruption."""
    from flows.setup import run_setup

    run_setup(device, err, evaluation)


@app.command("round", epilog="Example: pop round demo --set corpus.documents=24 --run try-24")
def round_(
    config: Annotated[str, typer.Argument(help="a preset's name or a TOML file")] = "demo",
    set_: Set = None,
    run: Annotated[str | None, typer.Option("--run", help="name of the run; default: the config's name")] = None,
    number: Annotated[int, typer.Option("--round", min=0, help="number of the round in its run")] = 0,
    root: Root = DEFAULT_ROOT,
    force: Annotated[
        str | None, typer.Option("--force", metavar="STAGE", help="do this stage, and what follows from it, again")
    ] = None,
) -> None:
    """One round of self-play, documents to trained model. The same command again resumes it."""
    from schemas.load import load_config

    checked = load_config(config, set_)
    name = run_name(run or Path(config).stem)
    from flows.outcome import print_outcome
    from flows.round import round_flow
    from flows.running import leave, run_flow

    err.print("starting Prefect …", style="dim")
    where = _absolute(root)
    outcome = run_flow(
        lambda: round_flow(checked, run=name, round=number, root=where, force=force), lambda text: err.print(text)
    )
    print_outcome(outcome, out)
    leave(0)


@app.command(epilog="Example: pop status --run demo")
def status(
    config: Annotated[str | None, typer.Argument(help="what would a round with these settings do again?")] = None,
    set_: Set = None,
    run: Run = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Stages and shards, done, owed and stale, and the funnel from documents to pairs. Changes nothing."""
    from flows.outcome import print_status
    from schemas.load import load_config

    if set_ and config is None:
        raise UserError("--set needs the configuration that it changes: pop status demo --set rubric.max_criteria=2")
    print_status(_store(root, run), out, load_config(config, set_) if config else None)


@app.command(epilog='Example: pop sql "select status, count(*) from pairs group by 1"')
def sql(
    query: Annotated[str | None, typer.Argument(help="a query; without one: a prompt")] = None,
    format_: Annotated[Literal["table", "csv", "json", "parquet"], typer.Option("--format")] = "table",
    run: Run = None,
    root: Root = DEFAULT_ROOT,
    all_: Annotated[bool, typer.Option("--all", help="every run under the root; the column `run` tells")] = False,
) -> None:
    """DuckDB with every table and view of the run, or of all runs."""
    from flows.sql import prompt, run_query

    stores = _stores(root, run, all_)
    if query is None:
        prompt(stores, err)
    else:
        run_query(stores, query, format_)


@app.command(epilog="Example: pop audit reference_wins --run demo")
def audit(
    name: Annotated[str | None, typer.Argument(help="one audit; without it: all")] = None,
    format_: Annotated[Literal["table", "json"], typer.Option("--format")] = "table",
    round_: RoundNumber = None,
    audits: Annotated[str | None, typer.Option("--audits", help="a folder with audits of your own")] = None,
    run: Run = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Did the round fool itself? Every audit's value, threshold and verdict; exit code 1 where a blocking one fails."""
    from flows.audit import run_and_print

    store = _store(root, run)
    run_and_print(store, _round(store, round_), name, audits, format_, out)


@app.command(epilog="Example: pop show 855fc04f (the beginning of an id is enough)")
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="any id of any table, or the beginning of one")],
    round_: RoundNumber = None,
    run: Run = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """A row with everything that it came from and everything that was made of it."""
    from flows.show import show as show_

    store = _store(root, run)
    if round_ is not None:
        _round(store, round_)
    show_(store, id_, round_, out)


@app.command(epilog="Example: pop export preferences-demo --run demo")
def export(
    target: Annotated[str, typer.Argument(help="a new folder, or an object store URL")],
    round_: Annotated[int | None, typer.Option("--round", help="one round; default: all of the run")] = None,
    license_: Annotated[str | None, typer.Option("--license", help="the corpus' licence, for the card")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="write over what is there")] = False,
    run: Run = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """The preference data as a dataset that TRL, OpenRLHF and `datasets` read, with a card."""
    from flows.export import export as export_

    store = _store(root, run)
    if round_ is not None:
        _round(store, round_)
    pairs = export_(store, target, round_, license_, overwrite)
    out.print(f"{pairs} pairs in {target}", markup=False, soft_wrap=True)


@app.command(epilog="Example: pop report --run demo --out demo.html")
def report(
    out_: Annotated[str | None, typer.Option("--out", help="a file; default: report.html in the run's folder")] = None,
    round_: RoundNumber = None,
    run: Run = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """A round on one HTML page: funnel, scores, training, audits, probes, cost, and pairs to read."""
    from flows.report import report as report_
    from tasks.store import publish_local

    store = _store(root, run)
    page = report_(store, _round(store, round_)).encode(errors="replace")
    path = out_ or f"{store.base}/report.html"
    if out_ is None:
        store.publish(path, page)
    else:
        try:
            publish_local(Path(out_), page)
        except OSError as error:
            raise unwritable(out_, error) from None
    out.print(path, markup=False, soft_wrap=True)


@app.command(epilog="Example: pop selfplay selfplay-health --rounds 3")
def selfplay(
    config: Annotated[str, typer.Argument(help="a preset's name or a TOML file")] = "selfplay-health",
    rounds: Annotated[int | None, typer.Option(min=1, help="rounds in all; default: gate.max_rounds")] = None,
    set_: Set = None,
    run: Annotated[str | None, typer.Option("--run", help="name of the run; default: the config's name")] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Round after round from the promoted model, with the gate between them. The same command again goes on."""
    from schemas.load import load_config

    checked = load_config(config, set_)
    name = run_name(run or Path(config).stem)
    from flows.outcome import print_models
    from flows.running import leave, run_flow
    from flows.selfplay import selfplay_flow

    err.print("starting Prefect …", style="dim")
    outcome = run_flow(
        lambda: selfplay_flow(checked, run=name, rounds=rounds, root=_absolute(root)), lambda text: err.print(text)
    )
    print_models(_store(root, name), out)
    out.print(f"\nStopped: {outcome['stopped']}.", markup=False, soft_wrap=True)
    leave(0)


@app.command(
    epilog='Example: pop evaluate --model base --set evaluation.suites=["ifeval"] --set evaluation.ifeval_file=f'
)
def evaluate(
    config: Annotated[str, typer.Argument(help="a preset's name or a TOML file")] = "selfplay-health",
    model: Annotated[str, typer.Option(help="a model's id or round; base: the policy for itself")] = "base",
    set_: Set = None,
    run: Annotated[str | None, typer.Option("--run", help="name of the run; default: the config's name")] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Measure a model of a run against its parent. Exit code 3 when a suite failed."""
    from schemas.load import load_config

    checked = load_config(config, set_)
    name = run_name(run or Path(config).stem)
    from flows.evaluate import evaluate_flow
    from flows.outcome import print_evaluations
    from flows.running import leave, run_flow

    err.print("starting Prefect …", style="dim")
    where = _absolute(root)
    rows = run_flow(lambda: evaluate_flow(checked, run=name, model=model, root=where), lambda text: err.print(text))
    print_evaluations(rows, out)
    leave(3 if any(row["status"] == "failed" for row in rows) else 0)


@app.command(epilog="Example: pop models --run selfplay-health")
def models(run: Run = None, root: Root = DEFAULT_ROOT) -> None:
    """The models of a run: parents, statuses, what was measured, and which one stands."""
    from flows.outcome import print_models

    print_models(_store(root, run), out)


@app.command(epilog="Example: pop promote 3f2a --run selfplay-health")
def promote(
    model: Annotated[str, typer.Argument(help="a model's id, its beginning, or its round")],
    run: Run = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Let the next round start from that model, whatever the gate said."""
    from tasks.lock import run_lock
    from tasks.registry import promote as by_hand

    with run_lock(store := _store(root, run)):
        out.print(f"promoted {by_hand(store, model)['model_id']}", markup=False)


@app.command(epilog="Example: pop rollback --run selfplay-health")
def rollback(run: Run = None, root: Root = DEFAULT_ROOT) -> None:
    """Step back from the model that stands to the one that it was trained from."""
    from tasks.lock import run_lock
    from tasks.registry import rollback as by_hand

    with run_lock(store := _store(root, run)):
        row = by_hand(store)
        out.print(f"rolled back {row['model_id']}; now stands {row['standing_model_id']}", markup=False)


def run_name(name: str) -> str:
    """A run's name is a folder's name.

    Raises:
        UserError: it has other characters than letters, digits, dot, dash and underscore.
    """
    if not name or not all(c.isalnum() or c in "._-" for c in name) or name.startswith("."):
        raise UserError(f"--run {name!r}: use letters, digits, dots, dashes and underscores")
    return name


def _absolute(root: str) -> str:
    return root if "://" in root else str(Path(root).expanduser().resolve())


def _store(root: str, run: str | None) -> Any:
    """The store of a run that is there: the one named, or the newest."""
    from tasks.runs import newest_run, runs
    from tasks.store import Store

    root = _absolute(root)
    if run is None and (run := newest_run(root)) is None:
        raise UserError(f"there is no run under {root} yet; make one: pop round demo")
    if run not in (known := runs(root)):
        from schemas.load import did_you_mean

        raise UserError(
            f"there is no run {run!r} under {root}{did_you_mean(run, known)}; runs: {', '.join(known) or 'none'}"
        )
    return Store(root, run)


def _round(store: Any, number: int | None) -> int:
    """The round asked for, or the newest one."""
    from tasks.runs import manifests

    known = [manifest["round"] for manifest in manifests(store)]
    if number is not None and number not in known:
        raise UserError(f"run {store.run} has no round {number}; rounds: {', '.join(map(str, known))}")
    return max(known) if number is None else number


def _stores(root: str, run: str | None, all_: bool) -> list[Any]:
    """The store of one run, or those of every run under the root."""
    first = _store(root, run)
    if not all_:
        return [first]
    if run is not None:
        raise UserError("--run names one run and --all means every run: give one of them")
    from tasks.runs import runs
    from tasks.store import Store

    return [Store(first.root, name) for name in runs(first.root)]


def main() -> None:
    """Entry point: turns expected errors into one line and an exit code."""
    settings.apply(quiet=True)
    try:
        app()
    except PopError as error:
        _end(error, error.exit_code)
    except KeyboardInterrupt:
        _end("interrupted; the same command again goes on from here", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO):
            raise
        refused = unwritable(error.filename or "a file", error)
        _end(refused, refused.exit_code)


def _end(message: object, code: int) -> None:
    from tasks.processes import stop_all

    stop_all()
    err.print("[bold red]pop:[/bold red] ", end="")
    err.print(str(message), markup=False, soft_wrap=True)
    if "flows.running" in sys.modules:
        from flows.running import leave

        leave(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
