"""The second environment, where vLLM and OpenRLHF live: making it, checking it, and the default model for it."""

from tasks.runtime.environment import runtime_device, runtime_dir, runtime_python

__all__ = ["runtime_device", "runtime_dir", "runtime_python"]
