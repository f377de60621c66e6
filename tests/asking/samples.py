"""What the tests of asking share: the checks, a mark sheet, a call that gave a text."""

import json

from tasks.engine.protocol import Generation
from tasks.propose import Checks
from tests.samples import config, plan_of

CHECKS = Checks(plan_of(config()))
FORMATS = ("json_schema", "tags")


def sheet(*ratings: object, thoughts: str = "so", output_format: str = "json_schema") -> str:
    """A mark sheet as a judge writes it; criteria are called c0, c1, …"""
    marks = [{"name": f"c{n}", "thoughts": thoughts, "rating": rating} for n, rating in enumerate(ratings)]
    if output_format == "json_schema":
        return json.dumps({"marks": marks})
    return "\n".join(f"<mark>\n{''.join(f'<{k}>{v}</{k}>' for k, v in mark.items())}\n</mark>" for mark in marks)


def generation(text: str, finish: str = "stop") -> Generation:
    """A call that gave this text."""
    return Generation("g", "s", "answer", "m", "e", [], "{}", text, finish, 1, 1, 0.1, 0)
