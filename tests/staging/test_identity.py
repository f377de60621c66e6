"""What a row and a file are known by: changed settings change what they must, and nothing else."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.config import Config
from tasks.engine.protocol import Likelihood, Request
from tasks.prompts import HERE
from tasks.staging.plan import STAGES, make_plan
from tasks.staging.stage import Round
from tasks.storage.store import Store
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
        {"engine": {"max_in_flight": 3, "replicas": 2}},
        {"engine": {"timeout_sec": 9}}, {"engine": {"start_timeout_sec": 9}},
        {"engine": {"max_retries": 0}}, {"engine": {"port": 8000}}, {"engine": {"gpu_memory_utilization": 0.5}},
        {"storage": {"compression_level": 9}},
        {"training": {"timeout_sec": 9, "save_steps": 1, "processes": 2, "enabled": False}},
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
