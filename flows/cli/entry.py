"""The command line: one verb a job.

Progress goes to stderr, results to stdout; errors are one line that names the mend.
"""

import errno
import io
import os
import sys

from flows import settings
from flows.cli import commands_check, commands_do, commands_look, commands_models, commands_server  # noqa: F401  (they register)
from flows.cli.options import app, err
from schemas.errors import PopError, of_a_library, unwritable

UNWRITABLE = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN,
}  # fmt: skip


def main() -> None:
    """Entry point: turns expected errors into one line and an exit code."""
    settings.apply(quiet=True)
    for stream in (sys.stdout, sys.stderr):  # a terminal that speaks ASCII is shown what it has no letter for as \u2026
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except PopError as error:
        _end(error, error.exit_code)
    except KeyboardInterrupt:
        _end("interrupted; the same command again goes on from here", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        known = of_a_library(error)
        if known is None and isinstance(error, OSError) and error.errno in UNWRITABLE:
            known = unwritable(error.filename or "a file", error)
        if known is None:
            raise
        _end(known, known.exit_code)


def _end(message: object, code: int) -> None:
    from tasks.processes.guarded import stop_all

    stop_all()
    err.print("[bold red]pop:[/bold red] ", end="")
    err.print(str(message), markup=False, soft_wrap=True)
    if "flows.cli.running" in sys.modules:
        from flows.cli.running import leave

        leave(code)
    sys.exit(code)
