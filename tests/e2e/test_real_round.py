"""The real thing: vLLM serves the real model, OpenRLHF trains it, and the trained model answers through vLLM."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.learning import likelier
from benchmarks.learning.margins import OFFLINE
from tasks.models.weights import weight_files
from tasks.processes.guarded import state_dir
from tasks.runtime import runtime_dir, runtime_python
from tasks.storage.db import connect
from tasks.storage.store import Store

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not (runtime_dir() / "bin/python").exists(), reason="no runtime environment: run `pop setup`"),
]


def pop(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments], capture_output=True, text=True, timeout=1200, check=False,
        env={name: value for name, value in os.environ.items() if name == "PREFECT_HOME" or "PREFECT" not in name},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="module")
def outcome(root: Path) -> str:
    """One round of the smoke preset, from documents to a trained model."""
    return pop("round", "smoke", "--root", str(root))


def ask(root: Path, query: str, run: str = "smoke") -> list[tuple[object, ...]]:
    return connect(Store(str(root), run)).execute(query).fetchall()


def test_a_round_ends_with_a_trained_model_that_differs_and_answers(root: Path, outcome: str) -> None:
    [(path, sha256, parameters, answer)] = ask(
        root, "SELECT path, weights_sha256, parameters, sample_answer FROM models"
    )
    assert isinstance(path, str) and path in outcome
    assert parameters == 134_515_008 and answer
    parent = state_dir() / "models/smollm2-135m-instruct"
    assert weight_files(parent)[0].read_bytes() != weight_files(root / path)[0].read_bytes()
    assert len(str(sha256)) == hashlib.sha256().digest_size * 2


def test_the_loss_curve_is_in_training_steps(root: Path, outcome: str) -> None:
    steps = ask(root, "SELECT step, loss, learning_rate FROM training_steps ORDER BY step")
    [(pairs,)] = ask(root, "SELECT count(*) FROM preferences")
    assert [step for step, *_ in steps] == list(range(1, int(str(pairs)) + 1))
    assert all(loss is not None for _, loss, _ in steps)


def test_training_makes_the_better_answers_likelier_beside_the_worse_ones(root: Path, outcome: str) -> None:
    """A sign error anywhere between scores and weights, or another template than the model's, turns this red."""
    [(path,)] = ask(root, "SELECT path FROM models")
    better = ask(root, "SELECT bool_and(chosen_score > rejected_score) FROM pairs WHERE status = 'ok'")
    preferences = next((root / "smoke").glob("**/training/round=000/preferences.parquet"))
    files = (state_dir() / "models/smollm2-135m-instruct", root / str(path), preferences)
    command = [str(runtime_python()), likelier.__file__, *map(str, files)]
    done = subprocess.run(command, env=OFFLINE, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert better == [(True,)] and sum(json.loads(done.stdout.splitlines()[-1])) > 0


def test_scores_are_likelihoods_in_bounds_and_references_are_rated(root: Path, outcome: str) -> None:
    scores = ask(root, "SELECT score FROM ratings WHERE status = 'ok'")
    assert scores and all(0 <= float(str(score)) < 2 for (score,) in scores)
    assert ask(root, "SELECT count(reference_score) > 0 FROM gap") == [(True,)]
    assert "Gap: references score" in outcome


def test_tokens_are_counted_here_once_the_server_was_found_to_count_alike(root: Path, outcome: str) -> None:
    asked = (root / "smoke/logs/engine-policy.log").read_text().count("/tokenize HTTP")
    assert 0 < asked <= 12, "two models (policy, and again for its checks), a few texts each; no call counts its tokens"


def test_the_same_command_again_reuses_everything(root: Path, outcome: str) -> None:
    before = {p: p.stat().st_mtime_ns for p in (root / "smoke").rglob("*.parquet")}
    assert "Model:" in pop("round", "smoke", "--root", str(root))
    assert before == {p: p.stat().st_mtime_ns for p in (root / "smoke").rglob("*.parquet")}


def test_the_trained_model_plays_the_next_round_and_ctrl_c_leaves_nothing_behind(root: Path, outcome: str) -> None:
    [(path,)] = ask(root, "SELECT path FROM models")
    small = (f"models.policy.path={root / str(path)}", "corpus.documents=2", "sampling.answers=3")
    command = [sys.executable, "-m", "flows.cli", "round", "smoke", "--root", str(root), "--run", "next"]
    command += [word for setting in small for word in ("--set", setting)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    answers = root / "next/answers/round=000"
    deadline = time.monotonic() + 600
    while not list(answers.glob("*.parquet")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.5)
    own = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    process.terminate()
    started = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err[-3000:]
    assert time.monotonic() - started < 20
    assert not [pid for pid in own if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
    assert ask(root, "SELECT count(*) > 0 FROM answers WHERE status = 'ok' AND rollout >= 0", "next") == [(True,)]
