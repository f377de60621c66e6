"""What the tests of staging share: plans, and what a round finds done."""

from pathlib import Path

from tasks.shard import corpus_stamp
from tasks.staging.plan import Plan, make_plan
from tasks.staging.reconcile import reconcile
from tasks.storage.store import Store
from tests.conftest import fake_config


def plan_with(*overrides: str) -> Plan:
    """The plan of the round `fake` with changed settings."""
    settings = fake_config(*overrides)
    return make_plan(settings, "fake", 0, {"policy": "fake:policy"}, corpus_stamp(settings.corpus))


def ordered(root: Path, *overrides: str, force: str | None = None) -> tuple[set[tuple[str, str]], list[str]]:
    """What is done, and what is said, when a round with these settings finds the run."""
    said: list[str] = []
    return reconcile(Store(str(root), "fake"), plan_with(*overrides), force, said.append), said
