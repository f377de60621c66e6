"""Runtime-side script: vLLM's server for machines without a GPU, where every core has work to do.

- Patient queues: vLLM's engine waits for its worker by spinning for a second after each message, which on a GPU costs a
  core that nobody misses. On a CPU it takes the core from the worker that it waits for. Here it sleeps until notified,
  and looks every 10 ms all the same: on a busy machine notes were lost, and vLLM itself looks every 5 s.
- Tokens are drawn without sorting the vocabulary (nucleus.py says why): the same distribution, other draws of a seed.

The processes that vLLM spawns import this file as their main module too, so that the changes hold in all of them.
"""

import importlib.util
import runpy
from pathlib import Path
from typing import Any

import torch
from vllm.distributed.device_communicators import shm_broadcast
from vllm.v1.sample.ops import topk_topp_sampler as sampler

_spec = importlib.util.spec_from_file_location("pop_nucleus", Path(__file__).with_name("nucleus.py"))
assert _spec and _spec.loader
nucleus = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(nucleus)

_init = shm_broadcast.SpinCondition.__init__
_by_sorting = sampler.TopKTopPSampler.forward_cpu


def _patient(self: Any, *args: Any, **kwargs: Any) -> None:
    _init(self, *args, **kwargs)
    self.busy_loop_s = 0.0


def _drawn(self: Any, logits: Any, generators: dict[int, Any], k: Any, p: Any) -> tuple[Any, None]:
    """Logits [sequences, V] to tokens [sequences]; one random number a token, of the request's own generator."""
    if self.use_fp64_gumbel or self.logprobs_mode in sampler.PROCESSED_LOGPROBS_MODES:
        found: tuple[Any, None] = _by_sorting(self, logits, generators, k, p)
        return found
    kept = logits if k is None else sampler.apply_top_k_only(logits, k)
    rows = kept.softmax(dim=-1, dtype=torch.float32).numpy()
    marks = torch.rand(len(rows), dtype=torch.float64)
    for row, generator in generators.items():
        marks[row] = torch.rand((), dtype=torch.float64, generator=generator)
    shares = [1.0] * len(rows) if p is None else p.tolist()
    return torch.tensor([nucleus.pick(*each) for each in zip(rows, shares, marks.tolist(), strict=True)]), None


shm_broadcast.SpinCondition.__init__ = _patient
shm_broadcast.SHM_READER_RECHECK_INTERVAL_MS = 10
sampler.TopKTopPSampler.forward_cpu = _drawn

if __name__ == "__main__":
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")
