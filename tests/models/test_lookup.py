"""Which model is meant, and where it lies: by round or six letters of its id, also after the root has moved."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.errors import UserError
from schemas.tables import TABLES
from tasks.models import registry
from tasks.models.weights import weights_hash
from tasks.storage.store import Store

Cli = Callable[..., tuple[int, str, str]]
IDS = {0: "5a1b2c3d4e5f", 1: "5a1b2cffffff", 2: "123456abcdef"}


def run_of(root: Path, path: str = "sp/training/round={:03d}/model") -> Store:
    """A run of three models, each with a file of weights."""
    store = Store(str(root), "sp")
    for number, model_id in IDS.items():
        folder = store.workdir / f"training/round={number:03d}/model"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_text(f"weights {number}")
        (folder / "config.json").write_text("{}")
        row = {name: None for name in TABLES["models"].schema.names if name != "run"} | {
            "model_id": model_id, "parent_model_id": "base", "path": path.format(number), "status": "held",
            "weights_sha256": weights_hash(folder),
        }  # fmt: skip
        store.write("models", number, registry.MODELS_FILE, [row], {"stage": "train", "fingerprint": "f"})
    return store


@pytest.mark.parametrize("wanted", ["5", "", " ", "7", "5a1b2", "5a1b2c", "zzzzzz", "-1", "0x0", "999999"])
def test_what_names_no_model_or_two_is_refused_with_what_there_is(tmp_path: Path, wanted: str) -> None:
    with pytest.raises(UserError, match="round 0: 5a1b2c3d") as refused:
        registry.promote(run_of(tmp_path), wanted)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("wanted", "number"), [("0", 0), ("2", 2), ("123456", 2), ("5a1b2cf", 1), (IDS[0], 0)])
def test_a_round_or_six_letters_name_a_model(tmp_path: Path, wanted: str, number: int) -> None:
    assert registry.find(run_of(tmp_path), wanted)["model_id"] == IDS[number]


@pytest.mark.parametrize("path", ["sp/training/round={:03d}/model", "/gone/runs/sp/training/round={:03d}/model", "{}"])
def test_a_root_that_was_moved_or_copied_promotes_its_own_models(tmp_path: Path, path: str) -> None:
    old = tmp_path / "old"
    whole = f"{old}/sp/training/round={{:03d}}/model"  # as tables held it before: the original is still there
    run_of(old, path if path != "{}" else whole)
    shutil.copytree(old, tmp_path / "new")
    moved = Store(str(tmp_path / "new"), "sp")
    assert registry.find(moved, "1")["path"] == str(tmp_path / "new/sp/training/round=001/model")
    assert registry.promote(moved, "1")["standing_path"] == "sp/training/round=001/model"
    assert registry.require_standing(moved).path == str(tmp_path / "new/sp/training/round=001/model")


def test_status_bears_a_round_with_settings_of_another_version(
    tmp_path: Path, fake_root: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    shutil.copytree(fake_root, tmp_path / "runs")
    manifest = tmp_path / "runs/fake/manifests/round=000/round.json"
    content = json.loads(manifest.read_text())
    content["config"]["pairing"]["sorcery"] = 3
    manifest.write_text(json.dumps(content))
    code, out, err = cli("status", "--run", "fake", "--root", str(tmp_path / "runs"))
    assert code == 0 and "sorcery" in out + err and "Traceback" not in err and "documents" in out
