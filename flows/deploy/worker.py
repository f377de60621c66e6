"""A worker at the Prefect server of PREFECT_API_URL, with the settings that all of the project's processes have.

    python -m flows.deploy.worker

Its runs inherit them: the heartbeat above all, by whose absence a dead run is known.
"""

import os
import sys

from flows import settings
from flows.deploy.server import POOL, environment


def main() -> None:
    """Become `prefect worker start`."""
    settings.apply()
    os.environ |= environment(os.environ["PREFECT_API_URL"])
    os.execv(sys.executable, [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"])


if __name__ == "__main__":
    main()
