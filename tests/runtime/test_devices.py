"""CUDA_VISIBLE_DEVICES is read as CUDA reads it."""

import pytest

from tasks.runtime.devices import gpus


@pytest.mark.parametrize(
    ("visible", "there"),
    [
        ("0,1", ("0", "1")),
        (" 2 , GPU-abc", ("2", "GPU-abc")),
        ("", ()),
        ("-1", ()),
        ("1,-1,0", ("1",)),
        ("0,,1", ("0",)),
    ],
)
def test_an_empty_entry_or_minus_one_hides_what_follows(
    visible: str, there: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus() == there
