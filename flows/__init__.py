"""What runs: the Prefect flows and the command line."""

from flows import settings as settings  # before anything imports Prefect: no telemetry, time for its server to start
