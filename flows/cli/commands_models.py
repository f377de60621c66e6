"""The command that looks a model over."""

import json
from typing import Annotated, Literal

import typer

from flows.cli.options import Set, app, err, out
from schemas.errors import CheckFailed


@app.command("check-model", epilog="Example: pop check-model ~/models/Qwen2.5-0.5B-Instruct")
def check_model(
    path: Annotated[str, typer.Argument(help="a folder or its URL, owner/name on the hub, or smollm2-135m-instruct")],
    config: Annotated[str, typer.Option("--config", help="the settings it is to be trained with")] = "demo",
    set_: Set = None,
    format_: Annotated[Literal["table", "json"], typer.Option("--format")] = "table",
) -> None:
    """Can this model be served and trained? One pair token by token with its loss mask; exit code 1 where it cannot."""
    from flows.views.examined import print_examined
    from schemas.load import load_config
    from tasks.models.examination import examine, unfit_to_train
    from tasks.models.resolve import resolve
    from tasks.runtime import runtime_python

    checked = load_config(config, [*(set_ or []), f"models.policy.path={json.dumps(path)}", "engine.kind=vllm"])
    model = resolve("policy", checked, lambda text: err.print(text, markup=False, soft_wrap=True))
    found = examine(model, runtime_python(), checked.models["policy"].trust_remote_code)
    unfit = unfit_to_train(found, checked)
    if format_ == "json":
        content = {"fit": not unfit, "unfit": unfit, "identity": model.identity, "facts": dict(found.facts)}
        print(json.dumps(content | {"pair": list(found.pair)}, indent=1, ensure_ascii=False))
    else:
        print_examined(model, found, out)
    if unfit:
        raise CheckFailed("it cannot be trained: " + "; ".join(unfit).replace("models.NAME", "models.policy"))
