"""What the tests of training share: a job."""

import sys
from pathlib import Path

import pytest

from tasks.training.job import TrainingJob
from tests.training.samples import write_pairs


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    """A job whose runtime is this Python and whose parent is a folder with the names of a model."""
    (tmp_path / "parent").mkdir()
    (tmp_path / "parent/config.json").write_text("{}")
    (tmp_path / "parent/model.safetensors").write_bytes(b"weights")
    pairs = write_pairs(tmp_path / "pairs.parquet", {"a": ("yes", "no"), "b": ("good", "bad")})
    return TrainingJob(Path(sys.executable), tmp_path / "parent", pairs, tmp_path / "work")
