"""What several test files share."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

# what a small round says costs Prefect's client and server a good part of a round; a test that reads it asks for it
os.environ.setdefault("PREFECT_LOGGING_TO_API_ENABLED", "false")

from flows import settings  # noqa: F401  (Prefect's settings, before Prefect)
from schemas.config import Config
from schemas.load import load_config
from tests.side_by_side import long_first, turn


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    long_first(items)


@pytest.fixture(autouse=True)
def its_turn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests that measure seconds run while no other does."""
    with turn(tmp_path_factory.getbasetemp().parent, alone=request.node.get_closest_marker("alone") is not None):
        yield


FAKE = ("engine.kind=fake", "corpus.documents=8", "corpus.documents_per_shard=4", "engine.max_model_len=8192")


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """Prefect with a database of its own."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=600):
        yield


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Process records of the tests apart from the user's; the model cache stays the user's."""
    os.environ.setdefault("POP_ROOT", str(tmp_path_factory.mktemp("no-runs")))
    os.environ["POP_KEEP_SERVER_SEC"] = "0"  # no server of a test outlives it
    # a shell starts what it puts in the background without Ctrl-C, and every process of the tests would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Runs `pop …` in this process: exit code, stdout, stderr."""
    from flows.cli import main

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["pop", *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        try:
            main()
            code: Any = 0
        except SystemExit as end:
            code = end.code
        captured = capsys.readouterr()
        return int(code or 0), captured.out, captured.err

    return run


def asked(url: str, body: dict[str, Any] | None = None) -> Any:
    """The answer of Prefect's server. Its SQLite may be busy: then its own client asks again, too."""
    while (answer := httpx.post(url, json=body or {}, timeout=60)).status_code == 503:
        time.sleep(1)
    return answer.raise_for_status().json()


def fake_config(*overrides: str) -> Config:
    """The demo preset on the fake engine, small."""
    return load_config("demo", [*FAKE, *overrides])


def run_fake(root: Path, run: str, *overrides: str) -> dict[str, Any]:
    """One round on the fake engine; the outcome of the flow."""
    from flows.round import round_flow

    return asyncio.run(round_flow(fake_config(*overrides), run=run, root=str(root)))


@pytest.fixture(scope="session")
def fake_root(tmp_path_factory: pytest.TempPathFactory, prefect_server: None) -> Path:
    """A root with one finished round `fake`, made by the fake engine."""
    root = tmp_path_factory.mktemp("runs")
    run_fake(root, "fake")
    return root


@pytest.fixture
def cli_process(prefect_server: None) -> Callable[..., tuple[int, str, str]]:
    """Runs `pop …` as a process against the tests' Prefect server: exit code, stdout, stderr."""
    from prefect.settings import PREFECT_API_URL

    env = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "COLUMNS": "200"}

    def run(*arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments],
            capture_output=True,
            text=True,
            env=env,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def own_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Process records of the test's own."""
    monkeypatch.setenv("POP_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """The URL of an empty folder in an object store: a real S3-compatible server on loopback."""
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    import s3fs

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    before = dict(os.environ)
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    s3fs.S3FileSystem().mkdir("pop-runs")
    yield "s3://pop-runs/deep/runs"
    server.stop()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def prefect_env(prefect_server: None) -> dict[str, str]:
    """What lets a process find the tests' Prefect server."""
    from prefect.settings import PREFECT_API_URL

    return {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "COLUMNS": "200"}
