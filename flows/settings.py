"""Prefect's settings for this project, given before Prefect is imported; what the user has set wins."""

import os
import warnings

HEARTBEAT_SEC = 30  # the least that Prefect allows

DEFAULTS = {
    # by which an automation (flows/deploy/automation.py) sees that a run's process is dead
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SEC),
    # who holds a slot is known after a restart of the server, too: else it stays taken for ever, and runs are ended
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS": "10",  # a waiting run asks again that often
    # no call home
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # a server of its own, started with the first flow where no PREFECT_API_URL is set, takes 20 s on a slow machine
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    # SQLite keeps up with many short tasks only in batches
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
}
# on the command line the display speaks; Prefect's log still goes to its server
QUIET = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL", "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL"}


LEAST_COLUMNS = 40  # narrower, and tables show dots in place of numbers
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _no_proxy_for_ourselves() -> None:
    """Where a proxy is set, what runs on this machine is still reached without it: no proxy could reach it."""
    if not any(
        os.environ.get(name) for kind in ("http", "https", "all") for name in (f"{kind}_proxy", f"{kind}_proxy".upper())
    ):
        return
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if listed.strip() != "*":
        named = [one for one in listed.split(",") if one.strip()]
        both = ",".join([*named, *(one for one in LOOPBACK if one not in named)])
        os.environ |= {"no_proxy": both, "NO_PROXY": both}


def apply(quiet: bool = False) -> None:
    """Put the defaults into the environment where nothing is set; an empty address is none."""
    for name in ("PREFECT_API_URL", "PREFECT_HOME"):
        if os.environ.get(name) == "":
            del os.environ[name]
    _no_proxy_for_ourselves()
    columns = os.environ.get("COLUMNS", "")  # 0 is what some shells and schedulers say where there is no terminal
    if columns.isdigit() and int(columns) < LEAST_COLUMNS:
        os.environ["COLUMNS"] = "80" if int(columns) == 0 else str(LEAST_COLUMNS)
    # a home that cannot be written is one line of our own, where it matters
    warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory")
    for name, value in (DEFAULTS | (QUIET if quiet else {})).items():
        os.environ.setdefault(name, value)


apply()
