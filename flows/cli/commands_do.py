"""The commands that run something: setup, round, selfplay, evaluate."""

from typing import Annotated, Literal

import typer

from flows.cli.options import (
    DEFAULT_ROOT,
    NewRun,
    Preset,
    Root,
    Set,
    app,
    begin_server,
    configured,
    err,
    exam_settings,
    out,
)
from tasks.storage.runs import absolute, store_of


@app.command(epilog="Example: pop setup --device cpu")
def setup(
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="what the heavy environment is for")] = "auto",
    evaluation: Annotated[
        bool, typer.Option("--evaluation", help="lm-eval too, for the suites ifeval, lm_eval")
    ] = False,
    cluster: Annotated[bool, typer.Option("--cluster", help="Ray too, for cluster.kind=ray")] = False,
) -> None:
    """Make .venv-runtime (vLLM, OpenRLHF) for this machine. Can be repeated; continues after an interruption."""
    from flows.cli.setup import run_setup

    run_setup(device, err, evaluation, cluster)


@app.command("round", epilog="Example: pop round demo --set corpus.documents=24 --run try-24")
def round_(
    config: Preset = "demo",
    set_: Set = None,
    run: NewRun = None,
    number: Annotated[int, typer.Option("--round", min=0, help="number of the round in its run")] = 0,
    root: Root = DEFAULT_ROOT,
    force: Annotated[
        str | None, typer.Option("--force", metavar="STAGE", help="do this stage, and what follows from it, again")
    ] = None,
) -> None:
    """One round of self-play, documents to trained model. The same command again resumes it."""
    checked, name, root = *configured(config, set_, run), absolute(root)
    begin_server()
    from flows.cli.running import leave, run_flow
    from flows.round import round_flow
    from flows.views.outcome import print_outcome

    outcome = run_flow(lambda: round_flow(checked, run=name, round=number, root=root, force=force), err)
    print_outcome(outcome, out)
    leave(0)


@app.command(epilog="Example: pop selfplay selfplay-health --rounds 3")
def selfplay(
    config: Preset = "selfplay-health",
    rounds: Annotated[int | None, typer.Option(min=1, help="rounds in all; default: gate.max_rounds")] = None,
    set_: Set = None,
    run: NewRun = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Round after round from the promoted model, with the gate between them. The same command again goes on."""
    checked, name, root = *configured(config, set_, run), absolute(root)
    begin_server()
    from flows.cli.running import leave, run_flow
    from flows.selfplay import selfplay_flow
    from flows.views.outcome import print_models

    outcome = run_flow(lambda: selfplay_flow(checked, run=name, rounds=rounds, root=root), err)
    print_models(store_of(root, name), out)
    out.print(f"\nStopped: {outcome['stopped']}.", markup=False, soft_wrap=True)
    leave(0)


@app.command(epilog="Example: pop evaluate demo --model 0 --against base --exam my-questions.jsonl")
def evaluate(
    config: Preset = "selfplay-health",
    model: Annotated[str, typer.Option(help="a model's id, round or folder; base: the policy")] = "base",
    against: Annotated[
        str | None, typer.Option(help="the same, of the model to compare it with; default: the one it was trained from")
    ] = None,
    exam: Annotated[
        list[str] | None, typer.Option("--exam", metavar="FILE", help="only this exam of your own (repeatable)")
    ] = None,
    set_: Set = None,
    run: NewRun = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Measure a model of a run against its parent, or any two models. Exit code 3 when a suite failed."""
    checked, name, root = *configured(config, [*(set_ or ()), *exam_settings(exam)], run), absolute(root)
    begin_server()
    from flows.cli.running import leave, run_flow
    from flows.evaluate import evaluate_flow
    from flows.views.evaluated import print_evaluations

    rows = run_flow(lambda: evaluate_flow(checked, run=name, model=model, root=root, against=against), err)
    print_evaluations(rows, out)
    if any(row["suite"].startswith("exam.") for row in rows):
        where = f'pop sql --root {root}/{name} --run evaluation "from exam_answers"'
        out.print(
            f"\nEvery answer and verdict: {where} (exam_marks, exam_verdicts, costs)", markup=False, soft_wrap=True
        )
    leave(3 if any(row["status"] == "failed" for row in rows) else 0)
