"""What serve_on_cpu.py replaces in vLLM is still there: a name that is gone would be set, and change nothing."""

from pathlib import Path

import pytest

from tasks.runtime import runtime_dir

VLLM = next(runtime_dir().glob("lib/python3*/site-packages/vllm"), Path())


@pytest.mark.skipif(Path() == VLLM, reason="no runtime environment: run `pop setup`")
@pytest.mark.parametrize(
    ("file", "read"),
    [
        ("distributed/device_communicators/shm_broadcast.py", "wait_ms = SHM_READER_RECHECK_INTERVAL_MS"),
        ("distributed/device_communicators/shm_broadcast.py", "self.last_read + self.busy_loop_s"),
        ("v1/sample/ops/topk_topp_sampler.py", "self.forward = self.forward_cpu"),
        ("v1/sample/ops/topk_topp_sampler.py", "PROCESSED_LOGPROBS_MODES"),
        ("v1/sample/ops/topk_topp_sampler.py", "def apply_top_k_only(logits: torch.Tensor, k: torch.Tensor)"),
    ],
)
def test_vllm_still_reads_what_is_replaced(file: str, read: str) -> None:
    assert read in (VLLM / file).read_text(encoding="utf-8")
