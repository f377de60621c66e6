"""The configuration says what is wrong and how to mend it; ids, outputs and tables are what they claim to be."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.config import Config
from schemas.errors import UserError
from schemas.ids import canonical, content_id, seed_of
from schemas.load import check, load_config, presets
from schemas.outputs import Criterion, Mark, MarkSheet, Rubric, bounded_schema
from schemas.tables import TABLES
from tests.samples import config

LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = (
    LEAF
    | st.lists(LEAF, max_size=3)
    | st.dictionaries(st.text(max_size=5), LEAF | st.lists(LEAF, max_size=2), max_size=3)
)
few = settings(max_examples=40, deadline=None)


def refused(*overrides: str, name: str = "smoke") -> str:
    """The one line with which a configuration is refused."""
    with pytest.raises(UserError) as error:
        load_config(name, list(overrides))
    message = str(error.value)
    assert "\n" not in message
    assert error.value.exit_code == 2
    return message


# Configuration


@pytest.mark.parametrize("name", presets())
def test_every_preset_loads(name: str) -> None:
    assert load_config(name).models["policy"].path


def test_the_presets_of_the_issue_are_there() -> None:
    assert {"smoke", "demo", "paper-health", "paper-writing", "paper-instruct"} <= set(presets())


@pytest.mark.parametrize("name", ["paper-health", "paper-writing", "paper-instruct"])
def test_the_paper_presets_have_the_papers_settings(name: str) -> None:
    paper = load_config(name)
    training = paper.training
    assert (paper.sampling.answers, paper.sampling.answer.temperature, paper.rubric.max_criteria) == (32, 1.0, 5)
    assert (training.beta, training.learning_rate, training.warmup_ratio) == (0.01, 1e-6, 0.1)
    assert (training.epochs, training.batch_size, training.max_tokens) == (1, 16, 6144)
    assert (paper.corpus.min_words, paper.corpus.max_words) == (50, 1024)
    assert paper.rating.mode == "pointwise"


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("corpos.documents=4", "'corpus'"),
        ("corpus.document=4", "'documents'"),
        ("sampling.answer.temprature=1", "'temperature'"),
        ("models.policy.pth=x", "'path'"),
        ("training.learning_rat=1", "'learning_rate'"),
    ],
)
def test_an_unknown_key_names_the_nearest(override: str, nearest: str) -> None:
    message = refused(override)
    assert f"did you mean {nearest}?" in message
    assert override.partition("=")[0].split(".")[0] in message


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("training.micro_batch_size=32", "batch_size (1) must be a multiple of micro_batch_size (32)"),
        ("sampling.answer.stop=['']", "sampling.answer.stop.0"),
    ],
)
def test_settings_that_can_come_to_nothing_are_refused_at_once(override: str, says: str) -> None:
    assert says in refused(override)


def test_answers_that_can_only_be_the_same_are_refused() -> None:
    assert "set sampling.answer.temperature above 0" in refused("sampling.answer.temperature=0")
    load_config("smoke", ["sampling.answer.temperature=0", "sampling.answers=1"])
    load_config("smoke", ["sampling.answer.temperature=0", "reuse.answers=demo/0"])


def test_an_unknown_key_like_no_other_lists_the_known() -> None:
    message = refused("storage.xyzzy=1")
    assert "did you mean" not in message
    assert "known here: compression_level" in message


@pytest.mark.parametrize(
    "override",
    [
        "corpus.documents=0", "corpus.heldout_share=1.5", "sampling.answer.temperature=-0.1", "sampling.answer.top_p=0",
        "rubric.max_criteria=11", "training.label_smoothing=0.5", "engine.port=70000", "engine.max_model_len=10",
        "pairing.min_answers=1", "rating.likelihood_scale_nats=0", "task.dialect=loud", "corpus.documents=many",
        "corpus.text_column=",
        "training.beta=inf", "training.beta=nan", "engine.timeout_sec=inf", "corpus=4", "models.policy=x",
    ],
)  # fmt: skip
def test_a_value_out_of_bounds_is_named(override: str) -> None:
    key, _, value = override.partition("=")
    message = refused(override)
    assert key in message
    assert value.removesuffix("5") in message or value in message


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("corpus.documents=7", 7),
        ("corpus.source=my folder/x.jsonl", "my folder/x.jsonl"),
        ('corpus.source="7"', "7"),
        ("corpus.source=a=b", "a=b"),
        ("sampling.answer.stop=['x', 'y']", ("x", "y")),
        ("training.enabled=false", False),
        ("training.learning_rate=1e-4", 1e-4),
        ("sampling.answer={ temperature = 0.5 }", None),
    ],
)
def test_set_takes_toml_values_and_bare_words(override: str, value: object) -> None:
    loaded: Any = load_config("smoke", [override])
    for part in override.partition("=")[0].split("."):
        loaded = getattr(loaded, part)
    assert loaded == value or loaded.temperature == 0.5


def test_the_last_set_wins_and_the_rest_of_the_section_stays() -> None:
    loaded = load_config("smoke", ["sampling.answers=5", "sampling.answers=6"])
    assert (loaded.sampling.answers, loaded.sampling.cut_answers) == (6, "sentence")


@pytest.mark.parametrize("override", ["corpus.documents", "=4", "corpus.source.x=1"])
def test_a_set_without_key_and_value_says_what_it_wants(override: str) -> None:
    assert "--set" in refused(override) or "corpus.source" in refused(override)


def test_no_such_preset_names_the_nearest_and_all() -> None:
    message = refused(name="smok")
    assert "did you mean 'smoke'?" in message
    assert "paper-health" in message


def test_files_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("[corpus\n")
    (tmp_path / "latin.toml").write_bytes(b"x = '\xe9'")
    (tmp_path / "folder.toml").mkdir()
    for name in ("broken", "latin", "folder", "absent"):
        assert f"{name}.toml" in refused(name=str(tmp_path / f"{name}.toml"))


def test_a_file_with_a_byte_order_mark_loads(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbf[corpus]\ndocuments = 3\n")
    assert load_config(str(tmp_path / "a.toml")).corpus.documents == 3


def test_a_role_without_a_model_names_the_models() -> None:
    assert "models has only: frozen, policy" in refused("roles.judge=teacher")


def test_a_model_needs_a_source_and_no_secret_in_it() -> None:
    assert "base_urls" in refused("models.t={}")
    assert "served_name" in refused("models.t={base_urls=['http://h/v1']}")
    assert "http" in refused("models.t={base_urls=['h:8000'], served_name='m'}")
    for url in ("https://me:sk-123@h/v1", "https://h/v1?key=sk-123"):
        message = refused(f"models.t={{base_urls=['{url}'], served_name='m'}}")
        assert "api_key_env" in message
        assert "sk-123" not in message


def test_words_between_bounds_must_be_possible() -> None:
    assert "min_words (900)" in refused("corpus.min_words=900")


def test_a_config_survives_json() -> None:
    loaded = load_config("demo")
    assert Config.model_validate(json.loads(json.dumps(loaded.model_dump(mode="json")))) == loaded


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        config().corpus.documents = 5  # type: ignore[misc]


@few
@given(JSON)
def test_no_data_makes_checking_crash(data: Any) -> None:
    for shape in ({"corpus": data}, {"models": data}, {"models": {"policy": data}}, {"sampling": {"answer": data}}):
        try:
            check(shape)
        except UserError as error:
            assert len(str(error).splitlines()) == 1


# Identities


def test_ids_are_what_they_were() -> None:
    """Ids of finished runs stay valid: a change of this value orphans every run that there is."""
    assert content_id("answer", "key", "problem", 3) == "9394fb725eb477b9c97927ba"


def test_ids_do_not_depend_on_the_order_of_keys_but_on_everything_else() -> None:
    assert content_id("x", {"a": 1, "b": 2}) == content_id("x", {"b": 2, "a": 1})
    parts: list[tuple[Any, ...]] = [("a", "b"), ("ab",), ("a", "b", None), ("b", "a"), (["a", "b"],), ("a\ud800", "b")]
    assert len({content_id("x", *part) for part in parts} | {content_id("y", "a", "b")}) == len(parts) + 1


@few
@given(st.text())
def test_seeds_fit_31_bits(identity: str) -> None:
    assert 0 <= seed_of(content_id("x", identity)) < 2**31


@few
@given(JSON)
def test_canonical_text_says_the_same_value(value: Any) -> None:
    again = json.loads(canonical(value))
    assert canonical(again) == canonical(value)


# What the model writes


@pytest.mark.parametrize(
    "rating", [True, False, "2", "0", 1.5, 2.0, 3, -1, math.nan, math.inf, None, [2], {"rating": 2}]
)
def test_a_rating_that_is_not_0_1_or_2_is_refused(rating: object) -> None:
    with pytest.raises(ValidationError):
        Mark.model_validate({"name": "a", "thoughts": "", "rating": rating})


@pytest.mark.parametrize("weight", [0, -1, 101, math.nan, math.inf, True, "2", None, 10**400])
def test_a_weight_is_a_number_above_0_and_at_most_100(weight: object) -> None:
    with pytest.raises(ValidationError):
        Criterion.model_validate({"name": "a", "description": "d", "weight": weight})


def test_a_criterion_without_a_fact_has_none() -> None:
    made = Criterion.model_validate({"name": " a\n b ", "gold": "  ", "description": "d", "weight": 2})
    assert (made.gold, made.name) == (None, "a b")


def test_two_criteria_of_one_name_are_refused() -> None:
    twice = [{"name": name, "description": "d", "weight": 1} for name in ("Cause", " cause ")]
    with pytest.raises(ValidationError, match="same name"):
        Rubric.model_validate({"criteria": twice})


def test_the_schema_for_marks_asks_for_every_criterion_once() -> None:
    schema = bounded_schema(MarkSheet, 2, ["a", "b"])
    marks, mark = schema["properties"]["marks"], schema["$defs"]["Mark"]
    assert (marks["minItems"], marks["maxItems"]) == (2, 2)
    assert mark["properties"]["name"] == {"enum": ["a", "b"]}
    assert list(mark["properties"]) == mark["required"] == ["name", "thoughts", "rating"]
    assert (mark["properties"]["rating"]["minimum"], mark["properties"]["rating"]["maximum"]) == (0, 2)


def test_every_text_of_a_schema_is_bounded() -> None:
    """A server that enforces the schema must never write for ever."""
    for schema in (bounded_schema(Rubric, 3), bounded_schema(MarkSheet, 3, ["a", "b", "c"])):
        listed = next(iter(schema["properties"].values()))
        assert listed["maxItems"] == 3
        for definition in schema["$defs"].values():
            for prop in definition["properties"].values():
                for kind in prop.get("anyOf", [prop]):
                    assert kind.get("type") != "string" or "maxLength" in kind, prop


# Tables


def test_the_tables_are_those_of_the_contract() -> None:
    assert set(TABLES) == {
        "documents", "problems", "answers", "rubrics", "ratings", "pairs", "preferences", "training_steps", "models",
        "evaluations", "decisions", "probes", "generations", "comparisons", "unfit_pairs",
        "exam_prompts",
    }  # fmt: skip
    for name, table in TABLES.items():
        assert table.name == name
        assert table.key in table.schema.names
        assert table.schema.names[0] == "run"
        assert len(set(table.schema.names)) == len(table.schema.names)


def test_where_rows_can_fail_there_is_a_status_and_a_reason() -> None:
    with_status = (
        "documents",
        "problems",
        "answers",
        "rubrics",
        "ratings",
        "comparisons",
        "pairs",
        "unfit_pairs",
        "models",
    )
    for name in with_status:
        assert {"status", "reason"} <= set(TABLES[name].schema.names)
