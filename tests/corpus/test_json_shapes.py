"""JSON as people have it: what is whole is read, on after what is not, and what is not read is said."""

import json
from pathlib import Path

import pytest

from tasks.corpus import BadRecord, RawDocument, read

A, B, C = (json.dumps({"text": name}) for name in ("one", "two", "three"))
SHAPES = {
    "two lists": (f"[{A}, {B}]\n[{C}]\n", 3, 0),
    "bad item": (f'[{A}, {{"text": broken}}, {B}, {C}]', 3, 1),
    "open string": (f'[{A}, {{"text": "cut, {B}, {C}]', 3, 1),
    "open object": (f'[{A}, {{"text": , {B}, {C}]', 3, 1),
    "lone quote": (f'[{A}, ", {B}, {C}]', 3, 1),
    "nested in what is broken": (
        f'[{A}, {{"text": broken, "of": [{{"text": "no"}}, {{"text": "no"}}]}}, {B}, {C}]',
        3,
        1,
    ),
    "junk after": (f"[{A}, {B}] oops {C}", 3, 1),
    "no comma": (f"[{A} {B}, {C}]", 3, 1),
    "comma too many": (f"[{A},, {B}, {C},]", 3, 2),
    "not closed": (f"[{A}, {B}, {C}", 3, 1),
    "closed too early": (f"[{A}], {B}, {C}]", 3, 3),
    "lines": (f"{A}\n{B}\n{C}\n", 3, 0),
    "bad first line": (f'{{"text": no}}\n{A}\n{B}\n{C}', 3, 1),
    "blank lines": (f"\n\n{A}\n\n{B}\n{C}", 3, 0),
    "lines with a list": ('{"data": ["x"], "text": "one"}\n' * 3, 3, 0),
    "data": (f'{{"data": [{A}, {B}, {C}]}}', 3, 0),
    "data late": (f'{{"version": 1, "data": [{A}, {B}, {C}], "end": {{}}}}', 3, 0),
    "rows": (f'{{"rows": [{A}, {B}, {C}]}}', 3, 0),
    "strings": ('["one", "two"]', 0, 2),
    "columns": ('{"text": {"0": "one"}}', 0, 1),
    "empty": ("", 0, 1),
    "empty list": ("[]", 0, 1),
    "side by side": (f"{A}{B}{C}", 3, 0),
    "pretty": ("\n".join(json.dumps(json.loads(row), indent=1) for row in (A, B, C)), 3, 0),
    "one value of 5,000 digits": (f'{A}\n{{"text": "two", "n": {"9" * 5000}}}\n{C}', 3, 0),
    "lone surrogate": (f'{A}\n{{"text": "two \\ud800 \\udc80"}}\n{C}', 3, 0),
    "carriage returns": (f"{A}\r{B}\r{C}\r", 3, 0),
    "deep": (f"[{A}, {'[' * 99_999}, {B}]\n", 2, 1),
}


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_its_documents_and_its_rejects(tmp_path: Path, shape: str, suffix: str) -> None:
    content, documents, bad = SHAPES[shape]
    (tmp_path / f"x{suffix}").write_text(content, newline="")
    found = list(read(str(tmp_path / f"x{suffix}")))
    assert sum(isinstance(record, RawDocument) for record in found) == documents, found
    rejects = [record for record in found if isinstance(record, BadRecord)]
    assert bool(rejects) == bool(bad) and (suffix == ".jsonl" or len(rejects) == bad), rejects
    assert len({record.source for record in found}) == len(found)
    assert not any("UTF-8" in record.reason for record in rejects)


VALID = ("[]", "{}", "-0", "1e5", '"\\u0061\\ud834\\udd1e"', " [1 , null ] ", "[[[]]]", '{"a":{"":[0]}}', '"\x7f"')
INVALID = (
    "[", "]", "{", "}", '"', "[1", '["a', '{"a', '{"a":', '{"a":"b', "'a'", "[1,]", "[,1]", "01", "1.", "+1", "tru",
    "[1}", '{"a":1]', "{1:2}", '{"a" b}', '{"a":1}}', "[]]", '["\\', '["\t"]', "/* */", "NaNa", "\\u0000", '["a" "b"]',
)  # fmt: skip


@pytest.mark.parametrize("value", [*VALID, *INVALID])
def test_a_value_in_a_line_a_list_or_a_document_never_costs_its_neighbours(tmp_path: Path, value: str) -> None:
    inside = f'{{"text": "inside", "x": {value}}}'
    (tmp_path / "line.jsonl").write_text(f"{A}\n{value}\n{B}\n")
    (tmp_path / "field.jsonl").write_text(f"{A}\n{inside}\n{B}\n")
    (tmp_path / "item.json").write_text(f"[{A}, {value}, {B}]")
    (tmp_path / "field.json").write_text(f"[{A}, {inside}, {B}]")
    for name in ("line.jsonl", "field.jsonl", "item.json", "field.json"):
        found = list(read(str(tmp_path / name)))
        texts = [record.text for record in found if isinstance(record, RawDocument)]
        assert {"one", "two"} <= set(texts), name
        bad = [record.reason for record in found if isinstance(record, BadRecord)]
        if value in INVALID:
            assert bad, name
        elif name.startswith("field"):
            assert "inside" in texts and not bad
