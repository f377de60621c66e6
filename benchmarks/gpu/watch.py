"""How much memory a piece of work took at most: of this process with all its children, and of the first GPU."""

import shutil
import subprocess
import threading
from types import TracebackType
from typing import Any

import psutil

GIB = 2**30


class Peak:
    """Looks twice a second while its body runs. `gpu` is null where no `nvidia-smi` answers."""

    def __init__(self, every_sec: float = 0.5) -> None:
        self.host, self.gpu = 0, None if shutil.which("nvidia-smi") is None else 0
        self._every, self._over = every_sec, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self._every):
            self.host = max(self.host, resident())
            if self.gpu is not None:
                self.gpu = max(self.gpu, gpu_used())

    def figures(self) -> dict[str, Any]:
        """GiB at most."""
        gpu = None if self.gpu is None else round(self.gpu / GIB, 2)
        return {"peak_host_gib": round(self.host / GIB, 2), "peak_gpu_gib": gpu}


def resident() -> int:
    """Bytes that this process and its children hold."""
    total = 0
    for process in (own := psutil.Process(), *own.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def gpu_used() -> int:
    """Bytes used on the first GPU, whoever uses them."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    lines = done.stdout.split()
    return int(lines[0]) * 2**20 if lines and lines[0].isdigit() else 0


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    def of(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    found = subprocess.run(command, capture_output=True, text=True, check=False) if shutil.which("nvidia-smi") else None
    versions = {name: of(name) for name in ("torch", "transformers", "deepspeed", "openrlhf", "vllm", "flash-attn")}
    gpu = found.stdout.strip() if found else None
    return {"gpu": gpu, "cores": psutil.cpu_count(), "python": platform.python_version()} | versions
