"""What cannot be served or trained is found before anything is asked of it, and told with its mend."""

import json
import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import UserError
from tasks.models.examination import Examined, _key, examine, require_fit, unfit_to_train
from tasks.models.resolve import Resolved, resolve
from tests.samples import Row, config
from tests.training.samples import in_runtime

HERE = Path(__file__).parent
FOUND = {  # of spoilt.py's models: the kind, and what is said
    "gptq": ("train", r"quantized \(gptq\)"),
    "awq": ("train", r"quantized \(awq\)"),
    "compressed": ("train", r"quantized \(compressed-tensors\)"),
    "fp8": ("train", r"quantized \(fp8\)"),
    "bitsandbytes": ("train", r"quantized \(bitsandbytes\)"),
    "missing": ("load", r"1 of its weights are missing, the first: transformer\.h\.1\.mlp\.c_fc\.weight"),
    "shape": ("load", r"1 of its weights are of another shape, the first: transformer\.h\.1\.mlp\.c_fc\.weight"),
    "torn": ("load", "its weights do not load"),
    "nan": ("load", r"1 of its weights hold NaN or infinite numbers, the first: transformer\.h\.1\.mlp\.c_fc\.weight"),
    "zeros": ("load", "its weights are all zero"),
    "layers": ("load", "its weights have 2 layers, and its config.json says 1"),
    "head": ("load", "its head is not its embedding"),
    "no_words": ("load", "its vocabulary .* is not there|tokenizer of .* does not load"),
    "no_configuration": ("load", "its config.json is no JSON object"),
    "stops": ("chat", "eos_token_id of its generation_config.json is '<.endoftext.>'"),
    "no_beginning": ("chat", r"leaves the beginning of an answer out of the prompt \('assistant: '\)"),
    "encoder": ("train", "weights are of BertForMaskedLM"),
    "encoder_decoder": ("train", "T5ForConditionalGeneration is an encoder with a decoder"),
    "unknown": ("load", "never_heard_of"),
    "code": ("load", r"allow it with models\.NAME\.trust_remote_code = true"),
    "tokenizer": ("load", "ids up to 403, and its embedding has 403 rows"),
    "backup": ("train", "tokenizer_backup is a folder"),
    "generation_config": ("train", "generation_config.json cannot be saved again: .*temperature"),
    "no_template": ("chat", "has no chat template"),
    "refuses": ("chat", "only a system may speak"),
    "cuts_user": ("chat", "leaves out a part of what the user says"),
    "cuts_answer": ("chat", "leaves out what the assistant answered"),
}
GOOD = Examined((), (), (), {"positions": 8192, "end_of_turn": "</s>", "ends_an_answer": True}, (), (), ())


@pytest.fixture(scope="session")
def found(runtime: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """By model: what examine.py says."""
    folder = tmp_path_factory.mktemp("spoilt")
    in_runtime(runtime, HERE / "spoilt.py", models / "gpt2", folder, folder / "found.json", HERE.parents[1])
    return dict(json.loads((folder / "found.json").read_text()))


@pytest.mark.runtime
@pytest.mark.parametrize("name", FOUND)
def test_a_spoilt_model_is_told_from_a_good_one_by_what_is_wrong_with_it(found: dict[str, Any], name: str) -> None:
    kind, says = FOUND[name]
    wrong = {key: found[name][key] for key in ("load", "chat", "train") if found[name][key]}
    assert wrong.keys() == {kind} and len(wrong[kind]) == 1
    assert re.search(says, wrong[kind][0])


@pytest.mark.runtime
def test_a_good_model_is_described_and_one_pair_shown_token_by_token(found: dict[str, Any]) -> None:
    good = found["whole"]
    assert not good["load"] + good["chat"] + good["train"]
    assert good["facts"]["positions"] == 512 and good["facts"]["embedding_rows"] == good["facts"]["tokens"]
    assert [token["id"] for token in good["pair"] if not token["loss"]] == good["prompt_ids"]
    assert "".join(token["token"] for token in good["pair"] if token["loss"]) == (
        "Daylight and a fixed hour of rising help most people.<|endoftext|>"
    )
    facts = found["gpt_neox"]["facts"]
    assert (facts["end_of_turn"], facts["ends_an_answer"]) == ("<|end|>", False)


@pytest.mark.runtime
def test_an_examination_is_remembered_until_the_model_changes(
    runtime: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POP_CACHE", str(tmp_path))
    model = Resolved("weights:a", str(models / "mistral"))
    first = examine(model, runtime)
    assert first.facts["opens_thoughts"] and not first.load
    (report,) = (tmp_path / "examined").glob("*.json")
    report.write_text(report.read_text().replace('"positions": 512', '"positions": 511'))
    assert examine(model, runtime).facts["positions"] == 511  # recalled, not found
    assert examine(replace(model, identity="weights:b"), runtime).facts["positions"] == 512


def test_a_template_that_writes_the_date_is_looked_at_again_the_next_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tomorrow(date):
        @classmethod
        def today(cls) -> "Tomorrow":
            return cls(2031, 1, 1)

    names = []
    for text in ("{{ strftime_now('%d %b %Y') }}", "{{ messages }}"):
        (tmp_path / "chat_template.jinja").write_text(text)
        for day in (date, Tomorrow):
            monkeypatch.setattr("tasks.models.examination.date", day)
            names.append(_key(Resolved("weights:a", str(tmp_path)), Path("venv/bin/python"), False))
    assert len(set(names)) == 3


@pytest.mark.parametrize(
    ("facts", "settings", "says"),
    [
        ({"positions": 512}, {}, r"set training\.max_tokens=512"),
        ({"positions": 512}, {"training": {"max_tokens": 512}}, None),
        ({"positions": None}, {}, None),
        ({"opens_thoughts": True}, {}, r"set training\.target=text"),
        ({"opens_thoughts": True}, {"training": {"target": "text"}}, None),
        ({"ends_an_answer": False, "end_of_turn_id": 7}, {}, "add 7 to eos_token_id"),
        ({"ends_an_answer": False, "end_of_turn_id": 7}, {"sampling": {"answer": {"stop": ["</s>"]}}}, None),
    ],
)
def test_settings_that_a_model_cannot_be_trained_with_are_named(facts: Row, settings: Row, says: str | None) -> None:
    lines = unfit_to_train(replace(GOOD, facts={**GOOD.facts, **facts}), config(settings))
    assert (len(lines) == 1 and re.search(says, lines[0])) if says else not lines


def test_what_is_wrong_counts_for_what_is_wanted_of_the_model() -> None:
    untrainable, dumb = replace(GOOD, train=("t",)), replace(GOOD, chat=("c",))
    broken = replace(GOOD, load=("see models.NAME.trust_remote_code",))
    judge = {"models": {"policy": {"path": "a/b"}, "j": {"path": "c/d"}}, "roles": {"judge": "j"}}
    reads, writes = (config(judge, rating={"mode": mode}) for mode in ("likelihood", "pointwise"))
    require_fit("j", untrainable, writes, trains=False)
    require_fit("j", dumb, reads, trains=False)
    for model, settings, trains, says in (
        (dumb, writes, False, "models.j cannot be used: c "), (broken, reads, False, "see models.j.trust_remote_code"),
        (untrainable, writes, True, "models.j cannot be trained: t "),
    ):  # fmt: skip
        with pytest.raises(UserError, match=re.escape(says)):
            require_fit("j", model, settings, trains)


def test_an_adapter_and_a_model_without_all_its_files_are_seen_at_a_glance(tmp_path: Path) -> None:
    def refused(says: str) -> None:
        with pytest.raises(UserError, match=says):
            resolve("policy", config(models={"policy": {"path": str(tmp_path)}}, engine={"kind": "vllm"}), print)

    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"w")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    refused("lacks 1 of 2 weight files, the first: model-00002-of-00002")
    for name in ("model-00002-of-00002.safetensors", "model.safetensors"):
        (tmp_path / name).write_bytes(b"w")
    refused("has its weights twice, in model.safetensors and in 2 parts")
    (tmp_path / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    refused("tokenizer.json is a Git LFS pointer, and not the file itself: run git lfs pull there")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "owner/base"}))
    refused("holds a LoRA adapter: merge it into owner/base first")
