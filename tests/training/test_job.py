"""What a training job is known by, and what a changed one leaves behind."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.staging.plan import make_plan
from tasks.staging.stage import Round
from tasks.storage.store import Damaged, Store
from tasks.train import write_preferences
from tasks.training.job import TrainingJob, _pairs_in_order, claim, job_hash, read_rows
from tests.samples import Quiet, config
from tests.training.samples import write_pairs

PAIR = ("pair_id", "prompt", "chosen", "rejected")


def test_identity_is_settings_pairs_and_weights_and_nothing_else(job: TrainingJob, tmp_path: Path) -> None:
    before = job_hash(job)
    same_pairs = write_pairs(tmp_path / "other.parquet", {"b": ("good", "bad"), "a": ("yes", "no")})
    assert (
        job_hash(replace(job, preferences=same_pairs, workdir=tmp_path / "w", save_steps=5, timeout_sec=9, processes=2))
        == before
    )
    other_pairs = write_pairs(tmp_path / "third.parquet", {"b": ("good", "bad"), "a": ("yes", "nope")})
    assert job_hash(replace(job, preferences=other_pairs)) != before
    assert job_hash(replace(job, beta=0.1)) != before
    (job.model / "model.safetensors").write_bytes(b"Weights")
    assert (heavier := job_hash(job)) != before
    (job.model / "merges.txt").write_text("t h")  # a tokenizer without tokenizer.json is made of these
    assert job_hash(job) != heavier


def test_a_changed_job_takes_nothing_of_the_one_before(job: TrainingJob) -> None:
    paths = claim(job)
    for folder in (paths.checkpoints, paths.data, paths.saved, paths.model):
        folder.mkdir()
    paths.metrics.write_text("{}\n")
    (paths.root / "notes.txt").write_text("the user's own")
    claim(job)
    assert paths.checkpoints.exists() and paths.model.exists()

    claim(replace(job, beta=0.5))
    left = {entry.name for entry in paths.root.iterdir()}
    assert left == {"job.json", "notes.txt", f"model.{job_hash(job)[:8]}"}


def test_the_trainers_file_is_written_shard_by_shard_and_has_every_pair(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "r")

    def said(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    for shard, names in (("shard-00000", "ca"), ("shard-00001", "db")):
        rows = [
            {"pair_id": name, "prompt": said("user", f"q{name}"), "chosen": said("assistant", "yes"),
             "rejected": said("assistant", "no")} for name in names
        ]  # fmt: skip
        store.write("preferences", 0, shard, rows, {})
    round_ = Round(make_plan(config(), "r", 0, {"policy": "p"}), store, {}, Quiet())
    path = tmp_path / "preferences.parquet"
    prompts = write_preferences(round_, ("shard-00000", "shard-00001"), path)
    assert {name: prompt[0]["content"] for name, prompt in prompts.items()} == {n: f"q{n}" for n in "abcd"}
    assert list(prompts) == list("abcd")
    written = pq.read_table(path).to_pylist()
    assert sorted(row["pair_id"] for row in written) == list("abcd") and written[0]["run"] == "r"
    pairs = sorted(({k: v for k, v in row.items() if k in PAIR} for row in written), key=lambda row: row["pair_id"])
    assert list(_pairs_in_order(path)) == [json.dumps(pair, sort_keys=True).encode() for pair in pairs]
    Path(store.path("preferences", 0, "shard-00001")).write_bytes(b"torn")
    with pytest.raises(Damaged):
        write_preferences(round_, ("shard-00000", "shard-00001"), path)
    assert pq.read_table(path).to_pylist() == written  # whole or not at all


def test_zero_bytes_that_a_power_cut_left_are_no_row(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"step": 1}\n\0\0\0{"step": 2}\n\0\0\n{"step": 3}')
    assert read_rows(tmp_path / "rows.jsonl") == [{"step": 1}, {"step": 2}]
