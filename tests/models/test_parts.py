"""A run tells a model's tokenizer, template and generation settings apart from those it began with, by name."""

import json
from pathlib import Path

import pytest

from schemas.errors import UserError
from tasks.models.own_sampling import filled_in_before, with_own_sampling
from tasks.models.parts import Known, told_apart
from tasks.models.resolve import Resolved
from tasks.staging.plan import STAGES, changed_settings, make_plan
from tasks.storage.manifests import known_parts, write_known_parts
from tasks.storage.store import Store
from tests.samples import Row, config

W = "weights:a"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder's descriptions."""
    write(tmp_path / "m", "config.json", {"model_type": "llama", "transformers_version": "5"})
    write(tmp_path / "m", "tokenizer.json", {"model": {}})
    write(tmp_path / "m", "tokenizer_config.json", {"eos_token": "</s>", "chat_template": "A"})
    write(tmp_path / "m", "generation_config.json", {"top_k": 20, "temperature": 0.7, "repetition_penalty": 1.05})
    return tmp_path / "m"


def write(folder: Path, name: str, content: Row) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def of(folder: Path, known: Known, name: str = "policy") -> Resolved:
    return told_apart({name: Resolved(W, str(folder))}, known)[name]


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("chat_template.jinja", {"another": "template"}, "chat_template"),
        ("tokenizer_config.json", {"eos_token": "</s>", "chat_template": "B"}, "chat_template"),
        ("tokenizer_config.json", {"eos_token": "<e>", "chat_template": "A"}, "tokenizer"),
        ("tokenizer.json", {"model": {"vocab": 1}}, "tokenizer"),
        ("generation_config.json", {"top_k": 50}, "generation_config"),
        ("config.json", {"model_type": "llama", "rope_theta": 9}, "config"),
        ("modeling_own.py", {}, "code"),
    ],
)
def test_a_changed_part_is_said_by_name_and_re_does_what_its_model_made(
    model: Path, name: str, content: Row, part: str
) -> None:
    known: Known = {}
    assert of(model, known).identity == W  # as it was before parts were looked at
    write(model, name, content)
    found = of(model, known)
    assert found.changed == (part,) and found.identity.startswith(f"{W};{part}=")
    old, new = (make_plan(config(), "r", 0, {"policy": identity}) for identity in (W, found.identity))
    assert {stage for stage in STAGES if old.fingerprints[stage] != new.fingerprints[stage]} == set(STAGES) - {"shard"}
    assert list(changed_settings(old.settings["answer"], new.settings["answer"])) == [f"model.{part}"]


def test_what_is_taken_back_is_the_model_as_it_was_and_what_a_library_notes_is_no_change(model: Path) -> None:
    known: Known = {}
    of(model, known)
    write(model, "config.json", {"model_type": "llama", "transformers_version": "6"})
    (model / "chat_template.jinja").write_text("A")  # the same template, in the place where libraries write it today
    assert of(model, known).identity == W
    write(model, "generation_config.json", {})
    assert of(model, known).identity != W
    write(model, "generation_config.json", {"top_k": 20, "temperature": 0.7, "repetition_penalty": 1.05})
    assert of(model, known).identity == W


def test_two_models_of_the_same_weights_and_other_templates_are_two(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for file in model.iterdir():
        write(other, file.name, json.loads(file.read_text()))
    both = {"teacher": Resolved(W, str(other)), "policy": Resolved(W, str(model))}
    assert {one.identity for one in told_apart(both, {}).values()} == {W}
    (other / "chat_template.jinja").write_text("B")
    found = told_apart(both, {})
    assert found["policy"].identity == W and found["teacher"].changed == ("chat_template",)


def test_a_run_keeps_what_it_first_met_and_one_from_before_knows_its_weights_alone(model: Path, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "runs"), "r")
    assert known_parts(store) == {}
    known: Known = {}
    of(model, known)
    write_known_parts(store, known)
    (model / "chat_template.jinja").write_text("B")
    again = known_parts(store)
    assert of(model, again).changed == ("chat_template",) and again == known
    of(model, again)
    write_known_parts(store, again)
    assert known_parts(store) == known
    assert told_apart({"policy": Resolved("served:a;b", None)}, {})["policy"].identity == "served:a;b"
    assert make_plan(config(), "r", 0, {"policy": "served:a;b"}).settings["answer"]["model"] == "served:a;b"


# sampling.ROLE.from_model


def own(role: str, found: Resolved, **changes: Row) -> Row:
    settings = config({"sampling": {role: {"from_model": True}}, "engine": {"kind": "vllm"}}, **changes)
    return with_own_sampling(settings, lambda _: found).sampling.model_dump()


def test_a_models_own_sampling_comes_into_the_settings_of_the_role_that_asks_for_it(model: Path) -> None:
    sampling = own("answer", Resolved(W, str(model)))
    wanted = {"temperature": 0.7, "top_p": 1.0, "top_k": 20, "min_p": 0.0, "repetition_penalty": 1.05}
    assert {name: sampling["answer"][name] for name in wanted} == wanted
    assert sampling["propose"]["top_k"] == 0
    dry = with_own_sampling(config({"sampling": {"answer": {"from_model": True}}}), lambda _: Resolved("fake:m", None))
    assert dry.sampling.answer.top_k == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no .*generation_config.json; set the values"),
        ({"eos_token_id": 2}, "the model states no temperature, top_p"),
        ({"top_p": 7}, "the model states top_p=7"),
    ],
)
def test_a_model_that_states_no_usable_sampling_is_the_users_mistake(
    model: Path, content: Row | None, says: str
) -> None:
    if content is None:
        (model / "generation_config.json").unlink()
    else:
        write(model, "generation_config.json", content)
    with pytest.raises(UserError, match=rf"sampling\.judge\.from_model: {says}"):
        own("judge", Resolved(W, str(model)))
    with pytest.raises(UserError, match="known by its server alone"):
        own("judge", Resolved("served:m", None))


def test_a_round_that_was_begun_with_a_models_own_sampling_says_that_it_goes_on_without(model: Path) -> None:
    (line,) = filled_in_before(config(), {"policy": Resolved(W, str(model)), "served": Resolved("served:x", None)})
    assert "models.policy" in line and "top_k = 20, repetition_penalty = 1.05" in line and "\n" not in line
    every = {"top_k": 5, "repetition_penalty": 1.1}
    stated = config(sampling=dict.fromkeys(("propose", "answer", "rubric", "judge"), every))
    assert filled_in_before(stated, {"policy": Resolved(W, str(model))}) == []
    write(model, "generation_config.json", {"top_k": -1, "min_p": None, "eos_token_id": 2})
    assert filled_in_before(config(), {"policy": Resolved(W, str(model))}) == []
