"""The command that shows and ends the Prefect servers that rounds have left for the next ones."""

import time
from typing import Annotated

import typer

from flows.cli.options import app, out
from schemas.errors import UserError


@app.command(epilog="Example: pop server --stop")
def server(
    stop: Annotated[bool, typer.Option("--stop", help="end those that no command uses")] = False,
) -> None:
    """The Prefect server that commands without PREFECT_API_URL share: its address, and until when it stays."""
    from flows.cli.kept_server import end, kept

    found = kept()
    if not found:
        out.print("no Prefect server is kept", markup=False)
    for folder, one, used in found:
        since = time.strftime("%H:%M", time.localtime(one["since"]))
        state = "a command uses it" if used else f"ends {one['idle_sec']:.0f} s after its last use"
        if stop and not used:
            end(folder, one)
            state = "ended"
        out.print(f"{one['address']}  since {since}, process {one['pid']}: {state}", markup=False, soft_wrap=True)
    if stop and any(used for _, _, used in found):
        raise UserError("a command uses a server: it is not ended; stop the command first (Ctrl-C)")
