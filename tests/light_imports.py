"""Prove that the controller is light: importing all of flows, tasks and schemas pulls in no part of the runtime.

A script and not a test, because it needs an interpreter that has imported nothing else: python tests/light_imports.py
"""

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "vllm", "transformers", "deepspeed", "openrlhf", "ray"}
# Run by path in the runtime environment; the controller never imports them.
RUNTIME_SIDE = {
    "tasks.cluster.on_ray",
    "tasks.engine.nucleus",
    "tasks.engine.serve_on_cpu",
    "tasks.training.launch",
    "tasks.training.prepare",
    "tasks.training.check",
    "tasks.training.finish",
    "tasks.training.examine",
    "tasks.runtime.convert_gguf",
    "tasks.runtime.probe",
    "tasks.evaluation.ifeval_check",
}


def modules() -> list[str]:
    """Every module of the three packages that the controller may import."""
    files = (path.relative_to(ROOT) for top in ("schemas", "tasks", "flows") for path in (ROOT / top).rglob("*.py"))
    names = {".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files}
    return sorted(name for name in names - RUNTIME_SIDE if not name.endswith(".__main__"))  # those start something


def main() -> int:
    """Import them one by one; 1 as soon as something heavy is there."""
    sys.path.insert(0, str(ROOT))
    names = modules()
    for name in names:
        importlib.import_module(name)
        heavy = sorted(HEAVY & set(sys.modules))
        if heavy:
            print(f"importing {name} pulls in {', '.join(heavy)}", file=sys.stderr)
            return 1
    print(f"{len(names)} modules imported; none of {', '.join(sorted(HEAVY))} came along")
    return 0


if __name__ == "__main__":
    sys.exit(main())
