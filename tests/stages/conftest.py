"""What the tests of the stages share: a good server and a bad one."""

from collections.abc import Iterator

import pytest

from tasks.engine.fake import FakeEngine

FAULTS = {"malformed": 0.15, "truncated": 0.1, "garbage": 0.15, "http500": 0.03, "http429": 0.05, "disconnect": 0.02}


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    """A server without faults."""
    with FakeEngine(max_model_len=4096) as running:
        yield running


@pytest.fixture(scope="module")
def faulty() -> Iterator[FakeEngine]:
    """A server of which half the answers are bad in some way."""
    with FakeEngine(faults=FAULTS, retry_after_sec=0.01, max_model_len=4096) as running:
        yield running
