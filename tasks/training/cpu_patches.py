"""What OpenRLHF 0.11 needs changed to train without CUDA (FACTS section 5). Loaded by launch.py, in the runtime.

OpenRLHF imports flash-attn, asks torch.cuda for its device, and lets DeepSpeed compile C++ at its first step. Nothing
of that is needed for DPO on a CPU.
"""

import contextlib
import functools
import importlib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

_FLASH_ATTN = {
    "flash_attn": (),
    "flash_attn.bert_padding": ("index_first_axis", "pad_input", "rearrange", "unpad_input"),
    "flash_attn.utils": (),
    "flash_attn.utils.distributed": ("all_gather",),
}


def apply() -> None:
    """Patch everything; call it once, before openrlhf is imported."""
    _set_distributed_defaults()
    _stand_in_for_cuda()
    import_openrlhf_without_flash_attn()
    _adapt_deepspeed(in_float32=not has_fast_bfloat16())


def has_fast_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU multiplies bfloat16 natively. Where it does not, float32 is about 8 times quicker."""
    with contextlib.suppress(OSError):
        words = set(cpuinfo.read_text(encoding="utf-8").split())
        return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})
    return False


def _set_distributed_defaults() -> None:
    """One process of one; torchrun's own variables win where they are set."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    defaults = {
        "DS_ACCELERATOR": "cpu",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
    }
    if sys.platform == "linux":
        defaults["GLOO_SOCKET_IFNAME"] = "lo"  # otherwise gloo looks the host's name up, which may have no address
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def _stand_in_for_cuda() -> None:
    import torch

    torch.cuda.set_device = lambda *_: None
    torch.cuda.synchronize = lambda *_: None
    torch.cuda.current_device = lambda: "cpu"  # OpenRLHF only moves tensors to it


def _unavailable(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("flash-attn is not installed: set training.packing=false, training.attn_implementation=sdpa")


@contextlib.contextmanager
def _flash_attn_stand_ins() -> Iterator[None]:
    """Modules of flash-attn's names whose functions raise when called."""
    for name, functions in _FLASH_ATTN.items():
        module = ModuleType(name)
        for function in functions:
            setattr(module, function, _unavailable)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in _FLASH_ATTN:
            del sys.modules[name]


def import_openrlhf_without_flash_attn() -> None:
    """Import OpenRLHF's models. The others come first: they must not take the stand-ins for the real thing."""
    for name in ("deepspeed", "peft", "transformers"):
        importlib.import_module(name)
    with _flash_attn_stand_ins():
        importlib.import_module("openrlhf.models.ring_attn_utils")


def _adapt_deepspeed(in_float32: bool) -> None:
    """A CPU mesh, torch's own Adam, no compiled ops, and float32 where bfloat16 is slow."""
    import torch

    strategy: Any = importlib.import_module("openrlhf.utils.deepspeed.deepspeed")
    backend: Any = importlib.import_module("deepspeed.comm.torch")
    utils: Any = importlib.import_module("openrlhf.utils.utils")
    make_mesh = strategy.init_device_mesh
    strategy.init_device_mesh = lambda _, *args, **kwargs: make_mesh("cpu", *args, **kwargs)
    backend.build_shm_op = lambda: None
    for name in ("get_train_ds_config", "get_eval_ds_config"):
        setattr(strategy, name, _adapted(getattr(strategy, name), in_float32))
    if in_float32:
        # Actor asks this function for its dtype at each construction; --ds.param_dtype itself knows no float32.
        utils.convert_to_torch_dtype = lambda _: torch.float32
    print(f"pop: training on CPU in {'float32' if in_float32 else 'bfloat16'}, {torch.get_num_threads()} threads")


def _adapted(build: Callable[..., dict[str, Any]], in_float32: bool) -> Callable[..., dict[str, Any]]:
    @functools.wraps(build)
    def config(*args: Any, **kwargs: Any) -> dict[str, Any]:
        built = build(*args, **kwargs)
        if in_float32:
            built["bf16"]["enabled"] = built["fp16"]["enabled"] = False
        if "optimizer" in built:
            built["optimizer"]["params"]["torch_adam"] = True
        return built

    return config
