"""Prompts are filled in one pass, and no text of the corpus or of a model can pass for a part of the prompt."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import UserError
from tasks.judging.case import rubric_text
from tasks.prompts import HERE, JUDGING, NAMES, Prompts, data, fill, task_types
from tests.samples import HOSTILE

SLOTS = {
    "propose": ("title", "topic", "document", "others", "format"),
    "problem_step": ("title", "topic", "document", "others"),
    "problem_frame": ("problem",),
    "reference_step": ("title", "topic", "document", "problem"),
    "answer": ("problem",),
    "answer_step": ("problem",),
    "rubric": ("problem", "max_criteria", "format", "material", "answers"),
    "facts_step": ("problem", "topic", "max_criteria", "material"),
    "judge": ("problem", "rubric", "answer", "format"),
    "likelihood": ("problem", "answer"),
    "judge_thoughts_step": ("problem", "answer", "criterion"),
    "judge_mark_step": ("problem", "answer", "criterion", "thoughts"),
    "judge_digit": ("problem", "answer", "criterion"),
    "judge_pairwise": ("problem", "rubric", "first", "second", "format"),
    "judge_pairwise_step": ("problem", "rubric", "first", "second"),
    "judge_anchor": ("problem", "rubric", "first", "second", "format"),
    "judge_anchor_step": ("problem", "rubric", "first", "second", "which"),
}
VARIANTS = [*NAMES.values(), *JUDGING.values()]
ALL_NAMES = sorted({name for variants in VARIANTS for names in variants.values() for name in names})
STRUCTURE = re.compile(
    r"</?\s*(?:document|reference_?answer|answers?|problem|criterion|rubric|marks?|rating|thoughts|think|name|gold|weight"
    r'|description|first_\w+|second_\w+|better)\b|<[|｜]|[|｜]>|"""|\[/?INST\]|</?s>|<(?:start|end)_of_turn>',
    re.IGNORECASE,
)
MADE_OF_US = st.text(alphabet='<>|｜/ {}"[]\n', max_size=12) | st.sampled_from(
    (*HOSTILE, "document", "answer", "INST", "s")
)


def rendered(name: str, text: str, task_type: str = "general") -> str:
    """A prompt with the text in every slot, as the stages put it there."""
    return Prompts(task_type).render(name, dict.fromkeys(SLOTS[name], data(text)))


def structure(prompt: str) -> list[str]:
    """The marks that say where data begins and ends, in order."""
    return STRUCTURE.findall(prompt)


@pytest.mark.parametrize("task_type", task_types())
@pytest.mark.parametrize("name", ALL_NAMES)
def test_every_prompt_of_every_task_type_renders(task_type: str, name: str) -> None:
    prompt = rendered(name, "corpus text", task_type)
    assert "corpus text" in prompt
    assert not re.search(r"\{[a-z_]+\}", prompt)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_changes_no_prompts_structure(text: str) -> None:
    for task_type in task_types():
        for name in ALL_NAMES:
            prompt = rendered(name, text, task_type)
            assert structure(prompt) == structure(rendered(name, "calm", task_type))
            assert data(text) in prompt


@settings(max_examples=150, deadline=None)
@given(st.lists(MADE_OF_US, max_size=6).map("".join))
def test_no_data_holds_a_fence_or_a_control_token(text: str) -> None:
    safe = data(text)
    assert structure(safe) == []
    assert data(safe) == safe


def test_data_keeps_the_words() -> None:
    plain = 'If x < 3 and y > 2, then "a < b" (see <b>bold</b>, {x}, 50 % | 60 %). L’été\n\n- point'
    assert data(plain) == plain


def test_slots_are_filled_in_one_pass() -> None:
    assert fill("{a} {b}", {"a": "{b}", "b": "{a}"}) == "{b} {a}"
    assert fill('{"a": 1} {A} {}', {}) == '{"a": 1} {A} {}'


def test_an_unknown_slot_names_file_and_known_slots() -> None:
    with pytest.raises(UserError, match=r"judge\.txt has a slot \{anser\}; it can use: answer, problem"):
        fill("{anser}", {"answer": "", "problem": ""}, "judge")


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_criterion_looks_like_one_criterion(text: str) -> None:
    name = " ".join(text.split()) or "x"
    shown = rubric_text([
        {"name": name, "gold": text, "description": text, "weight": 2.0},
        {"name": "Cure", "gold": None, "description": "d", "weight": 1.0},
    ])  # fmt: skip
    assert structure(shown) == []
    assert len([line for line in shown.splitlines() if line.startswith("- ")]) == 2
    assert all(line.startswith(("- ", "  ")) for line in shown.splitlines())


def test_a_task_type_is_a_shipped_one_or_a_folder_of_prompts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'health_care'"):
        Prompts("healthcare")
    for folder in ("", str(tmp_path), str(tmp_path / "absent")):  # no folder, or one without a prompt
        with pytest.raises(UserError):
            Prompts(folder)
    (tmp_path / "judge.txt").write_text("Mark {answer} strictly.\n")
    own = Prompts(str(tmp_path))
    assert own.render("judge", {"answer": "this"}) == "Mark this strictly."
    assert own.text("answer") == (HERE / "general" / "answer.txt").read_text().strip()


def test_a_prompt_has_the_hash_of_what_is_sent_also_if_its_file_changes_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "judge.txt").write_text("one")
    prompts = Prompts(str(tmp_path))
    before = prompts.hash("judge", "answer")
    (tmp_path / "judge.txt").write_text("two")
    assert prompts.render("judge", {}) == "one"
    assert prompts.hash("judge") == {"judge": before["judge"]}
    assert Prompts(str(tmp_path)).hash("judge") != {"judge": before["judge"]}


def test_what_repeats_comes_first_in_the_judges_prompt() -> None:
    """So that prefix caching works: problem and rubric are the same for all answers."""
    for task_type in task_types():
        text = Prompts(task_type).text("judge")
        assert text.index("{problem}") < text.index("{rubric}") < text.index("{answer}")
