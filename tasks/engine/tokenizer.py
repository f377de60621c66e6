"""A model's own tokenizer and chat template, out of its folder: what its server makes of a text, made here.

The `tokenizers` package and Jinja, no torch and no transformers. Only what was seen to agree with the server is used.
"""

import asyncio
from array import array
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Template, TemplateError

from tasks.engine.protocol import Message
from tasks.engine.templates import compiled, special_tokens, template_of

_SHORT, _REMEMBERED = 1_000, 2_000  # characters, and texts: facts and problems come with every answer
_LONG = 20_000  # characters, from which on a text is cut into tokens in a thread, which the loop need not wait for


class LocalTokenizer:
    """Of a folder with `tokenizer.json`.

    Attributes:
        renders: whether its chat template is there, and makes what the server's makes.
        special: special tokens by name (`eos_token`).
        added: ids of the tokens that stand whole in any text, as control tokens do.
    """

    # leading, trailing and doubled space, other scripts, a control token typed as text, with and without specials
    PROBES: ClassVar[tuple[tuple[str, bool], ...]] = (
        ("Why is the sky blue? It\u2019s 42.5 % \u2014 \u6c34\u306f\u9752\u3044 \u0645\u0627\u0621 \U0001f30a", True),
        (" and  a fact,\n\tof two lines. ", False),
    )
    PROBE_MESSAGES: ClassVar[tuple[Message, ...]] = (
        {"role": "user", "content": " Say \u201chello\u201d.\n\n{x} <b> 2 "},
    )

    def __init__(self, folder: Path, template: str | None = None) -> None:
        """`template` stands for the folder's own."""
        from tokenizers import Tokenizer

        self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._template, self.special = _compiled(template or template_of(folder)), special_tokens(folder)
        self.added: frozenset[int] = frozenset(self._tokenizer.get_added_tokens_decoder())
        self.renders = self._template is not None
        self._short_ids = lru_cache(_REMEMBERED)(lambda text, special: array("I", self._made(text, special)))

    def ids(self, text: str, special: bool = False) -> list[int]:
        """Token ids of a text."""
        return self._short_ids(text, special).tolist() if len(text) <= _SHORT else self._made(text, special)

    def _made(self, text: str, special: bool) -> list[int]:
        # only the form for batches leaves out where each token stands in the text, which takes a fifth of the time
        (found,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=special)
        return list(found.ids)

    def rendered(self, messages: Sequence[Message], asks: bool = True) -> str | None:
        """A conversation as the model is asked with it, or whole (`asks` false); None where the template refuses it."""
        if self._template is None:
            return None
        try:
            return self._template.render(messages=list(messages), add_generation_prompt=asks, **self.special)
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


def _compiled(text: str | None) -> Template | None:
    try:
        return compiled(text) if text is not None else None
    except TemplateError:
        return None
