"""From a completion to a checked output: JSON where the server constrains it, tagged text elsewhere. A text that is not
exactly what was asked for is malformed; nothing is guessed, clamped or filled in."""

import json
import re
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError

from schemas.outputs import Output
from tasks.texts.thoughts import final_answer

T = TypeVar("T", bound=Output)
_ITEM = {"criteria": "criterion", "marks": "mark"}
_HINTS = {  # what stands for each value in the tagged form that a prompt shows
    "problem": "the problem", "reference_answer": "the reference answer", "name": "a short name",
    "gold": "what a good answer has", "evidence": "the words of the document that it rests on",
    "description": "what earns 2, 1 and 0", "thoughts": "your thoughts", "better": "first, second or tie",
    "met": "yes or no",
    "weight": "a number", "rating": "0, 1 or 2", "first_mark": "0 to 10", "second_mark": "0 to 10",
}  # fmt: skip
MAX_CHARS = 400_000


class Malformed(ValueError):
    """The text does not hold the output that was asked for; the message says what is wrong, in one sentence."""


def parse(model: type[T], text: str, output_format: str) -> T:
    """Read an output.

    Raises:
        Malformed: not JSON, a tag missing, a field missing or out of bounds.
    """
    if len(text) > MAX_CHARS:
        raise Malformed(f"{len(text)} characters: too long to be an answer")
    try:
        if output_format == "json_schema":
            return model.model_validate(_from_json(_without_fence(text)))
        return model.model_validate(_from_tags(model, final_answer(text)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Malformed(f"{where or 'output'}: {first['msg']}"[:300]) from None
    except RecursionError:
        raise Malformed("not JSON: nested too deeply") from None
    except json.JSONDecodeError as error:
        raise Malformed(f"not JSON: {error}"[:300]) from None
    except ValueError as error:
        raise Malformed(str(error)[:300]) from None


def format_instructions(model: type[Output], output_format: str) -> str:
    """The last lines of a prompt: the form of the reply."""
    if output_format == "json_schema":
        # no example with values: the server keeps to the schema, and a small model would copy them
        return f"Reply with one JSON object and nothing else. Its keys: {_keys(model)}."
    return "Reply in exactly this form and with nothing after it:\n" + "\n".join(_tag_lines(model))


def _without_fence(text: str) -> str:
    """JSON out of a Markdown code fence, which some servers' models put around it."""
    text = text.removeprefix("\ufeff")
    if text.lstrip().startswith("{"):  # a mark of thoughts in it is a quotation, unless the braces are in thoughts
        try:
            json.loads(text)
        except ValueError:
            pass
        else:
            return text
    text = final_answer(text)
    first, _, rest = text.partition("\n")
    return rest[:-3] if first.strip().lower() in ("```", "```json") and rest.endswith("\n```") else text


def _from_json(text: str) -> Any:
    """JSON as the standard has it: no NaN, and no key twice, since the second would silently win."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise Malformed("a key stands twice in one object")
        return found

    def refuse(constant: str) -> Any:
        raise Malformed(f"{constant} is not a number")

    return json.loads(text, object_pairs_hook=once, parse_constant=refuse)


def _item_model(annotation: Any) -> type[Output] | None:
    if get_origin(annotation) is list:
        inner = get_args(annotation)[0]
        if isinstance(inner, type) and issubclass(inner, Output):
            return inner
    return None


def _keys(model: type[Output]) -> str:
    parts = []
    for name, field in model.model_fields.items():
        item = _item_model(field.annotation)
        parts.append(f'"{name}", a list of objects with the keys {_keys(item)}' if item else f'"{name}"')
    return ", ".join(parts)


def _tag_lines(model: type[Output]) -> list[str]:
    lines = []
    for name, field in model.model_fields.items():
        if item := _item_model(field.annotation):
            lines += [f"<{_ITEM[name]}>", *_tag_lines(item), f"</{_ITEM[name]}>", "(one such block for each)"]
        else:
            lines.append(f"<{name}>{_HINTS[name]}</{name}>")
    return lines


def _from_tags(model: type[Output], text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if item := _item_model(field.annotation):
            blocks = _blocks(_ITEM[name], text)
            found[name] = [_from_tags(item, block) for block in blocks]
            continue
        values = _blocks(name, text)
        if len(values) != 1:
            raise Malformed(f"<{name}> stands there {len(values)} times, not once")
        found[name] = _number(name, values[0].strip())
    return found


def _blocks(tag: str, text: str) -> list[str]:
    """What stands in each `<tag>…</tag>`. Found by position, so hostile text costs linear time."""
    blocks: list[str] = []
    start, opening, closing = 0, f"<{tag}>", f"</{tag}>"
    while (begin := text.find(opening, start)) >= 0:
        end = text.find(closing, begin)
        if end < 0:
            raise Malformed(f"<{tag}> is not closed")
        blocks.append(text[begin + len(opening) : end])
        start = end + len(closing)
    if not text.count(opening) == text.count(closing) == len(blocks):  # such as a quoted `</mark>` before the real one
        raise Malformed(f"<{tag}> and </{tag}> do not match")
    return blocks


def _number(name: str, value: str) -> Any:
    if name == "rating":
        if value not in {"0", "1", "2"}:
            raise Malformed(f"rating {value[:20]!r} is not 0, 1 or 2")
        return int(value)
    if name in ("first_mark", "second_mark"):
        if not re.fullmatch(r"[0-9]|10", value):
            raise Malformed(f"mark {value[:20]!r} is not a whole number from 0 to 10")
        return int(value)
    if name == "weight":
        if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,9})?", value):
            raise Malformed(f"weight {value[:20]!r} is not a number")
        return float(value)
    return value
