"""The prompts: one text file a role and task type, filled in a single pass.

A task type is a folder of files here, or a folder of the user's own; what a folder does not have is taken from
`general`. Text of the corpus or of a model is data: it is neither searched for slots nor able to close its fence.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from schemas.errors import UserError
from schemas.load import did_you_mean
from schemas.names import expanded

HERE = Path(__file__).resolve().parent
_SLOT = re.compile(r"\{([a-z_]+)\}")
_FENCES = re.compile(
    r"</?\s*(?=document|reference|answer|problem|criteri|mark|rubric|rating|think|thoughts|name|gold|weight|desc"
    r"|first|second|better|evidence|known>"
    r"|(?:s|bos|eos|pad|unk)>|(?:start|end)_of_turn)",  # these: chat templates other than `<|…|>`
    re.IGNORECASE,
)
NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "propose": {"structured": ("propose",), "stepwise": ("problem_step", "problem_frame", "reference_step")},
    "answer": {"structured": ("answer",), "stepwise": ("answer_step",)},
    "rubric": {"structured": ("rubric",), "stepwise": ("facts_step",)},
}
JUDGING: dict[str, dict[str, tuple[str, ...]]] = {
    "pointwise": {"structured": ("judge",), "stepwise": ("judge_thoughts_step", "judge_mark_step")},
    "logprob": dict.fromkeys(("structured", "stepwise"), ("judge_digit",)),
    "likelihood": dict.fromkeys(("structured", "stepwise"), ("likelihood",)),
    "pairwise": {"structured": ("judge_pairwise",), "stepwise": ("judge_pairwise_step",)},
    "anchor": {"structured": ("judge_anchor",), "stepwise": ("judge_anchor_step",)},
}
EXAMS: dict[str, dict[str, tuple[str, ...]]] = {  # what a judge of the suite `exam` is asked with
    "met": {"structured": ("judge_met",), "stepwise": ("judge_met_thoughts_step", "judge_met_step")},
    "versus": {"structured": ("judge_exam",), "stepwise": ("judge_exam_step",)},
}

HINT = "answer_hint"  # what a hinted rollout is asked with; its problem is the whole plain prompt
OWN = "own_likelihood"  # what an answer's own likelihood is asked with


def names_of(role: str, dialect: str, mode: str) -> tuple[str, ...]:
    """The prompt files that a role uses in a dialect and rating mode."""
    return (*JUDGING[mode][dialect], OWN) if role == "judge" else NAMES[role][dialect]


def task_types() -> list[str]:
    """The task types that the project ships."""
    return sorted(path.name for path in HERE.iterdir() if path.is_dir() and not path.name.startswith("_"))


class Prompts:
    """The prompt files of one task type."""

    def __init__(self, task_type: str) -> None:
        own = HERE / task_type if task_type in task_types() else expanded(task_type)
        if not any(own.glob("*.txt")):
            known = ", ".join(task_types())
            raise UserError(
                f"no task type is called {task_type!r}{did_you_mean(task_type, task_types())}; known: {known}, "
                "or the path of a folder with prompt files"
            )
        self.folders = (own, HERE / "general")
        self._texts: dict[str, str] = {}

    def text(self, name: str) -> str:
        """A prompt as its file was when it was first read: what is hashed is what is sent, also if the file changes."""
        if name not in self._texts:
            self._texts[name] = self._read(name)
        return self._texts[name]

    def _read(self, name: str) -> str:
        for folder in self.folders:
            if (path := folder / f"{name}.txt").exists():
                return path.read_text(encoding="utf-8").strip()
        raise UserError(f"there is no prompt file {name}.txt in {self.folders[0]}")

    def hash(self, *names: str) -> dict[str, str]:
        """Name to hash of the text: part of a stage's fingerprint and of the footers."""
        return {name: hashlib.sha256(self.text(name).encode()).hexdigest()[:16] for name in names}

    def render(self, name: str, values: Mapping[str, str], language: str | None = None) -> str:
        """Fill the slots of a prompt in one pass.

        Args:
            language: that of the text which the prompt is about, by `tasks.texts.scripts.language_of`. A prompt of ours
                is in English, so another language is asked for in a first line; a prompt of the user's own is sent
                as it is. English needs no line, and its prompts are what they were before there was one.

        Raises:
            UserError: the file has a slot that this prompt does not know.
        """
        own = "" if language in (None, "English") or not self._is_ours(name) else in_language(str(language))
        return own + fill(self.text(name), values, name)

    def ours(self, name: str) -> str:
        """The prompt's text where it is this project's, which no output should repeat; empty where it is the user's."""
        return self.text(name) if self._is_ours(name) else ""

    def _is_ours(self, name: str) -> bool:
        return self.folders[0].parent == HERE or not (self.folders[0] / f"{name}.txt").exists()


def fill(template: str, values: Mapping[str, str], name: str = "prompt") -> str:
    """Replace each `{slot}` once; what is put in is not looked at again."""

    def value(match: re.Match[str]) -> str:
        slot = match.group(1)
        if slot not in values:
            raise UserError(f"prompt {name}.txt has a slot {{{slot}}}; it can use: {', '.join(sorted(values))}")
        return values[slot]

    return _SLOT.sub(value, template)


def in_language(language: str) -> str:
    """The line that asks for the text's own language, by name where its script has one language only."""
    name = "" if " script" in language else f"{language}, "
    return f"Write in {name}the language of the text below. Keys and tags of the form asked for stay as they are.\n\n"


def data(text: str) -> str:
    """Make a text safe to stand inside a fence: it can neither close a tag of ours nor speak in the chat template's
    control tokens (`<|…|>`, `<｜…｜>`, `[INST]`, `</s>`). Readers see the same words."""
    text = text.replace('"""', "'''").replace("[INST]", "[ INST]").replace("[/INST]", "[ /INST]")
    for bar in "|｜":
        text = text.replace(f"<{bar}", f"< {bar}").replace(f"{bar}>", f"{bar} >")
    return _FENCES.sub(lambda match: match.group(0).replace("<", "‹"), text)
