"""What the tests of training share: a job, the runtime environment, and tiny models made in it."""

import sys
from pathlib import Path

import pytest

from tasks.runtime import runtime_dir
from tasks.training.job import TrainingJob
from tests.training.samples import in_runtime, write_pairs


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    """A job whose runtime is this Python and whose parent is a folder with the names of a model."""
    (tmp_path / "parent").mkdir()
    (tmp_path / "parent/config.json").write_text("{}")
    (tmp_path / "parent/model.safetensors").write_bytes(b"weights")
    pairs = write_pairs(tmp_path / "pairs.parquet", {"a": ("yes", "no"), "b": ("good", "bad")})
    return TrainingJob(Path(sys.executable), tmp_path / "parent", pairs, tmp_path / "work")


@pytest.fixture(scope="session")
def runtime() -> Path:
    """The runtime environment's Python."""
    python = runtime_dir() / "bin/python"
    if not python.exists():
        pytest.skip(f"no runtime environment at {python}")
    return python


@pytest.fixture(scope="session")
def models(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny models of eight shapes (shapes.py)."""
    folder = tmp_path_factory.mktemp("shapes")
    in_runtime(runtime, Path(__file__).with_name("shapes.py"), folder)
    return folder
