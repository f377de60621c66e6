"""`pop export`: what the trainers read, with a card that says where it comes from."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard

from flows.views.export import markdown_text
from tests import planted

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run with two preference pairs, one of them with texts that mean harm."""
    store = planted.write(str(tmp_path / "runs"), "r")
    hostile = "😀 <b>|x|</b>\n---\nlicense: mine\n\u2028 {{ 7 * 7 }}"
    rows = [
        {"pair_id": f"x{n}", "prompt": [{"role": "user", "content": f"{n}? {hostile}"}],
         "chosen": [{"role": "assistant", "content": "good"}], "rejected": [{"role": "assistant", "content": "bad"}]}
        for n in (0, 2)
    ]  # fmt: skip
    rows = [row for row in rows if planted.healthy()["pairs"][int(str(row["pair_id"])[1:])]["status"] == "ok"]
    store.write("preferences", 0, "shard-00000", rows, {})
    return tmp_path / "runs"


def test_datasets_loads_every_layout(cli: Cli, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    target = tmp_path / "out"
    code, out, err = cli("export", str(target), "--root", str(root))
    assert code == 0 and "2 pairs in" in out, err
    for layout, turns in (("preferences", 1), ("conversations", 2)):
        loaded = datasets.load_dataset(str(target), layout, cache_dir=str(tmp_path / "cache"))["train"]
        lines = [json.loads(line) for line in (target / layout / "train.jsonl").read_text().split("\n") if line]
        assert loaded.to_list() == lines == pq.read_table(target / layout / "train.parquet").to_pylist()
        assert all(len(row["chosen"]) == len(row["rejected"]) == turns for row in lines)
        assert lines[0]["score_chosen"] > lines[0]["score_rejected"] and lines[0]["document_id"] == "d0"


def test_the_card_names_counts_audits_licence_and_source(cli: Cli, root: Path, tmp_path: Path) -> None:
    cli("export", str(tmp_path / "out"), "--root", str(root), "--license", "cc-by-4.0\nx: y")
    card = DatasetCard.load(tmp_path / "out/README.md")
    assert card.data.license == "cc-by-4.0\nx: y"
    for text in ("2 preference pairs", "| pairs | 40 |", "heldout\\_leak", "2604.20051", "--data.prompt_key prompt"):
        assert text in card.text, text


def test_it_overwrites_only_where_it_is_told_to(cli: Cli, root: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("kept")
    code, _, err = cli("export", str(tmp_path / "out"), "--root", str(root))
    assert code == 2 and "add --overwrite" in err and [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]
    assert cli("export", str(tmp_path / "out"), "--root", str(root), "--overwrite")[0] == 0
    assert (tmp_path / "out/mine.txt").read_text() == "kept"


def test_a_run_without_pairs_is_refused_in_one_line(cli: Cli, tmp_path: Path) -> None:
    planted.write(str(tmp_path), "r")
    code, out, err = cli("export", str(tmp_path / "out"), "--root", str(tmp_path))
    assert code == 2 and "no preference pairs" in err and not out and not (tmp_path / "out").exists()


def test_a_text_means_nothing_in_markdown() -> None:
    assert markdown_text("a|b\n# <i>*x*</i> [l](u)") == "a\\|b \\# \\<i\\>\\*x\\*\\</i\\> \\[l\\](u)"
