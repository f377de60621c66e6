"""Bring packages to a machine that has no network: list them with sizes, fetch, cut into pieces, join there.

    python benchmarks/gpu/wheels.py list  train --python 3.12 --have torch==2.11.0 numpy==2.5.2 …
    python benchmarks/gpu/wheels.py fetch train --python 3.12 --have … --into wheels
    python benchmarks/gpu/wheels.py cut   wheels --into pieces --mib 60       # each piece travels by itself
    python benchmarks/gpu/wheels.py join  pieces --into wheels                # on the other machine
    pip install --no-index --no-deps --target site wheels/*.whl

`--have` names what lies on that machine already (`pip freeze` there): it is not brought, and where a version is named,
nothing that contradicts it is chosen. `train` is the trainer, `serve` vLLM, `round` the controller.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

NEEDS = {
    "train": ["transformers==5.15.0", "datasets==5.2.0", "peft", "torchdata", "pylatexenc", "tensorboard", "einops",
              "accelerate", "hjson", "msgpack", "ninja", "py-cpuinfo", "pydantic", "psutil"],
    "serve": ["vllm"],  # say which with --have: it is built for one PyTorch
    "round": ["prefect==3.8.8", "fastapi>=0.139,<0.151", "sqlalchemy>=2.0.40,<2.1", "duckdb>=2.0,<3", "openai>=3.54",
              "typer>=0.29", "prompt_toolkit", "matplotlib", "rensa", "jinja2"],
}  # fmt: skip
# Pure Python, with no wheel on the registry (or pins that are not needed to train): built here.
SOURCES = {"train": ["deepspeed==0.19.6", "openrlhf==0.11.2"]}
PLATFORMS = ("manylinux_2_39_x86_64", "manylinux_2_35_x86_64", "manylinux_2_34_x86_64", "manylinux_2_31_x86_64",
             "manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_24_x86_64", "manylinux_2_17_x86_64",
             "manylinux2014_x86_64", "manylinux1_x86_64")  # fmt: skip


def resolve(kind: str, python: str, have: list[str]) -> list[str]:
    """NAME==VERSION of all that these needs take beside what is there already, by uv (which reads metadata only)."""
    if shutil.which("uv") is None:
        raise SystemExit("uv is not installed; it resolves for another machine in seconds: pip install uv")
    with tempfile.TemporaryDirectory() as folder:
        constraints, needs = Path(folder) / "have.txt", Path(folder) / "needs.in"
        constraints.write_text("\n".join(one for one in have if "==" in one))
        needs.write_text("\n".join(NEEDS[kind]))
        command = ["uv", "pip", "compile", "-q", str(needs), "-c", str(constraints), "--python-version", python,
                   "--python-platform", "x86_64-manylinux_2_39", "--no-header", "--no-annotate"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"no set of versions fits:\n{done.stderr.strip()}")
    there = {_name(one) for one in have}
    return [one for one in done.stdout.split("\n") if one and _name(one) not in there and not one.startswith("nvidia-")]


def _name(requirement: str) -> str:
    return requirement.partition("==")[0].strip().lower().replace("_", "-")


def fetch(kind: str, python: str, have: list[str], into: Path) -> list[Path]:
    """Download them; the files."""
    into.mkdir(parents=True, exist_ok=True)
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    base = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(into)]
    wanted = resolve(kind, python, have)
    wheels = [*base, "--only-binary=:all:", "--python-version", python, "--implementation", "cp", *platforms, *wanted]
    subprocess.run(wheels, check=True)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(into), *SOURCES.get(kind, [])]
    if kind in SOURCES:
        subprocess.run(build, check=True, env=os.environ | {"DS_BUILD_OPS": "0", "DS_ACCELERATOR": "cpu"})
        for path in into.glob("openrlhf-*.whl"):  # named for the Python that built it: nothing of it is inside
            path.rename(into / f"{'-'.join(path.name.split('-')[:2])}-py3-none-any.whl")
    return sorted(into.iterdir())


def cut(folder: Path, into: Path, mib: int) -> list[Path]:
    """Copies in pieces of at most so many MiB: NAME.000, NAME.001, …"""
    into.mkdir(parents=True, exist_ok=True)
    made = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as whole:
            for number, part in enumerate(iter(lambda: whole.read(mib * 2**20), b"")):
                made.append(into / f"{path.name}.{number:03d}")
                made[-1].write_bytes(part)
    return made


def join(folder: Path, into: Path) -> list[Path]:
    """The files whose pieces are there, in order; pieces may have come in any order."""
    into.mkdir(parents=True, exist_ok=True)
    names = sorted({path.name.rpartition(".")[0] for path in folder.iterdir()})
    for name in names:
        with (into / name).open("wb") as whole:
            for part in sorted(folder.glob(f"{name}.[0-9][0-9][0-9]")):
                whole.write(part.read_bytes())
    return [into / name for name in names]


def main(arguments: list[str] | None = None) -> None:
    """Print names and sizes in MiB."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("list", "fetch", "cut", "join"))
    parser.add_argument("what", help=f"{', '.join(NEEDS)}; of cut and join, a folder")
    parser.add_argument("--python", default="3.12")
    parser.add_argument("--have", nargs="*", default=[])
    parser.add_argument("--into", type=Path)
    parser.add_argument("--mib", type=int, default=60)
    given = parser.parse_args(arguments)
    into = given.into or Path(tempfile.mkdtemp(prefix="pop-wheels-"))
    if given.verb == "cut":
        files = cut(Path(given.what), into, given.mib)
    elif given.verb == "join":
        files = join(Path(given.what), into)
    elif given.verb == "fetch":
        files = fetch(given.what, given.python, given.have, into)
    else:
        for one in resolve(given.what, given.python, given.have):
            print(one)
        return
    for file in files:
        print(f"{file.stat().st_size / 2**20:8.1f} MiB  {file.name}")


if __name__ == "__main__":
    main()
