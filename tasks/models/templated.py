"""`models.NAME.chat_template`: a model's folder with the template that is set, for a base model that has none.

Server, trainer, checks and token counting all read a template out of the model's folder. So a folder is made once that
links to the model's files and has this template; a model trained from it takes the template over (`finish.py`).
"""

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jinja2 import TemplateSyntaxError

from schemas.errors import UserError, unwritable
from schemas.ids import content_id
from schemas.names import expanded
from tasks.engine.templates import BUILT_IN, CHATML_END, FILE, built_in, compiled, template_of
from tasks.engine.tokenizer import LocalTokenizer, local_tokenizer
from tasks.processes.guarded import state_dir
from tasks.storage.jsonfile import read_json
from tasks.training.token_ids import ANSWER, PROBLEM, stop_ids

VERSION = 1  # of what such a folder holds beside its links
_OWN = (FILE, "chat_template.json", "additional_chat_templates")  # of the model's own templates: not linked to


def with_template(name: str, folder: Path, wanted: str) -> Path:
    """The folder of a model with the template `wanted`: the model's own where it has that one already.

    Raises:
        UserError: there is no such template, or the tokenizer cannot say how its turns end.
    """
    setting = f"models.{name}.chat_template"
    text = _text(setting, folder, wanted)
    stops = _stops(folder, text)
    if template_of(folder) == text and stops is None:
        return folder
    files = [(one.name, one.stat().st_size, one.stat().st_mtime_ns) for one in sorted(folder.iterdir()) if one.exists()]
    place = state_dir() / "templated" / content_id("templated", VERSION, str(folder.resolve()), files, text, stops)
    target = place / (folder.resolve().name or "model")
    if not target.is_dir():
        try:
            with _appearing(place) as made:
                _fill(made / target.name, folder.resolve(), text, stops)
        except OSError as error:
            raise unwritable(target, error) from None
    return target


def _text(setting: str, folder: Path, wanted: str) -> str:
    """The template itself."""
    if wanted in BUILT_IN:
        return _built_in(setting, folder, wanted)
    path = expanded(wanted)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = "is no text in UTF-8" if isinstance(error, UnicodeDecodeError) else f"cannot be read ({error.strerror})"
        raise UserError(f"{setting}: {wanted} {why}; give a file, or {' or '.join(BUILT_IN)}") from None
    if not text.strip():
        raise UserError(f"{setting}: {wanted} is empty; give a file, or {' or '.join(BUILT_IN)}")
    try:
        compiled(text)
    except TemplateSyntaxError as error:
        if "unknown tag" not in str(error):  # transformers has tags of its own
            raise UserError(f"{setting}: {wanted} is no Jinja template: line {error.lineno}: {error.message}") from None
    return text


def _built_in(setting: str, folder: Path, wanted: str) -> str:
    """A built-in template in the words of the model's own tokenizer.

    What ends a turn must be one token, which the model can learn to write and its server stops at.
    """
    tokenizer = local_tokenizer(str(folder))
    if tokenizer is None:
        raise UserError(f"{setting}: {wanted} needs a tokenizer.json, which {folder} lacks: give a file of your own")
    eos, bos = (tokenizer.special.get(f"{one}_token") for one in ("eos", "bos"))
    end = CHATML_END if wanted == "chatml" and _control(tokenizer, CHATML_END) else None
    if end is None and (not eos or len(tokenizer.ids(eos)) != 1):
        raise UserError(
            f"{setting}: {wanted} ends a turn with the tokenizer's end of sequence, and {folder} names none: set "
            "eos_token in its tokenizer_config.json"
        )
    begins = bool(bos) and tokenizer.ids("a", special=True)[:1] == tokenizer.ids(bos or "")
    return built_in(wanted, "bos_token" if begins else None, end)


def _control(tokenizer: LocalTokenizer, text: str) -> bool:
    """Whether a text is a token of its own."""
    ids = tokenizer.ids(text)
    return len(ids) == 1 and ids[0] in tokenizer.added


def _stops(folder: Path, text: str) -> list[int] | None:
    """The ids that must end an answer, the template's end of turn among them; None where the folder says so already."""
    tokenizer = LocalTokenizer(folder, text) if local_tokenizer(str(folder)) else None
    asked = [{"role": "user", "content": PROBLEM}]
    whole = tokenizer and tokenizer.rendered([*asked, {"role": "assistant", "content": ANSWER}], asks=False)
    if not tokenizer or not whole or ANSWER not in whole:
        return None
    eos = tokenizer.ids(tokenizer.special.get("eos_token", ""))
    known = list(dict.fromkeys([*stop_ids(folder), *(eos if len(eos) == 1 else [])]))
    end = next((one for one in tokenizer.ids(whole.rpartition(ANSWER)[2]) if one in tokenizer.added), None)
    return None if end is None or end in known else [*known, end]


def _fill(target: Path, folder: Path, text: str, stops: list[int] | None) -> None:
    """Links to everything, and files of its own for what is another."""
    target.mkdir()
    for one in folder.iterdir():
        if one.name not in _OWN:
            (target / one.name).symlink_to(one)
    _write(target / FILE, text)
    settings = read_json(folder / "tokenizer_config.json")
    if settings.pop("chat_template", None) is not None:
        _write(target / "tokenizer_config.json", json.dumps(settings, indent=1, ensure_ascii=False))
    if stops is not None:
        generation = read_json(folder / "generation_config.json") | {"eos_token_id": stops}
        generation.pop("_from_model_config", None)  # so marked, a library may make it anew of config.json
        _write(target / "generation_config.json", json.dumps(generation, indent=1, ensure_ascii=False))


def _write(path: Path, content: str) -> None:
    path.unlink(missing_ok=True)  # a link: what it leads to is the model's own
    path.write_text(content, encoding="utf-8")


@contextmanager
def _appearing(place: Path) -> Iterator[Path]:
    """A folder that is there whole, or not at all; another process may have been faster."""
    place.parent.mkdir(parents=True, exist_ok=True)
    made = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}")
    made.mkdir()
    try:
        yield made
        try:
            made.rename(place)
        except OSError:
            if not place.is_dir():
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
