"""A model's own tokenizer and chat template, out of its folder: what its server makes of a text, made here.

The `tokenizers` package and Jinja, no torch and no transformers. Only what was seen to agree with the server is used.
"""

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from jinja2 import Template, TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tasks.engine.protocol import Message
from tasks.storage.jsonfile import read_json

_LONG = 20_000  # characters, from which on a text is cut into tokens in a thread, which the loop need not wait for


class LocalTokenizer:
    """Of a folder with `tokenizer.json`.

    Attributes:
        renders: whether its chat template is there, and makes what the server's makes.
    """

    # leading, trailing and doubled space, other scripts, a control token typed as text, with and without specials
    PROBES: ClassVar[tuple[tuple[str, bool], ...]] = (
        ("Why is the sky blue? It\u2019s 42.5 % \u2014 \u6c34\u306f\u9752\u3044 \u0645\u0627\u0621 \U0001f30a", True),
        (" and  a fact,\n\tof two lines. ", False),
    )
    PROBE_MESSAGES: ClassVar[tuple[Message, ...]] = (
        {"role": "user", "content": " Say \u201chello\u201d.\n\n{x} <b> 2 "},
    )

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._template, self._names = _template_of(folder)
        self.renders = self._template is not None

    def ids(self, text: str, special: bool = False) -> list[int]:
        """Token ids of a text."""
        return list(self._tokenizer.encode(text, add_special_tokens=special).ids)

    def rendered(self, messages: Sequence[Message]) -> str | None:
        """A conversation as the model is asked with it; None where the template refuses it."""
        if self._template is None:
            return None
        try:
            return self._template.render(messages=list(messages), add_generation_prompt=True, **self._names)
        except (TemplateError, TypeError, ValueError):
            return None

    def prompt_ids(self, messages: Sequence[Message]) -> list[int] | None:
        """Token ids of a conversation as the model is asked with it."""
        text = self.rendered(messages)
        return None if text is None else self.ids(text)

    async def count(self, messages: Sequence[Message]) -> int | None:
        """How many they are, without holding the event loop up."""
        if (text := self.rendered(messages)) is None:
            return None
        if len(text) < _LONG:
            return len(self.ids(text))
        # only the form for batches lets other threads run meanwhile
        (found,) = await asyncio.to_thread(self._tokenizer.encode_batch, [text], add_special_tokens=False)
        return len(found.ids)


def local_tokenizer(folder: str | None) -> LocalTokenizer | None:
    """The tokenizer of a model's folder; None where there is none that can be read here."""
    if folder is None or not (Path(folder) / "tokenizer.json").is_file():
        return None
    try:
        return LocalTokenizer(Path(folder))
    except Exception:  # the package raises plain ones, at a tokenizer.json of a later version for one
        return None


def _template_of(folder: Path) -> tuple[Template | None, dict[str, Any]]:
    """The chat template and the special tokens by name, which it may write."""
    settings = read_json(folder / "tokenizer_config.json")
    names = {
        name: value["content"] if isinstance(value, dict) else value
        for name, value in (read_json(folder / "special_tokens_map.json") | settings).items()
        if name.endswith("_token") and (isinstance(value, str) or (isinstance(value, dict) and "content" in value))
    }
    apart = folder / "chat_template.jinja"
    text = apart.read_text(encoding="utf-8") if apart.is_file() else settings.get("chat_template")
    if isinstance(text, list):  # several by name
        text = next((one.get("template") for one in text if one.get("name") == "default"), None)
    if not isinstance(text, str):
        return None, names
    world = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    world.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    world.globals |= {"raise_exception": _refuse, "strftime_now": lambda form: datetime.now().strftime(form)}
    try:
        return world.from_string(text), names
    except TemplateError:  # tags of transformers' own, as `generation`
        return None, names


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
