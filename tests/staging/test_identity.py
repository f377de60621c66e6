"""What a row, a file, a run and a model are known by: changed settings change what they must, and nothing else."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.config import Config
from schemas.errors import UserError
from tasks.engine.protocol import Likelihood, Request
from tasks.models.resolve import resolve
from tasks.prompts import HERE
from tasks.staging.plan import STAGES, make_plan
from tasks.staging.stage import Round
from tasks.storage.runs import newest_run, runs
from tasks.storage.store import Store, publish_local
from tests.samples import STEPWISE, Row, config, plan_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A run in a folder."""
    return Store(str(tmp_path / "runs"), "r1")


# Fingerprints

AFTER_RUBRIC = {"rubric", "rate", "probe", "pair", "train"}
TWO_MODELS: Row = {"models": {"policy": {"path": "a/b"}, "teacher": {"path": "c/d"}}}


def changed(before: Config, after: Config) -> set[str]:
    """Stages that are done again when the settings change so."""
    old, new = plan_of(before).fingerprints, plan_of(after).fingerprints
    return {stage for stage in STAGES if old[stage] != new[stage]}


@pytest.mark.parametrize(
    "change",
    [
        {"engine": {"max_in_flight": 3}}, {"engine": {"timeout_sec": 9}}, {"engine": {"start_timeout_sec": 9}},
        {"engine": {"max_retries": 0}}, {"engine": {"port": 8000}}, {"engine": {"gpu_memory_utilization": 0.5}},
        {"storage": {"compression_level": 9}}, {"training": {"timeout_sec": 9, "save_steps": 1, "enabled": False}},
    ],
)  # fmt: skip
def test_what_does_not_change_the_output_changes_no_fingerprint(change: Row) -> None:
    assert changed(config(), config(change)) == set()


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ({"corpus": {"seed": 1}}, set(STAGES)),
        ({"sampling": {"propose": {"temperature": 0.1}}}, set(STAGES) - {"shard"}),
        ({"sampling": {"seed": 1}}, set(STAGES) - {"shard"}),
        ({"sampling": {"answers": 5}}, {"answer"} | AFTER_RUBRIC),
        ({"sampling": {"answer": {"top_p": 0.5}}}, {"answer"} | AFTER_RUBRIC),
        ({"rubric": {"max_criteria": 3}}, AFTER_RUBRIC),
        ({"rubric": {"show_document": False}}, AFTER_RUBRIC),
        ({"sampling": {"rubric": {"temperature": 0.1}}}, AFTER_RUBRIC),
        ({"roles": {"rubric": "teacher"}}, AFTER_RUBRIC),
        ({"roles": {"judge": "teacher"}}, {"rate", "probe", "pair", "train"}),
        ({"sampling": {"judge": {"temperature": 0.1}}}, {"rate", "probe", "pair", "train"}),
        ({"rating": {"mode": "likelihood"}}, {"rate", "probe", "pair", "train"}),
        ({"pairing": {"min_margin": 0.1}}, {"pair", "train"}),
        ({"training": {"beta": 0.2}}, {"train"}),
        ({"training": {"max_tokens": 512}}, {"train"}),
    ],
)  # fmt: skip
def test_a_change_re_does_its_stage_and_what_follows(change: Row, stages: set[str]) -> None:
    assert changed(config(TWO_MODELS), config(TWO_MODELS, change)) == stages


@pytest.mark.parametrize("layer", [{"rubric": {"shown_answers": 0}}, STEPWISE])
def test_a_rubric_that_shows_no_answers_does_not_depend_on_them(layer: Row) -> None:
    more = config(layer, sampling={"answers": 5})
    assert changed(config(layer), more) == {"answer", "rate", "probe", "pair", "train"}


def test_another_prompt_re_does_the_stage_that_sends_it(tmp_path: Path) -> None:
    for name, stages in (
        ("rubric", AFTER_RUBRIC),
        ("judge", {"rate", "probe", "pair", "train"}),
        ("facts_step", set[str]()),
    ):
        own = tmp_path / name
        own.mkdir()
        (own / "judge.txt").write_text((HERE / "general" / "judge.txt").read_text())
        settings = config(task={"type": str(own)})
        before = plan_of(settings).fingerprints
        (own / f"{name}.txt").write_text("Another prompt.")
        after = plan_of(settings).fingerprints
        assert {stage for stage in STAGES if before[stage] != after[stage]} == stages


def test_other_weights_re_do_all_but_the_documents() -> None:
    old, new = (make_plan(config(), "r", 0, {"policy": weights}).fingerprints for weights in ("weights:a", "weights:b"))
    assert {stage for stage in STAGES if old[stage] != new[stage]} == set(STAGES) - {"shard"}


def test_ids_do_not_depend_on_run_or_round_and_fingerprints_on_the_round_only() -> None:
    here, elsewhere, later = plan_of(config(), 0, "a"), plan_of(config(), 0, "b"), plan_of(config(), 1, "a")
    assert here.keys == elsewhere.keys == later.keys
    assert here.fingerprints == elsewhere.fingerprints
    assert not set(here.fingerprints.values()) & set(later.fingerprints.values())


def test_the_footer_names_what_shaped_the_rows_and_no_key() -> None:
    footer = plan_of(config(models={"policy": {"path": "a/b", "api_key_env": "MY_KEY"}})).footer("rubric")
    assert {"stage", "fingerprint", "config_hash", "settings", "version", "inputs", "reused_from"} == footer.keys()
    assert set(footer["inputs"]) == {"propose", "answer"}
    assert footer["settings"]["model"] == "fake:policy"
    assert "rubric" in footer["settings"]["prompts"]
    assert "MY_KEY" not in json.dumps(footer)


def test_only_this_stages_exact_settings_make_a_shard_done(store: Store) -> None:
    plan, other = plan_of(config()), plan_of(config(rubric={"max_criteria": 2}))
    store.write("rubrics", 0, "shard-00000", [], plan.footer("rubric"))
    store.write("rubrics", 0, "shard-00001", [], plan.footer("rate"))
    progress: Any = None
    assert Round(plan, store, {}, progress).done("rubric", "shard-00000")
    assert not Round(plan, store, {}, progress).done("rubric", "shard-00001")
    assert not Round(plan, store, {}, progress).done("rubric", "shard-00002")
    assert not Round(other, store, {}, progress).done("rubric", "shard-00000")


def test_a_calls_identity_is_what_shapes_its_answer() -> None:
    sampling = config().sampling.answer
    request = Request("answer", "a1", "answer", ({"role": "user", "content": "Why?"},), sampling)
    others = [
        replace(request, subject_id="a2"), replace(request, attempt=1), replace(request, salt=1),
        replace(request, field="f"),
        replace(request, messages=({"role": "user", "content": "How?"},)), replace(request, output=("X", {})),
        replace(request, sampling=sampling.model_copy(update={"top_p": 0.5})), replace(request, role="judge"),
    ]  # fmt: skip
    ids = {one.generation_id("m") for one in (request, *others)} | {request.generation_id("m2")}
    assert len(ids) == len(others) + 2
    assert len({one.seed("m") for one in (request, *others)}) == len(others) + 1
    asking = Likelihood("judge", "r", "c", ("t",))
    assert asking.generation_id("m") != replace(asking, targets=("t", "u")).generation_id("m")


# Runs and models


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
