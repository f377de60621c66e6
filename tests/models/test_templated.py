"""A base model with `chat_template`: a folder that everybody reads the same template out of, and stops by."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from schemas.errors import UserError
from tasks.engine.tokenizer import LocalTokenizer
from tasks.models.parts import Known, told_apart
from tasks.models.resolve import Resolved, resolve
from tests.samples import Row, config

ASKED = [{"role": "system", "content": "S"}, {"role": "user", "content": "Q?"}]
TURNS = [*ASKED, {"role": "assistant", "content": "A."}]


def base(folder: Path, *special: str, bos: bool = False, **settings: object) -> Path:
    """A model folder without a template; its end of sequence is the first of its special tokens."""
    folder.mkdir()
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator([], trainers.BpeTrainer(special_tokens=list(special), initial_alphabet=alphabet))
    if bos:
        made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made.save(str(folder / "tokenizer.json"))
    write(folder, "tokenizer_config.json", {"eos_token": special[0], "bos_token": special[-1]} | settings)
    write(folder, "generation_config.json", {"eos_token_id": 0, "top_k": 20})
    write(folder, "config.json", {"model_type": "llama"})
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def write(folder: Path, name: str, content: Row) -> None:
    (folder / name).write_text(json.dumps(content))


def served(folder: Path, template: str) -> Path:
    """What a model with that setting is served and trained from."""
    models = {"policy": {"path": str(folder), "chat_template": template}}
    return Path(resolve("policy", config({"models": models, "engine": {"kind": "vllm"}}), print).path or "")


def stops(folder: Path) -> Row:
    return dict(json.loads((folder / "generation_config.json").read_text()))


def test_chatml_ends_a_turn_with_its_own_token_and_servers_stop_there(tmp_path: Path) -> None:
    folder = served(base(tmp_path / "m", "<|endoftext|>", "<|im_start|>", "<|im_end|>"), "chatml")
    tokenizer = LocalTokenizer(folder)
    asked = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ?<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.rendered(ASKED) == asked and tokenizer.rendered(TURNS, asks=False) == f"{asked}A.<|im_end|>\n"
    assert stops(folder) == {"eos_token_id": [0, 2], "top_k": 20}
    assert (folder / "model.safetensors").read_bytes() == b"weights" and folder.name == "m"
    assert stops(tmp_path / "m")["eos_token_id"] == 0  # the model's own folder stays as it is


def test_a_vocabulary_without_that_token_ends_a_turn_with_its_end_of_sequence(tmp_path: Path) -> None:
    model = base(tmp_path / "m", "</s>", "<s>", bos=True)
    for name, end in (("chatml", "A.</s>\n"), ("plain", "Assistant:\nA.</s>\n\n")):
        folder = served(model, name)
        tokenizer = LocalTokenizer(folder)
        whole = tokenizer.rendered(TURNS, asks=False) or ""
        assert whole.startswith("<s>") and whole.endswith(end) and whole.count("</s>") == 1
        assert whole.startswith(
            tokenizer.rendered(ASKED) or "-"
        )  # what is asked is the beginning of what is trained on
        assert stops(folder)["eos_token_id"] == 0
    # a tokenizer that begins no text with a token of its own has none before a conversation
    assert (LocalTokenizer(served(base(tmp_path / "n", "</s>", "<s>"), "plain")).rendered(ASKED) or "").startswith(
        "Sys"
    )


def test_the_setting_holds_over_a_template_of_the_models_own(tmp_path: Path) -> None:
    model = base(tmp_path / "m", "</s>", "<end>", chat_template="own")
    (model / "chat_template.jinja").write_text("own too")
    (model / "chat_template.json").write_text('{"chat_template": "own as well"}')
    mine = tmp_path / "mine.jinja"
    mine.write_text("{% for m in messages %}{{ m.content }}<end>{% endfor %}")
    folder = served(model, str(mine))
    assert LocalTokenizer(folder).rendered(ASKED) == "S<end>Q?<end>" and stops(folder)["eos_token_id"] == [0, 1]
    assert "chat_template" not in json.loads((folder / "tokenizer_config.json").read_text())
    assert not (folder / "chat_template.json").exists()
    assert (model / "chat_template.jinja").read_text() == "own too"  # the model's own folder stays as it is
    assert served(folder, str(mine)) == folder  # as a model trained from it has the template: nothing is to be made


def test_another_text_makes_what_was_made_with_the_old_one_again(tmp_path: Path) -> None:
    model, mine, known = base(tmp_path / "m", "</s>", "<s>"), tmp_path / "mine.jinja", Known()

    def changed() -> tuple[str, ...]:
        return told_apart({"policy": Resolved("weights:a", str(served(model, str(mine))))}, known)["policy"].changed

    for text, says in (("{{ messages[0].content }}", ()), ("{{ messages }}", ("chat_template",))):
        mine.write_text(text)
        assert changed() == says
    mine.write_text("{{ messages[0].content }}")
    assert changed() == ()


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("chatlm", "chatlm cannot be read .*No such file.*give a file, or chatml or plain"),
        ("{root}/broken.jinja", "is no Jinja template: line 2"),
        ("{root}/empty.jinja", "is empty"),
        ("plain", "names none: set eos_token"),
    ],
)
def test_a_template_that_cannot_be_had_is_refused(tmp_path: Path, template: str, says: str) -> None:
    (tmp_path / "broken.jinja").write_text("{{ bos_token }}\n{% for m in %}")
    (tmp_path / "empty.jinja").write_text("\n")
    model = base(tmp_path / "m", "</s>", eos_token=None)
    with pytest.raises(UserError, match=f"models.policy.chat_template.*{says}"):
        served(model, template.format(root=tmp_path))
    (model / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"needs a tokenizer\.json"):
        served(model, "plain")


def test_a_template_without_a_folder_is_refused() -> None:
    with pytest.raises(UserError, match="chat_template needs a path"):
        config({"models": {"policy": {"base_urls": ["http://h/v1"], "served_name": "m", "chat_template": "plain"}}})
