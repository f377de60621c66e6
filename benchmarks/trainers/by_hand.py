"""OpenRLHF's `train_dpo` with the arguments given, as a person starts it; without CUDA, with what it then needs."""

import importlib.util
import runpy
import sys
from pathlib import Path
from typing import Any

import torch

if not torch.cuda.is_available():
    patches = Path(__file__).resolve().parents[2] / "tasks/training/cpu_patches.py"
    spec: Any = importlib.util.spec_from_file_location("cpu_patches", patches)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.apply()
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
sys.argv[0] = "openrlhf.cli.train_dpo"
runpy.run_module("openrlhf.cli.train_dpo", run_name="__main__", alter_sys=True)
