"""Starting, watching and stopping a model server: vLLM in the runtime environment, or the fake engine for dry runs."""

import asyncio
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from schemas.config import EngineConfig
from schemas.errors import DependencyError, PopError, UserError
from schemas.load import PROJECT
from tasks.processes.guarded import Guarded

Say = Callable[[str], None]
QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
WATCH_EVERY_SEC = 0.2
DYING_SEC = 15.0
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


@dataclass(frozen=True)
class Machine:
    """What the server will run on."""

    device: str  # cpu or cuda
    cores: tuple[int, ...]
    fast_bf16: bool


def this_machine(device: str) -> Machine:
    """The cores that this process may use, and whether they multiply bfloat16 in hardware."""
    cores = tuple(psutil.Process().cpu_affinity() or (0,))
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text(encoding="utf-8").split()) if info.exists() else set()
    return Machine(device, cores, bool(_BF16_FLAGS & flags))


def vllm_command(
    python: Path, model: str, port: int | str, config: EngineConfig, machine: Machine, trust_remote_code: bool = False,
    host: str = "127.0.0.1",
) -> list[str]:  # fmt: skip
    """The command line of vLLM's OpenAI-compatible server."""
    command = [
        str(python), *_entry(machine), "--model", model, "--served-model-name", "policy",
        "--host", host, "--port", str(port), "--dtype", _dtype(config, machine),
        "--structured-outputs-config", '{"backend":"guidance","disable_any_whitespace":true}',
        # what a request leaves open is off, not what the model's generation_config.json says; its ends are still known
        "--generation-config", "vllm",
    ]  # fmt: skip
    if config.max_model_len:
        command += ["--max-model-len", str(config.max_model_len)]
    if trust_remote_code:
        command += ["--trust-remote-code"]
    if machine.device == "cpu":
        # A seeded request whose prompt is split over steps kills vLLM 0.29 on a CPU ("CPU Generator does not use
        # offset"), so prompts are never split, and a step must then hold the longest one.
        batched = max(4096, config.max_model_len or 8192)
        command += ["--enforce-eager", "--no-enable-chunked-prefill", "--max-num-batched-tokens", str(batched)]
    else:
        command += ["--gpu-memory-utilization", str(config.gpu_memory_utilization)]
        command += ["--tensor-parallel-size", str(config.tensor_parallel_size)]
    return command + list(config.extra_args)


def _entry(machine: Machine) -> list[str]:
    if machine.device == "cpu":
        return [str(Path(__file__).with_name("serve_on_cpu.py"))]
    return ["-m", "vllm.entrypoints.openai.api_server"]


def _dtype(config: EngineConfig, machine: Machine) -> str:
    if config.dtype == "auto" and machine.device == "cpu":
        # without bfloat16 units, float32 is about eight times as fast as emulated bfloat16
        return "bfloat16" if machine.fast_bf16 else "float32"
    return config.dtype


def vllm_environment(machine: Machine, devices: str = "") -> dict[str, str]:
    """Environment of the server: no telemetry, no hub (weights are a folder), its GPUs, or its cores on a CPU."""
    env = QUIET | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    if machine.device == "cpu":
        # The default binding leaves one core idle. Waiting threads sleep: spinning, they take the very core that they
        # wait for as soon as anything else runs.
        cores = ",".join(map(str, machine.cores)) or "nobind"  # of a node that is not known yet
        env |= {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_CPU_OMP_THREADS_BIND": cores, "OMP_WAIT_POLICY": "passive"}
    return env | ({"CUDA_VISIBLE_DEVICES": devices} if devices else {})


def free_ports(count: int, wanted: int = 0) -> list[int]:
    """Free ports on the loopback interface; `wanted` and those after it, if they are free.

    Raises:
        UserError: a wanted one is taken.
    """
    with ExitStack() as held:  # all at once, so that none is drawn twice
        return [_bound(held, wanted and wanted + n) for n in range(count)]


def free_port(wanted: int = 0) -> int:
    """One of them; see `free_ports`."""
    return free_ports(1, wanted)[0]


def _bound(held: ExitStack, port: int) -> int:
    probe = held.enter_context(socket.socket())
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind(("127.0.0.1", port))
    except OSError as error:
        raise UserError(
            f"port {port} cannot be used ({error.strerror}); free it or leave engine.port at 0 for a free one"
        ) from None
    return int(probe.getsockname()[1])


class Served:
    """A server of ours: started, watched, and started again when it dies, `engine.max_restarts` times at most."""

    def __init__(
        self, name: str, command: list[str], env: dict[str, str], port: int, log: Path, config: EngineConfig, say: Say,
        waiting: Say,
    ) -> None:  # fmt: skip
        self.url, self.restarts = f"http://127.0.0.1:{port}/v1", 0
        self._name, self._command, self._env, self._log = name, command, env, log
        self._config, self._say, self._waiting = config, say, waiting
        self._process: Guarded | None = None
        self._up = asyncio.Event()
        self.lost: DependencyError | None = None
        self.followers: list[Callable[[str], None]] = []  # its address stays

    async def start(self) -> None:
        """Returns when it answers.

        Raises:
            DependencyError: it died or was not ready in time; the message ends with the last lines of its log.
        """
        started = time.monotonic()
        self._process = Guarded(self._name, self._command, self._env, self._log, cwd=PROJECT)
        await _wait_ready(self._process, self.url, self._config.start_timeout_sec, self._waiting)
        self._say(f"{self._name} is ready after {time.monotonic() - started:.0f} s")
        self._up.set()

    async def ready(self) -> None:
        """See `Watched.ready`."""
        await self._up.wait()
        if self.lost:
            raise DependencyError(str(self.lost))  # a new one for each who waits

    async def answers(self) -> bool:
        """Whether it is there now; also where it never will be again."""
        if self.lost:
            return True
        return await healthy(self.url)

    async def was_gone(self, restarts: int) -> bool:
        """See `Watched.was_gone`. A server that has just died still looks alive until its guardian has tidied up."""
        over = time.monotonic() + DYING_SEC
        while self.restarts == restarts and self.lost is None:
            if time.monotonic() > over or await healthy(self.url):
                return False
            await asyncio.sleep(WATCH_EVERY_SEC)
        return True

    async def watch(self) -> None:
        """Start it again whenever it dies; returns when it will not come back, which `ready` then says."""
        while self.lost is None:
            await asyncio.sleep(WATCH_EVERY_SEC)
            if self._process is not None and self._process.poll() is not None:
                self._up.clear()
                try:
                    await self._again(self._process)
                except (PopError, OSError) as error:
                    self.lost = DependencyError(str(error))
                    self._up.set()

    async def _again(self, dead: Guarded) -> None:
        most = self._config.max_restarts
        if self.restarts >= most:
            times = f" and was started again {most} times (engine.max_restarts)" if most else ""
            raise DependencyError(f"{self._name} died while it was in use{times}; {_last_lines(dead)}")
        self.restarts += 1
        self._say(f"{self._name} died; it is started again ({self.restarts} of at most {most} times)")
        await self.start()

    def stop(self) -> None:
        """End it, with everything that it started."""
        if self._process:
            self._process.stop()


async def _wait_ready(server: Guarded, url: str, timeout_sec: float, waiting: Say) -> None:
    started = time.monotonic()
    try:
        while (waited := time.monotonic() - started) < timeout_sec:
            if server.poll() is not None:
                raise DependencyError(f"{server.name} died while starting; {_last_lines(server)}")
            if await healthy(url):
                return
            waiting(f"{server.name} is starting: {waited:.0f} s of at most {timeout_sec:.0f} s")
            await asyncio.sleep(0.25)
    finally:
        waiting("")
    raise DependencyError(
        f"{server.name} was not ready within {timeout_sec:.0f} s (engine.start_timeout_sec); {_last_lines(server)}"
    )


async def healthy(url: str) -> bool:
    """Whether the server of this base URL, one of ours, is there and well."""
    try:
        async with httpx.AsyncClient(timeout=2, trust_env=False, verify=False) as http:
            return (await http.get(f"{url.removesuffix('/v1')}/health")).status_code == 200
    except httpx.HTTPError:
        return False


def _last_lines(server: Guarded) -> str:
    return f"its log ({server.log}) ends:\n{server.tail()}"


def fake_command(port: int | str, max_model_len: int | None, host: str = "127.0.0.1") -> list[str]:
    """The command line of the fake engine, which runs in the controller's environment."""
    return [sys.executable, "-m", "tasks.engine.fake", "--host", host, "--port", str(port), "--model", "policy",
            "--max-model-len", str(max_model_len or 8192)]  # fmt: skip
