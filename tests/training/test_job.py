"""What a training job is known by, and what a changed one leaves behind."""

from dataclasses import replace
from pathlib import Path

from tasks.training.job import TrainingJob, claim, job_hash
from tests.training.samples import write_pairs


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
    assert job_hash(job) != before


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
