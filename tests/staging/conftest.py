"""What the tests of staging share: a finished round to change."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def copy(fake_root: Path, tmp_path: Path) -> Path:
    """A root with a finished round of its own."""
    shutil.copytree(fake_root / "fake", tmp_path / "fake")
    return tmp_path
