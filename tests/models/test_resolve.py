"""What a model is known by: its weights, or its name where only a server has it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import UserError
from tasks.models.resolve import resolve
from tests.samples import config


def resolved(**model: Any) -> Any:
    """A model of these settings, found."""
    return resolve("policy", config(models={"policy": model}, engine={"kind": "vllm"}), lambda _: None)


def test_a_folders_identity_is_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POP_CACHE", str(tmp_path / "cache"))
    folders: dict[str, Path] = {}
    for name, weights in (("one", b"1"), ("copy", b"1"), ("two", b"2")):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        (folders[name] / "config.json").write_text("{}")
        (folders[name] / "model.safetensors").write_bytes(weights)
    one, copy, two = (resolved(path=str(folders[name])) for name in ("one", "copy", "two"))
    assert one.identity == copy.identity != two.identity
    assert one.path == str(folders["one"])
    assert resolved(path=str(folders["one"])) == one  # remembered
    served = resolved(path=str(folders["one"]), base_urls=["http://h/v1"], served_name="m")
    assert served == one  # served elsewhere and trained from here: the weights say what it is


def test_a_model_without_weights_is_the_users_mistake(tmp_path: Path) -> None:
    makers: list[Callable[[], object]] = [
        lambda: (tmp_path / "config.json").write_text("{}"), lambda: (tmp_path / "config.json").unlink(),
    ]  # fmt: skip
    for make in makers:
        make()
        with pytest.raises(UserError, match="without weights"):
            resolved(path=str(tmp_path))
    for path in ("./absent", "absent", "a/b/c", str(tmp_path / "absent")):
        with pytest.raises(UserError, match="there is no folder"):
            resolved(path=path)


def test_what_only_a_server_has_is_known_by_its_name_there() -> None:
    assert resolved(base_urls=["http://h/v1"], served_name="m").identity == "served:m"
