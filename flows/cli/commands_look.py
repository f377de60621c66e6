"""The commands that look at what is there, and those that decide what stands: status, look, sql, audit, …, promote."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.options import DEFAULT_ROOT, Root, RoundNumber, Run, Set, app, err, out
from schemas.errors import UserError, unwritable
from tasks.storage.runs import round_of, store_of, stores_of


@app.command(epilog="Example: pop status --run demo")
def status(
    config: Annotated[str | None, typer.Argument(help="what would a round with these settings do again?")] = None,
    set_: Set = None,
    run: Run = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Stages and shards, done, owed and stale, and the funnel from documents to pairs. Changes nothing."""
    from flows.views.outcome import print_status
    from schemas.load import load_config

    if set_ and config is None:
        raise UserError("--set needs the configuration that it changes: pop status demo --set rubric.max_criteria=2")
    print_status(store_of(root, run, look=True), out, load_config(config, set_) if config else None)


@app.command(epilog="Example: pop look ~/texts --set corpus.text_column=body")
def look(
    source: Annotated[str, typer.Argument(help="sample corpus, file, folder, URL of one, or hf:owner/name")],
    config: Annotated[str, typer.Option("--config", help="a preset's name or a TOML file")] = "demo",
    set_: Set = None,
    format_: Annotated[Literal["table", "json"], typer.Option("--format")] = "table",
) -> None:
    """What would be read of a corpus, what not and why, before any model is asked. Exit code 1: nothing is usable."""
    from flows.views.corpus import look_and_print
    from schemas.load import load_config

    checked = load_config(config, set_)
    corpus = checked.corpus.model_copy(update={"source": source})
    if not look_and_print(checked.model_copy(update={"corpus": corpus}), format_, out, err):
        raise typer.Exit(1)


@app.command(epilog="Example: pop index ~/texts --config mine.toml")
def index(
    source: Annotated[str, typer.Argument(help="sample corpus, file, folder, URL of one, or hf:owner/name")],
    config: Annotated[str, typer.Option("--config", help="a preset's name or a TOML file")] = "demo",
    set_: Set = None,
    out_: Annotated[
        str | None, typer.Option("--out", help="a folder; default: data/indexes/NAME OF THE SOURCE")
    ] = None,
) -> None:
    """Read a large corpus once and write an index, from which rounds draw without reading the rest of it again.

    Give it the configuration of the rounds: it depends on how texts are read and cut (corpus.text_column, min_words,
    max_words, long_texts and the like), not on the seed or the number of documents. A round with corpus.index=FOLDER
    then draws the documents that it would have drawn without. Killed, the same command goes on; after files were added
    or changed, it reads what is new.
    """
    from flows.views.corpus import index_and_print
    from schemas.load import load_config

    checked = load_config(config, set_)
    corpus = checked.corpus.model_copy(update={"source": source})
    index_and_print(corpus, out_, out, err)


@app.command(epilog='Example: pop sql "select status, count(*) from pairs group by 1"')
def sql(
    query: Annotated[str | None, typer.Argument(help="a query; without one: a prompt")] = None,
    format_: Annotated[Literal["table", "csv", "json", "parquet"], typer.Option("--format")] = "table",
    run: Run = None,
    root: Root = DEFAULT_ROOT,
    all_: Annotated[bool, typer.Option("--all", help="every run under the root; the column `run` tells")] = False,
) -> None:
    """DuckDB with every table and view of the run, or of all runs. Queries may also be piped in; nothing is written."""
    from flows.cli.sql import prompt, run_query

    stores = stores_of(root, run, all_)
    if query is not None:
        run_query(stores, query, format_)
    elif sys.stdin.isatty():
        prompt(stores, err)
    elif queries := sys.stdin.read().strip():
        run_query(stores, queries, format_, several=True)


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
    from flows.views.findings import run_and_print

    store = store_of(root, run)
    run_and_print(store, round_of(store, round_), name, audits, format_, out)


@app.command(epilog="Example: pop show 855fc04f (the beginning of an id is enough)")
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="any id of any table, or the beginning of one")],
    round_: RoundNumber = None,
    run: Run = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """A row with everything that it came from and everything that was made of it."""
    from flows.views.show import show as show_

    store = store_of(root, run, round_, look=True)
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
    from flows.views.export import export as export_

    store = store_of(root, run, round_)
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
    from flows.views.report import report as report_
    from tasks.storage.store import publish_local

    store = store_of(root, run)
    page = report_(store, round_of(store, round_)).encode(errors="replace")
    path = out_ or f"{store.base}/report.html"
    if out_ is None:
        store.publish(path, page)
    else:
        try:
            publish_local(Path(out_), page)
        except OSError as error:
            raise unwritable(out_, error) from None
    out.print(path, markup=False, soft_wrap=True)


@app.command(epilog="Example: pop models --run selfplay-health")
def models(run: Run = None, root: Root = DEFAULT_ROOT) -> None:
    """The models of a run: parents, statuses, what was measured, and which one stands."""
    from flows.views.outcome import print_models

    print_models(store_of(root, run, look=True), out)


@app.command(epilog="Example: pop promote 3f2a9c --run selfplay-health")
def promote(
    model: Annotated[str, typer.Argument(help="a model's id, its beginning, or its round")],
    run: Run = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Let the next round start from that model, whatever the gate said."""
    from tasks.models.registry import promote as by_hand
    from tasks.storage.lock import run_lock

    with run_lock(store := store_of(root, run)):
        out.print(f"promoted {by_hand(store, model)['model_id']}", markup=False)


@app.command(epilog="Example: pop rollback --run selfplay-health")
def rollback(run: Run = None, root: Root = DEFAULT_ROOT) -> None:
    """Step back from the model that stands to the one that it was trained from."""
    from tasks.models.registry import rollback as by_hand
    from tasks.storage.lock import run_lock

    with run_lock(store := store_of(root, run)):
        row = by_hand(store)
        out.print(f"rolled back {row['model_id']}; now stands {row['standing_model_id']}", markup=False)
