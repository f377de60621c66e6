"""The scripts for a CUDA machine, rehearsed on a CPU with a tiny shape, so that no minute there is lost to a typo."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import wheels
from tasks.runtime import runtime_dir

ROOT = Path(__file__).resolve().parents[1]
PYTHON = runtime_dir() / "bin/python"
needs_runtime = pytest.mark.skipif(not PYTHON.exists(), reason="no runtime environment: run `pop setup`")


def benchmark(name: str, *arguments: str) -> dict[str, Any]:
    command = [str(PYTHON), str(ROOT / f"benchmarks/gpu/{name}.py"), "--shape", "tiny", "--device", "cpu", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.runtime
@needs_runtime
def test_the_trainer_is_timed_on_a_model_made_on_the_spot() -> None:
    found = benchmark("train", "--tokens", "128", "--steps", "3", "--batch", "2", "--zero", "1")
    assert found["steps"] == 3 and found["seconds_a_step"] > 0 and found["tokens_a_second"] > 0
    assert all(0.6 < loss < 0.8 for loss in found["losses"]) and found["peak_host_gib"] > 0.3


def test_files_are_cut_into_pieces_and_joined_whole(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there/big-1.0-py3-none-any.whl").write_bytes(bytes(range(256)) * 5000)
    (tmp_path / "there/small-2.0-py3-none-any.whl").write_bytes(b"small")
    assert len(wheels.cut(tmp_path / "there", tmp_path / "pieces", 1)) == 3
    joined = wheels.join(tmp_path / "pieces", tmp_path / "here")
    assert [path.read_bytes() for path in joined] == [
        path.read_bytes() for path in sorted((tmp_path / "there").iterdir())
    ]
