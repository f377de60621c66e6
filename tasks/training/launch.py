"""Run OpenRLHF's DPO training, on a machine without CUDA too, and write its metrics as JSON lines while it trains.

    RUNTIME_PYTHON launch.py --pop-metrics metrics.jsonl ARGUMENTS_OF_train_dpo...
    torchrun launch.py --pop-metrics metrics.jsonl ARGUMENTS_OF_train_dpo...

OpenRLHF is given a dataset of token ids (pairs_by_ids.py) and, with several processes, the means of all of them
(shared_means.py); with CUDA nothing else of it is changed.
"""

import argparse
import importlib.util
import os
import runpy
import sys
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
MODULE = "openrlhf.cli.train_dpo"


def _sibling(name: str) -> ModuleType:
    """Load a module that lies beside this file, by path."""
    spec = importlib.util.spec_from_file_location(f"pop_{name}", HERE / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _forget_own_folder() -> None:
    """Take this folder off the import path: its openrlhf.py would be found in place of the OpenRLHF package."""
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]


def _split_arguments() -> tuple[Path, list[str]]:
    """The metrics file, and what is left for OpenRLHF."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--pop-metrics", type=Path, required=True)
    known, rest = parser.parse_known_args()
    return known.pop_metrics, rest


def main() -> None:
    """Patch what is needed, follow the metrics, hand over to OpenRLHF."""
    metrics_file, arguments = _split_arguments()
    _forget_own_folder()
    import torch

    if not torch.cuda.is_available():
        _sibling("cpu_patches").apply()
    elif importlib.util.find_spec("flash_attn") is None:  # it has no wheel, and sdpa does without
        _sibling("cpu_patches").import_openrlhf_without_flash_attn()
    _sibling("pairs_by_ids").use()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _sibling("shared_means").use()
    sys.argv = [MODULE, *arguments]
    if int(os.environ.get("RANK", "0")) != 0:
        runpy.run_module(MODULE, run_name="__main__", alter_sys=True)
        return
    events = Path(arguments[arguments.index("--logger.tensorboard_dir") + 1])
    with _sibling("metrics").following(events, metrics_file):
        runpy.run_module(MODULE, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
