"""Valid instances of JSON schemas for the fake engine, as far as pydantic's schemas go."""

import math
import re
from collections.abc import Callable
from typing import Any

from tasks.engine.fake.words import Writer

_LIMITS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")


class SchemaError(ValueError):
    """A JSON schema that is wrong, or that the fake engine cannot fill."""


def instance(schema: dict[str, Any], writer: Writer) -> Any:
    """A valid instance of a schema.

    Raises:
        SchemaError: it is wrong, endless, or has a pattern that no candidate meets.
    """
    try:
        return _Filler(schema, writer).value(schema)
    except SchemaError:
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError, re.error) as error:  # bounds like 1e999, "x", …
        raise SchemaError(f"wrong schema: {error!r}") from error


class _Filler:
    """Writes one instance, depth first."""

    calm_depth, max_depth, max_values = 8, 64, 20_000

    def __init__(self, root: dict[str, Any], writer: Writer) -> None:
        self._root, self._writer, self._draw, self._values = root, writer, writer.draw, 0
        self._place = (0, 0)  # of the list item being written, and how many items there are
        self._by_type: dict[str, Callable[[dict[str, Any], int], Any]] = {
            "object": self._object, "array": self._array, "string": self._string, "integer": self._integer,
            "number": self._number, "boolean": lambda *_: self._draw.unit() < 0.5, "null": lambda *_: None,
        }  # fmt: skip

    def value(self, schema: Any, depth: int = 0) -> Any:
        """An instance of a part of the schema."""
        self._values += 1
        if depth > self.max_depth or self._values > self.max_values:
            raise SchemaError("the schema has no small instance")
        if schema is True:
            return self._writer.text(4)
        if not isinstance(schema, dict):
            raise SchemaError(f"not a schema: {schema!r:.80}")
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._enum(_listed(schema, "enum"))
        if simpler := self._combined(schema, depth):
            return self.value(simpler, depth + 1)
        kind = schema.get("type", _implied_type(schema))
        kind = self._draw.pick(kind) if isinstance(kind, list) and kind else kind
        if not isinstance(kind, str) or kind not in self._by_type:
            raise SchemaError(f"unknown type {kind!r:.80}")
        return self._by_type[kind](schema, depth)

    def _enum(self, options: list[Any]) -> Any:
        """Any of the options; each once in a list with as many items, as a mark sheet has a mark a criterion."""
        place, size = self._place
        return options[place] if size == len(options) > 1 else self._draw.pick(options)

    def _combined(self, schema: dict[str, Any], depth: int) -> dict[str, Any] | None:
        """The schema with its $ref, allOf, anyOf or oneOf put in; None where it has none."""
        if "$ref" in schema:
            rest = {key: part for key, part in schema.items() if key != "$ref"}
            return self._resolved(schema["$ref"]) | rest
        for keyword in ("anyOf", "oneOf", "allOf"):
            if keyword in schema:
                rest = {key: part for key, part in schema.items() if key != keyword}
                options = [option for option in _listed(schema, keyword) if isinstance(option, dict)]
                flat = [option for option in options if not {"$ref", "properties", "items"} & option.keys()]
                if keyword == "allOf":
                    return {key: part for one in [rest, *map(self._plain, options)] for key, part in one.items()}
                return rest | self._draw.pick(flat if flat and depth > self.calm_depth else options)
        return None

    def _plain(self, schema: dict[str, Any]) -> dict[str, Any]:
        return self._resolved(schema["$ref"]) if "$ref" in schema else schema

    def _resolved(self, pointer: Any) -> dict[str, Any]:
        found: Any = self._root
        for key in str(pointer).removeprefix("#").split("/")[1:]:
            found = found.get(key.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        if not isinstance(found, dict) or not str(pointer).startswith("#"):
            raise SchemaError(f"unresolvable $ref {pointer!r:.80}")
        return found

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties, required = schema.get("properties", {}), schema.get("required", ())
        if not isinstance(properties, dict) or not isinstance(required, list | tuple):
            raise SchemaError("properties must be an object and required a list")
        made = {}
        for name, part in properties.items():
            if name in required or (depth <= self.calm_depth and self._draw.unit() < 0.75):
                made[name] = self.value(part, depth + 1)
        extra, least = schema.get("additionalProperties", True), _count(schema, "minProperties", 0)
        least = max(least, 1 + self._draw.below(2)) if isinstance(extra, dict) and not properties else least
        most = _count(schema, "maxProperties", least)
        names = [*required, *(name for name in properties if name not in required)]
        names += [f"fake_{number}" for number in range(min(least, self.max_values)) if extra is not False]
        for name in names:
            if name not in made and (name in required or len(made) < min(least, most)):
                made[name] = self.value(properties.get(name, extra), depth + 1)
        return made

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        prefix = _listed(schema, "prefixItems") if "prefixItems" in schema else []
        items = schema.get("items", True)
        low = _count(schema, "minItems", 0)
        high = _count(schema, "maxItems", low + 4)
        if low > min(high, self.max_values):
            raise SchemaError(f"no array has {low} to {high} items")
        size = low if depth > self.calm_depth else max(low, len(prefix)) + self._draw.below(4)
        size = min(size, high, len(prefix) if items is False else size)
        made: list[Any] = []
        outer = self._place
        for _ in range(size * (20 if schema.get("uniqueItems") else 1)):
            self._place = (len(made), size if low == high else 0)
            item = self.value(prefix[len(made)] if len(made) < len(prefix) else items, depth + 1)
            if not (schema.get("uniqueItems") and item in made):
                made.append(item)
            if len(made) == size:
                break
        self._place = outer
        return made

    def _string(self, schema: dict[str, Any], _depth: int) -> str:
        low = _count(schema, "minLength", 0)
        high = _count(schema, "maxLength", max(low, 10_000))
        if low > min(high, 100_000):
            raise SchemaError(f"no string has {low} to {high} characters")
        text = self._writer.text(min(3 + self._draw.below(38), 2 + high // 4))
        while len(text) < low:
            text += " " + self._writer.text(40)
        if "pattern" not in schema:
            return _clipped(text, low, high)
        word = self._writer.word().lower()
        for candidate in (text, f"fake_{word}", f"fake-{word}", word, word.upper(), word.title(), "1", "2026-01-01"):
            if low <= len(candidate) <= high and re.search(str(schema["pattern"]), candidate):
                return candidate
        raise SchemaError(f"the fake engine knows no string for the pattern {schema['pattern']!r:.80}")

    def _integer(self, schema: dict[str, Any], _depth: int) -> int:
        low, high = _bounds(schema, span=10)
        step = int(schema.get("multipleOf", 1)) or 1
        first = math.floor(low / step) + 1 if low == schema.get("exclusiveMinimum") else math.ceil(low / step)
        last = math.ceil(high / step) - 1 if high == schema.get("exclusiveMaximum") else math.floor(high / step)
        if first > last:
            raise SchemaError(f"no integer from {low} to {high}")
        return step * (first + self._draw.below(last - first + 1))

    def _number(self, schema: dict[str, Any], depth: int) -> float:
        if "multipleOf" in schema:
            return self._integer(schema, depth) if float(schema["multipleOf"]).is_integer() else self._multiple(schema)
        low, high = _bounds(schema, span=1)
        if low > high:
            raise SchemaError(f"no number from {low} to {high}")
        exact = low + (high - low) * (0.01 + 0.98 * self._draw.unit())
        return round(exact, 3) if low < round(exact, 3) < high else exact

    def _multiple(self, schema: dict[str, Any]) -> float:
        step = float(schema["multipleOf"])
        scaled = {key: schema[key] / step for key in _LIMITS if key in schema}
        return round(self._integer(scaled, 0) * step, 9)


def _bounds(schema: dict[str, Any], span: int) -> tuple[float, float]:
    """The lowest and highest value of a number; an open side lies `span` away."""
    for keyword in _LIMITS:
        if not isinstance(schema.get(keyword, 0), int | float):
            raise SchemaError(f"{keyword} must be a number")
    lows = [schema[keyword] for keyword in _LIMITS[:2] if keyword in schema]
    highs = [schema[keyword] for keyword in _LIMITS[2:] if keyword in schema]
    low = max(lows) if lows else (min(highs) - span if highs else 0)
    return low, min(highs) if highs else low + span


def _count(schema: dict[str, Any], keyword: str, default: int) -> int:
    value = schema.get(keyword, default)
    if not isinstance(value, int) or value < 0:
        raise SchemaError(f"{keyword} must be a whole number")
    return value


def _listed(schema: dict[str, Any], keyword: str) -> list[Any]:
    if not isinstance(schema[keyword], list) or not schema[keyword]:
        raise SchemaError(f"{keyword} must be a list that is not empty")
    return list(schema[keyword])


def _implied_type(schema: dict[str, Any]) -> str:
    keywords = {"properties": "object", "items": "array", "prefixItems": "array", "minimum": "number"}
    return next((kind for keyword, kind in keywords.items() if keyword in schema), "string")


def _clipped(text: str, low: int, high: int) -> str:
    """At most `high` characters, at a word's end where that leaves enough, and never fewer than `low`."""
    cut = text[:high]
    if len(text) > high >= 24 and len(shorter := cut.rsplit(" ", 1)[0]) >= max(low, 12):
        return shorter
    return cut[:-1] + "." if cut.endswith(" ") else cut
