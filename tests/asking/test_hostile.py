"""Everything at once, and in linear time: no completion crashes a parser."""

import json
import random
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest

from schemas.outputs import Duel, MarkSheet, ProposedProblem, Rubric, TwoMarks
from tasks.answer import judgeable
from tasks.asking.asker import Bad
from tasks.asking.parse import MAX_CHARS, Malformed, format_instructions, parse
from tasks.propose import _question, _with_reference
from tasks.rubric import facts_rubric
from tests.asking.samples import CHECKS, FORMATS, generation, sheet
from tests.samples import HOSTILE


@cache
def hostile_completions(count: int) -> list[str]:
    """Valid outputs with pieces torn out, doubled, swapped and put in."""
    draw = random.Random(7)
    seeds = [sheet(0, 1, 2), sheet(0, 1, output_format="tags"), format_instructions(Rubric, "tags"), *HOSTILE]
    seeds += [
        json.dumps({"problem": "Why is it so?", "reference_answer": "Because it is."}),
        "1. A fact that stands here.\n" * 9,
    ]
    made = []
    for _ in range(count):
        text = "".join(draw.choices(seeds, k=draw.randint(1, 4)))
        for _ in range(draw.randint(0, 4)):
            a, b = sorted(draw.choices(range(len(text) + 1), k=2))
            text = draw.choice([text[:a] + text[b:], text[:b] + text[a:], text[:a] + draw.choice(HOSTILE) + text[b:]])
        made.append(text)
    return made


@cache
def strange_completions(count: int) -> list[str]:
    """Random bytes, half JSON, huge numbers, NaN, nesting, other languages, lone surrogates, control characters."""
    draw = random.Random(11)
    whole = [sheet(0, 1, 2), sheet(2), json.dumps({"problem": "Why is it so?", "reference_answer": "It is."}),
             json.dumps({"criteria": [{"name": "n", "gold": None, "description": "d", "weight": 1.0}]})]  # fmt: skip
    numbers = ["NaN", "-Infinity", "1e999", "9" * 400, "-0", "2.0000000000000001", "0x2", "1_0", "٢", "²"]
    words = [
        "Почему небо синее?",
        "为什么天空是蓝色的？",
        "لماذا السماء زرقاء؟",
        "आकाश नीला क्यों है?",
        "なぜ空は青いの？",
    ]
    kinds: list[Callable[[], str]] = [
        lambda: draw.randbytes(draw.randint(1, 200)).decode("latin-1"),
        lambda: draw.randbytes(draw.randint(1, 200)).decode("utf-8", "surrogateescape"),
        lambda: (text := draw.choice(whole))[: draw.randint(0, len(text))],
        lambda: draw.choice(whole).replace(draw.choice(["0", "1", "2"]), draw.choice(numbers)),
        lambda: draw.choice('[{("') * draw.randint(1, 3000) + draw.choice(whole),
        lambda: "\n".join(draw.choices(words, k=3)),
        lambda: draw.choice(whole).replace("o", draw.choice("\ud800\udfff\udc80")),
        lambda: "".join(chr(draw.randint(0, 0x1F)) for _ in range(40)) + draw.choice(whole),
    ]
    return [draw.choice(kinds)() for _ in range(count)]


LONG = [
    unit * (200_000 // len(unit))
    for unit in (
        "[", '{"marks":[', '{"a":', "<mark>", "<mark></mark>", "<name>", "\n", "```\n", " ", "the ", "the\t",
        ".\"", "a ", "- ", "</think>", "(", "sorry ", '{"marks":[{}],', "<", "'", "1. ", "\ud800", "9",
        "A fact about it all. ",
    )
]  # fmt: skip
LONG += [
    "```" + "\n" * 200_000 + "x",
    '{"marks":[' + ",".join(["{}"] * 60_000) + "]}",
    "<mark>" * 9 + "</mark>" * 30_000,
    "[" + "9" * 4000,
]
PARSERS: dict[str, Callable[[str], Any]] = {
    **{
        f"{model.__name__} {form}": partial(lambda model, form, text: parse(model, text, form), model, form)
        for model in (ProposedProblem, Rubric, MarkSheet, Duel, TwoMarks)
        for form in FORMATS
    },
    "facts": lambda text: facts_rubric(text, "Why is it so?", 10),
    "problem": lambda text: _question(text, "Title", CHECKS) if text.strip() else None,
    "reference": lambda text: _with_reference("Why is it so, then?", text, CHECKS),
    "answer": lambda text: judgeable(generation(text), "sentence"),
    "cut answer": lambda text: judgeable(generation(text, "length"), "sentence"),
}


@pytest.mark.parametrize("name", PARSERS)
def test_no_completion_crashes_a_parser_or_takes_long(name: str) -> None:
    for text in [*hostile_completions(2000), *strange_completions(8000), *LONG, "x" * (MAX_CHARS + 1), "y " * 10**6]:
        started = time.thread_time()
        try:
            found = PARSERS[name](text)
        except (Malformed, Bad):
            continue
        except ValueError as error:  # pydantic's own, which `Asker` takes for malformed
            assert type(error).__name__ == "ValidationError", (name, text[:200])
            continue
        finally:
            assert time.thread_time() - started < 2.0, (name, text[:80])  # of 2 MB; quadratic would be minutes
        if isinstance(found, MarkSheet):
            assert {mark.rating for mark in found.marks} <= {0, 1, 2}
        if isinstance(found, Rubric):
            assert all(0 < criterion.weight <= 100 for criterion in found.criteria)
