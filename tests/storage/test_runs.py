"""Which folders are runs, and which is the newest."""

import json
from pathlib import Path

from tasks.storage.runs import newest_run, runs
from tasks.storage.store import publish_local


def test_runs_are_the_folders_with_a_rounds_manifest_and_the_newest_is_the_last_written(tmp_path: Path) -> None:
    for name, written in (
        ("b", "2026-01-02T00:00:00+00:00"),
        ("a", "2026-01-03T00:00:00+00:00"),
        ("c", "2026-01-01T00:00:00+00:00"),
    ):
        publish_local(
            tmp_path / name / "manifests" / "round=000" / "round.json", json.dumps({"written": written}).encode()
        )
    (tmp_path / "d" / "logs").mkdir(parents=True)
    assert runs(str(tmp_path)) == ["a", "b", "c"]
    assert newest_run(str(tmp_path)) == "a"
    assert newest_run(str(tmp_path / "absent")) is None
