"""Runtime-side script: vLLM's server with patient queues, for machines where every core has work to do.

vLLM's engine waits for its worker by spinning for a second after each message, which on a GPU costs a core that nobody
misses. On a CPU it takes the core from the worker that it waits for. Here it sleeps until it is notified. The processes
that vLLM spawns import this file as their main module too, so that the change holds in all of them.
"""

import runpy
from typing import Any

from vllm.distributed.device_communicators.shm_broadcast import SpinCondition

_init = SpinCondition.__init__


def _patient(self: SpinCondition, *args: Any, **kwargs: Any) -> None:
    _init(self, *args, **kwargs)
    self.busy_loop_s = 0.0


SpinCondition.__init__ = _patient

if __name__ == "__main__":
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")
