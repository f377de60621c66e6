"""The tests. Before Prefect is imported: no test, nor a process of one, writes into the user's Prefect database."""

import atexit
import os
import shutil
import tempfile


def _last_word_is_said() -> None:
    """Hypothesis keeps test modules alive to the very end, and with them DuckDB's constants (no connection is open).

    Its binding then prints a page of "nanobind: leaked" after everything that is worth reading.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


atexit.register(_last_word_is_said)  # registered first, so it runs last
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="pop-prefect-")
atexit.register(shutil.rmtree, os.environ["PREFECT_HOME"], ignore_errors=True)
