"""Chat templates: how one is found in a model's folder, how it is rendered, and those for base models, which have none.

The one place that knows where a template lies. What POP renders, and what a model's server and trainer render, comes of
the same folder (`tasks.models.templated` makes one for a template that is set).
"""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template, TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tasks.storage.jsonfile import read_json

FILE = "chat_template.jinja"
_PLACES = (FILE, "chat_template.json")  # before the key in tokenizer_config.json, as libraries look for it
# `BEGIN` is nothing, or the token that the tokenizer puts before every text; `END` ends an answer; `BETWEEN` ends what
# others say, and is nothing where the end is the end of sequence: to a base model, another text begins after that.
BUILT_IN = {
    "chatml": (
        "{{- BEGIN -}}\n"
        "{%- for message in messages -%}\n"
        "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] -}}\n"
        "{{- (END if message['role'] == 'assistant' else BETWEEN) + '\\n' -}}\n"
        "{%- endfor -%}\n"
        "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}\n"
    ),
    "plain": (
        "{{- BEGIN -}}\n"
        "{%- for message in messages -%}\n"
        "{{- message['role'] | capitalize + ':\\n' + message['content'] -}}\n"
        "{{- (END if message['role'] == 'assistant' else '') + '\\n\\n' -}}\n"
        "{%- endfor -%}\n"
        "{%- if add_generation_prompt -%}{{- 'Assistant:\\n' -}}{%- endif -%}\n"
    ),
}
CHATML_END = "<|im_end|>"


def built_in(name: str, begin: str | None, end: str | None) -> str:
    """The text of a built-in template.

    Args:
        begin: the token that begins every text, by the name that templates know it by; None: there is none.
        end: the token that ends a turn; None: the tokenizer's end of sequence.
    """
    quoted = "''" if end is None else f"'{end}'"
    words = {"BEGIN": begin or "''", "BETWEEN": quoted, "END": "eos_token" if end is None else quoted}
    return re.sub("|".join(words), lambda found: words[found[0]], BUILT_IN[name])


def written(folder: Path) -> Any:
    """The template as a folder has it: a text, a list of several by name, or None."""
    apart, older = (folder / name for name in _PLACES)
    if apart.is_file() and (text := apart.read_bytes().decode(errors="replace")):
        return text
    if older.is_file():
        text = older.read_bytes().decode(errors="replace")
        try:
            content = json.loads(text)
        except ValueError:
            content = text
        if found := content.get("chat_template") if isinstance(content, dict) else content:
            return found
    return read_json(folder / "tokenizer_config.json").get("chat_template")


def template_of(folder: Path) -> str | None:
    """The text of a folder's template; of several, that of the one which is used."""
    found = written(folder)
    if isinstance(found, list):
        found = next((one.get("template") for one in found if one.get("name") == "default"), None)
    return found if isinstance(found, str) else None


def special_tokens(folder: Path) -> dict[str, str]:
    """A tokenizer's special tokens by name (`eos_token`), which a template may write."""
    settings = read_json(folder / "special_tokens_map.json") | read_json(folder / "tokenizer_config.json")
    return {
        name: value["content"] if isinstance(value, dict) else value
        for name, value in settings.items()
        if name.endswith("_token") and (isinstance(value, str) or (isinstance(value, dict) and "content" in value))
    }


def compiled(text: str) -> Template:
    """A template that can be rendered, with what transformers gives it.

    Raises:
        TemplateError: it is no Jinja, or has tags of transformers' own, as `generation`.
    """
    world = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    world.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    world.globals |= {"raise_exception": _refuse, "strftime_now": lambda form: datetime.now().strftime(form)}
    return world.from_string(text)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
