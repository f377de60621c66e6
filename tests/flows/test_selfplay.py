"""Rounds with a gate, on the stand-in runtime: its server's answers say nothing to a share that the weights decide."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.config import Config
from schemas.errors import CorpusUsedUp, UserError
from schemas.load import PROJECT, load_config
from schemas.tables import TABLES
from tasks.models import registry
from tasks.models.gate import Decision
from tasks.models.registry import Standing, decisions, known_models, standing
from tasks.models.weights import weights_hash
from tasks.processes.guarded import alive
from tasks.storage.db import connect
from tasks.storage.store import Store
from tests.chaos import standin

SMALL = (
    "rating.mode=likelihood", "corpus.documents=3", "corpus.documents_per_shard=3", "corpus.heldout_documents=12",
    "corpus.heldout_share=0.35", "sampling.answers=3", "evaluation.problems=12", "evaluation.answers=3",
    "evaluation.bootstrap_samples=400", "gate.min_problems=4",
)  # fmt: skip
Play = Callable[..., dict[str, Any]]


def make(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in runtime with a first model half of whose answers say nothing; the configuration's path."""
    config = standin.make(folder, "structured")
    (folder / "model/config.json").write_text('{"dull": 0.7}')
    for name, value in {"RUNTIME": folder / "runtime", "CACHE": folder / "cache"}.items():
        monkeypatch.setenv(f"POP_{name}", str(value))
    monkeypatch.setenv("STANDIN_STEP_SEC", "0.01")
    return config


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None) -> Play:
    """Runs self-play with settings and `STANDIN_…` variables; its outcome."""
    from flows.selfplay import selfplay_flow

    file = make(tmp_path, monkeypatch)

    def run(rounds: int, *overrides: str, **standin_variables: str) -> dict[str, Any]:
        for name, value in standin_variables.items():
            monkeypatch.setenv(f"STANDIN_{name.upper()}", value)
        config: Config = load_config(str(file), [*SMALL, *overrides])
        return asyncio.run(selfplay_flow(config, run="sp", rounds=rounds, root=str(tmp_path / "runs")))

    return run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The run that `play` makes."""
    return Store(str(tmp_path / "runs"), "sp")


def test_a_better_model_is_promoted_and_the_next_round_starts_from_it(tmp_path: Path, play: Play, store: Store) -> None:
    suites = 'evaluation.suites=["heldout", "grounded", "winrate", "perplexity"]'
    outcome = play(2, suites, dull="0")
    first, second = decisions(store)
    assert (first["decision"], second["decision"]) == ("promote", "hold")  # no better than its equal
    assert first["low"] > 0 and first["n"] >= 4
    assert [row["status"] for row in known_models(store)] == ["promoted", "held"]
    begun = json.loads(Path(f"{store.base}/manifests/round=001/round.json").read_text())
    assert begun["config"]["models"]["policy"]["path"] == outcome["standing"]["path"]
    assert outcome["standing"]["path"] == str(
        tmp_path / "runs" / first["standing_path"]
    )  # tables hold it from the root on
    assert registry.parent_of(store, known_models(store)[1]).model_id == first["model_id"]
    rows = connect(store).execute("SELECT suite, count(*) FROM evaluations WHERE status = 'ok' GROUP BY 1").fetchall()
    assert {suite for suite, _ in rows} == {"heldout", "grounded", "winrate", "perplexity"}
    assert play(2, suites)["rounds"] == 0  # nothing is done twice
    used = (
        connect(store).execute("SELECT document_id FROM documents WHERE status = 'ok' AND split = 'train'").fetchall()
    )
    assert len(used) == len(set(used)) == 6
    examined = connect(Store(store.base, "evaluation")).execute("SELECT DISTINCT document_id FROM problems").fetchall()
    assert examined and not set(examined) & set(used)


def test_a_worse_model_is_held(play: Play, store: Store) -> None:
    outcome = play(1, dull="1")
    (row,) = decisions(store)
    assert (row["decision"], outcome["standing"]["path"]) == ("hold", None)
    assert row["high"] < 0


@pytest.mark.parametrize(("weights", "says"), [("nan " * 16, "not finite"), ("", "no weights")])
def test_a_broken_model_is_rolled_back_and_never_listed(play: Play, store: Store, weights: str, says: str) -> None:
    outcome = play(1, weights=weights)
    (row,) = decisions(store)
    assert row["decision"] == "roll_back" and says in row["reason"]
    assert known_models(store) == [] and outcome["standing"]["path"] is None
    assert play(1)["rounds"] == 0


def test_a_judge_that_is_down_holds_the_model_and_patience_ends_the_rounds(play: Play, store: Store) -> None:
    judge = 'models.judge={base_urls=["http://127.0.0.1:9/v1"], served_name="j", max_model_len=8192}'
    outcome = play(
        5, judge, "evaluation.judge=judge", "engine.max_retries=0", "gate.patience=1", 'evaluation.suites=["heldout"]',
        "gate.guards={}", dull="0",
    )  # fmt: skip
    (row,) = decisions(store)
    assert (row["decision"], row["value"]) == ("hold", None)
    assert "127.0.0.1:9" in row["reason"]
    assert "brought no better model" in outcome["stopped"]
    assert connect(store).execute("SELECT DISTINCT status, value FROM evaluations").fetchall() == [("failed", None)]


def test_too_few_pairs_hold_and_a_used_up_corpus_ends_the_rounds(play: Play, store: Store) -> None:
    outcome = play(9, "training.batch_size=64", "corpus.documents=40", "corpus.heldout_documents=1", "gate.patience=9",
                   "gate.audits=warn")  # fmt: skip
    assert "the corpus is used up" in outcome["stopped"]
    assert [row["decision"] for row in decisions(store)] == ["hold"] * len(decisions(store))
    assert "fewer than a batch" in decisions(store)[0]["reason"]
    counts = (
        connect(store)
        .execute("SELECT count(*), count(DISTINCT document_id) FROM documents WHERE status = 'ok'")
        .fetchall()
    )
    assert counts[0][0] == counts[0][1]


def test_documents_of_three_rounds_are_disjoint_and_held_out_ones_never_train(tmp_path: Path) -> None:
    from tasks.shard import sample_documents

    config = load_config("demo", ["corpus.documents=7", "corpus.heldout_documents=4", "corpus.heldout_share=0.2"])
    train: list[str] = []
    heldout: list[str] = []
    for _ in range(3):
        rows = [row for row in sample_documents(config.corpus, train + heldout).rows if row["status"] == "ok"]
        train += [row["document_id"] for row in rows if row["split"] == "train"]
        heldout += [row["document_id"] for row in rows if row["split"] == "heldout"]
    assert len(set(train)) == 21
    assert heldout and not set(train) & set(heldout)
    with pytest.raises(CorpusUsedUp):
        for _ in range(9):
            rows = [row for row in sample_documents(config.corpus, train + heldout).rows if row["status"] == "ok"]
            train += [row["document_id"] for row in rows]


def test_a_kill_between_any_two_steps_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None
) -> None:
    from prefect.settings import PREFECT_API_URL

    file = make(tmp_path, monkeypatch)
    env = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "STANDIN_DULL": "0"}
    sets = [word for one in SMALL for word in ("--set", one)]

    def command(root: str) -> list[str]:
        where = ["--run", "sp", "--root", str(tmp_path / root), "--rounds", "1"]
        return [sys.executable, "-m", "flows.cli", "selfplay", str(file), *where, *sets]

    steps = ("documents/round=000", "models/round=000", "evaluation/manifests/parts", "evaluations/round=000",
             "decisions/round=000")  # fmt: skip
    killed = 0
    for step in steps:
        process = subprocess.Popen(
            command("killed"), cwd=PROJECT, env=env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        while process.poll() is None and not list((tmp_path / "killed/sp").glob(f"{step}/[!.]*")):
            time.sleep(0.02)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed >= 3
    for root in ("killed", "whole"):
        done = subprocess.run(command(root), cwd=PROJECT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    tables = [_contents(tmp_path / root) for root in ("killed", "whole")]
    for table, rows in tables[0].items():
        assert rows == tables[1][table], table
    assert len(tables[0]["decisions"]) == 1


VOLATILE = {"generations": ("seconds", "endpoint"), "training_steps": ("seconds",), "models": ("path",),
            "decisions": ("standing_path", "decided")}  # fmt: skip


def _contents(root: Path) -> dict[str, list[tuple[Any, ...]]]:
    con = connect(Store(str(root), "sp"))
    without = {table: f" EXCLUDE ({', '.join(VOLATILE[table])})" if table in VOLATILE else "" for table in TABLES}
    return {table: con.execute(f"SELECT *{without[table]} FROM {table} ORDER BY ALL").fetchall() for table in TABLES}


def test_sigterm_ends_self_play_with_nothing_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None
) -> None:
    from prefect.settings import PREFECT_API_URL

    file = make(tmp_path, monkeypatch)
    env = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "STANDIN_SERVER": "--latency-sec 2"}
    where = ["--run", "sp", "--root", str(tmp_path / "runs"), "--rounds", "1"]
    command = [sys.executable, "-m", "flows.cli", "selfplay", str(file), *where]
    process = subprocess.Popen(command, cwd=PROJECT, env=env, stderr=subprocess.DEVNULL)
    records = tmp_path / "cache/processes"
    over = time.monotonic() + 120
    while not (found := list(records.glob("*.json"))) and time.monotonic() < over:
        time.sleep(0.1)
    started = [json.loads(path.read_text()) for path in found]
    began = time.monotonic()
    process.terminate()
    assert process.wait(30) == 143
    assert time.monotonic() - began < 30
    assert started and not any(alive(record["pid"], record["started"]) for record in started)


def _model(store: Store, number: int, parent: str) -> dict[str, Any]:
    """A model's row and folder as a round leaves them."""
    weights = store.workdir / f"training/round={number:03d}/model"
    weights.mkdir(parents=True)
    (weights / "model.safetensors").write_text(f"weights {number}")
    (weights / "config.json").write_text("{}")
    row = {name: None for name in TABLES["models"].schema.names if name != "run"} | {
        "model_id": f"m{number}{'0' * 20}", "parent_model_id": parent, "path": str(weights), "status": "candidate",
        "weights_sha256": weights_hash(weights),
    }  # fmt: skip
    store.write("models", number, registry.MODELS_FILE, [row], {"stage": "train", "fingerprint": "f"})
    return row


def _decide(store: Store, number: int, row: dict[str, Any], decision: Any) -> None:
    after = Standing(row["model_id"], row["path"]) if decision == "promote" else standing(store)
    registry.record(store, number, row, Decision(decision, "because", "heldout.difference"), "gate", after)


def test_the_registry_knows_parents_steps_back_and_keeps_promoted_weights(tmp_path: Path, store: Store) -> None:
    rows = [_model(store, 0, "base")]
    rows += [_model(store, n, f"weights:{rows[0]['weights_sha256'][:24]}") for n in (1, 2, 3)]
    for number, decision in enumerate(("promote", "hold", "roll_back", "promote")):
        _decide(store, number, rows[number], decision)
    assert [row["status"] for row in known_models(store)] == ["promoted", "held", "rolled_back", "promoted"]
    assert registry.prune(store, keep=1) == [rows[1]["path"]]  # of those not promoted, the newest stays
    assert [row["weights"] for row in registry.lineage(store)] == [True, False, True, True]
    assert registry.rollback(store)["standing_model_id"] == rows[0]["model_id"]
    assert registry.rollback(store)["standing_path"] is None
    with pytest.raises(UserError, match="nothing to roll back"):
        registry.rollback(store)
    with pytest.raises(UserError, match="any more"):
        registry.promote(store, "1")
    assert registry.promote(store, "m20000")["standing_path"] == "sp/training/round=002/model"
    assert registry.require_standing(store).model_id == rows[2]["model_id"]
    _model(store, 4, "weights:" + "0" * 24)  # whose parent's round was made again
    registry.promote(store, "4")
    with pytest.raises(UserError, match=r"was trained from weights:0+, which was made anew"):
        registry.rollback(store)
    registry.promote(store, "2")
    store.set_aside(store.path("models", 2, registry.MODELS_FILE))  # its round is made again
    with pytest.raises(UserError, match="was made anew"):
        registry.require_standing(store)
    with pytest.raises(UserError, match="'nine' is no round"):
        registry.promote(store, "nine")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "model.safetensors").write_text("weights of another"), "are not those of"),
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "any more"),
    ],
)
def test_a_model_that_is_not_what_was_measured_is_not_promoted_and_no_round_begins_from_it(
    store: Store, spoil: Callable[[Path], object], says: str
) -> None:
    rows = [_model(store, number, "base") for number in (0, 1)]
    registry.promote(store, "0")
    spoil(Path(rows[0]["path"]))
    for asked in (lambda: registry.promote(store, "0"), lambda: registry.require_standing(store)):
        with pytest.raises(UserError, match=says) as refused:
            asked()
        assert "pop promote" in str(refused.value) and "\n" not in str(refused.value)
    assert registry.promote(store, "1")["standing_model_id"] == rows[1]["model_id"]


def test_a_decision_is_never_written_over_another_one(store: Store) -> None:
    row = _model(store, 0, "base")
    for _ in range(3):
        registry.promote(store, "0")
    Path(store.files("decisions")[1]).unlink()  # lost with a folder that was restored in part
    _decide(store, 0, row, "hold")
    registry.rollback(store)
    assert [one["decision"] for one in decisions(store)] == ["promote", "promote", "hold", "roll_back"]


def test_who_was_rolled_back_meanwhile_does_not_come_again_as_the_parent_of_a_better_one() -> None:
    from flows.selfplay import of_who_stands

    better = Decision("promote", "it clears 0", "heldout.difference", value=0.1)
    base, restored, one, two = Standing(), Standing("weights:ab", None), Standing("m1", "a"), Standing("m2", "b")
    assert of_who_stands(better, base, restored) is of_who_stands(better, one, one) is better
    for before, now in ((one, base), (one, two), (base, one)):
        held = of_who_stands(better, before, now)
        assert held.decision == "hold" and held.value == 0.1 and "since the round began" in held.reason


def test_a_kill_between_decision_and_status_costs_nothing(tmp_path: Path, store: Store) -> None:
    row = _model(store, 0, "base")
    _decide(store, 0, row, "promote")
    store.write("models", 0, registry.MODELS_FILE, [row], {"stage": "train", "fingerprint": "f"})
    registry.settle(store)
    assert known_models(store)[0]["status"] == "promoted"
    assert store.footer("models", 0, registry.MODELS_FILE) == {"stage": "train", "fingerprint": "f"}


def test_self_play_that_would_train_nothing_is_refused(tmp_path: Path, prefect_server: None) -> None:
    from flows.selfplay import selfplay_flow

    config = load_config("smoke", ["engine.kind=fake"])
    with pytest.raises(UserError, match="the fake engine"):
        asyncio.run(selfplay_flow(config, run="sp", rounds=1, root=str(tmp_path)))
    assert not list(tmp_path.iterdir())  # nothing was asked of a model for it


def test_the_registrys_commands_say_what_stands_and_refuse_what_is_not_there(
    fake_root: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    where = ("--run", "fake", "--root", str(fake_root))
    code, out, _ = cli("models", *where)
    assert (code, "the model that it began with" in out) == (0, True)
    code, _, err = cli("promote", "9", *where)
    assert code == 2 and "the round 9 has no model" in err and "pop models" in err
    code, _, err = cli("rollback", *where)
    assert code == 2 and "nothing to roll back" in err
