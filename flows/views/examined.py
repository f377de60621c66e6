"""What `pop check-model` shows: what a model is, and one pair token by token."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.views.plain import plain
from tasks.models.examination import Examined
from tasks.models.resolve import Resolved

_SHOWN = {
    "architectures": "architecture", "parameters": "parameters", "quantization": "quantization",
    "positions": "positions", "tokens": "tokens of the tokenizer", "embedding_rows": "rows of the embedding",
    "end_of_turn": "end of turn", "opens_thoughts": "template begins thoughts", "code_of_its_own": "code of its own",
}  # fmt: skip


def print_examined(model: Resolved, found: Examined, out: Console) -> None:
    """Facts, what cannot be done with it, and the ids of a conversation as they are served and trained on."""
    out.print(f"{model.path} ({model.identity})", markup=False, soft_wrap=True)
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, title in _SHOWN.items():
        if (value := found.facts.get(name)) not in (None, [], False):
            facts.add_row(title, plain(_shown(value)))
    out.print(facts)
    cannot = {"used": found.load, "spoken with": found.chat, "trained": found.train}
    for what, lines in cannot.items():
        for line in lines:
            out.print(f"it cannot be {what}: {line}", markup=False, soft_wrap=True)
    if found.pair:
        out.print("\nA problem and an answer, as they are served and trained on (underlined: loss)", markup=False)
        out.print(_pair(found), soft_wrap=True)
        out.print(" ".join(str(token["id"]) for token in found.pair), style="dim", soft_wrap=True)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and value is not True else "yes" if value is True else str(value)


def _pair(found: Examined) -> Text:
    """Token by token, with a bar between them; line ends are shown as signs."""
    text = Text()
    for number, token in enumerate(found.pair):
        text.append("|" if number else "", style="dim")
        style = "bold underline" if token["loss"] else "dim"
        text.append(str(token["token"]).replace("\n", "⏎").replace("\t", "⇥"), style=style)
    return text
