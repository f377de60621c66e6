"""What is trained on, id for id, is what a server was given and what its model said: eight shapes of models."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.engine.tokenizer import LocalTokenizer
from tasks.models.templated import with_template
from tasks.training import openrlhf
from tests.training.samples import in_runtime

HERE, SCRIPTS = Path(__file__).parent, Path(openrlhf.__file__).parent
NAMES = ("gemma", "gpt2", "gpt_neox", "llama", "mistral", "phi", "qwen2", "qwen3")
ENDS = {"gemma": "<end_of_turn>", "gpt_neox": "<|end|>", "qwen2": "<|im_end|>", "qwen3": "<|im_end|>"}
ENDS |= {"gpt2": "<|endoftext|>", "phi": "<|endoftext|>", "llama": "</s>", "mistral": "</s>"}
# base models: a shape without its template, its end of sequence, the template that is set, and the end of turn
BASES = {
    "qwen2-chatml": ("qwen2", "<|endoftext|>", "chatml", "<|im_end|>"),
    "llama-plain": ("llama", "</s>", "plain", "</s>"),
}
ENDS |= {name: end for name, (*_, end) in BASES.items()}
TYPED = "Say <|im_end|> or </s> or <end_of_turn> or <|end|> or <|endoftext|> now."
ANSWERS = {
    "border": ("Yes. A warm bath.", "No."),
    "dates": ("2024-01-05", "2024-01-06"),
    "typed": (TYPED, "Nothing of that."),
    "thoughts": ("Hm, a bath?\n</think>\n\nA warm bath.", "Hm.\n</think>\n\nNo."),
}


def say(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def base_model(source: Path, target: Path, eos: str) -> Path:
    """A model as its pre-training left it: no template, and one end of sequence."""
    shutil.copytree(source, target)
    (target / "chat_template.jinja").unlink()
    settings = json.loads((target / "tokenizer_config.json").read_text())
    (target / "tokenizer_config.json").write_text(json.dumps(settings | {"eos_token": eos}))
    (number,) = LocalTokenizer(target).ids(eos)
    (target / "generation_config.json").write_text(json.dumps({"eos_token_id": number}))
    return target


@pytest.fixture(scope="session")
def every(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models that have a template, and the base models."""
    folder, bases = tmp_path_factory.mktemp("every"), tmp_path_factory.mktemp("bases")
    for model in models.iterdir():
        (folder / model.name).symlink_to(model)
    for name, (shape, eos, template, _) in BASES.items():
        (folder / name).symlink_to(with_template("policy", base_model(models / shape, bases / name, eos), template))
    return folder


@pytest.fixture(scope="session")
def looked(runtime: Path, every: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """By shape: what look_at_shapes.py found."""
    folder = tmp_path_factory.mktemp("looked")
    message = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    schema = pa.schema([("pair_id", pa.string()), *((name, message) for name in ("prompt", "chosen", "rejected"))])
    rows = [
        {"pair_id": name, "prompt": say("user", f"What helps with {name}?"), "chosen": say("assistant", chosen),
         "rejected": say("assistant", rejected)}
        for name, (chosen, rejected) in ANSWERS.items()
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "pairs.parquet")
    in_runtime(runtime, HERE / "look_at_shapes.py", every, folder / "pairs.parquet", folder, SCRIPTS)
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in (*NAMES, *BASES)}


@pytest.mark.runtime
@pytest.mark.parametrize("name", [*NAMES, *BASES])
def test_the_ids_trained_on_are_the_prompt_served_the_answer_and_the_end_once(
    looked: dict[str, Any], name: str
) -> None:
    found = looked[name]
    assert found["prepared"]["end_of_turn"] == ENDS[name]
    assert found["pairs"].keys() == ANSWERS.keys() and not found["prepared"]["control_tokens"]
    ends = set(found["ends"] if isinstance(found["ends"], list) else [found["ends"]])
    for pair, row in found["pairs"].items():
        assert row["masked"] == row["also"] == row["served"], pair
        for answer, text, said in zip(row["answers"], row["texts"], ANSWERS[pair], strict=True):
            assert answer[-1] in ends  # where the server stops
            assert not set(answer[:-1]) & {*found["special"], *ends}, pair  # typed control tokens are text, too
            assert text.lstrip(" ") == said  # all of it: thoughts, dates as they were written


@pytest.mark.runtime
@pytest.mark.parametrize("name", BASES)
def test_a_base_model_is_counted_served_and_trained_by_the_template_that_is_set(
    every: Path, looked: dict[str, Any], name: str
) -> None:
    mine = LocalTokenizer(every / name).prompt_ids(say("user", "What helps with border?"))
    assert mine == looked[name]["pairs"]["border"]["served"]


@pytest.mark.runtime
def test_an_answer_begins_with_the_space_that_the_model_writes_itself_and_no_other(looked: dict[str, Any]) -> None:
    began = {name: looked[name]["pairs"]["border"]["texts"][0][0] for name in ("phi", "gpt2", "qwen3")}
    assert began == {"phi": " ", "gpt2": "Y", "qwen3": "Y"}


@pytest.mark.runtime
def test_the_training_file_states_its_types_whatever_the_answers_look_like(looked: dict[str, Any]) -> None:
    kinds = {str(kind) for found in looked.values() for kind in found["types"]}
    assert kinds == {"string", "list<element: int32>"}
