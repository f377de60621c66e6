"""The command that asks servers what they can do, before anything is paid for."""

from typing import Annotated

import typer

from flows.cli.options import Preset, Set, app, err, out


@app.command("check-models", epilog="Example: pop check-models my.toml --set rating.mode=logprob")
def check_models(
    config: Preset = "demo",
    set_: Set = None,
    only: Annotated[str | None, typer.Option("--model", help="one model of the configuration; default: all")] = None,
) -> None:
    """What can the servers of a configuration's models do? A table; exit code 2 where a role cannot be played there.

    Some seven tiny requests a server. A model that is served here (`path`) is started for it.
    """
    import asyncio

    from flows.checking import check
    from flows.views.servers import print_servers
    from schemas.load import load_config

    found, errors = asyncio.run(check(load_config(config, set_), only))
    if found:
        print_servers(found, out)
    for error in errors[:-1]:
        err.print(str(error), markup=False, soft_wrap=True)
    if errors:
        raise errors[-1]
