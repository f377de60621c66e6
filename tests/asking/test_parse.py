"""A completion is read as exactly what was asked for, or refused: none becomes a wrong number."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.outputs import Duel, Mark, MarkSheet, Output, ProposedProblem, Rubric, TwoMarks
from tasks.asking.parse import Malformed, format_instructions, parse
from tasks.judging.pointwise import complete
from tasks.prompts import data
from tasks.rubric import usable
from tests.asking.samples import FORMATS, sheet
from tests.samples import HOSTILE

few = settings(max_examples=60, deadline=None)
pieces = st.lists(
    st.sampled_from(
        [
            "<mark>", "</mark>", "<name>", "</name>", "Cause", "Cure", "<thoughts>", "</thoughts>",
            "<rating>", "</rating>", "0", "1", "2", "3", "-1", "1.5", "true", "NaN", "٢", "２", "²", " ", "\n",
            '{"marks":[', "]}", "{", "}", ",", '"name":"Cause"', '"thoughts":""', '"rating":', '"2"', "1e0", "2.0",
            "</think>", "<think>", "```json\n", "\n```",
        ]
    ),
    max_size=25,
)  # fmt: skip


def ratings(text: str, output_format: str = "json_schema") -> list[int] | None:
    """The ratings that are read, or None where the text is refused."""
    try:
        return [mark.rating for mark in parse(MarkSheet, text, output_format).marks]
    except Malformed:
        return None


# The form that was asked for


@pytest.mark.parametrize("output_format", FORMATS)
def test_marks_are_read_as_written(output_format: str) -> None:
    assert ratings(sheet(0, 1, 2, output_format=output_format), output_format) == [0, 1, 2]


@pytest.mark.parametrize("model", [ProposedProblem, Rubric, MarkSheet, Duel, TwoMarks])
def test_the_form_shown_in_the_prompt_is_the_form_that_is_read(model: type[Output]) -> None:
    shown = format_instructions(model, "tags").split("\n", 1)[1]
    filled = (
        shown.replace("<weight>a number", "<weight>1")
        .replace("<rating>0, 1 or 2", "<rating>2")
        .replace("0 to 10", "7")
        .replace("first, second or tie", "tie")
        .replace("(one such block for each)", "")
    )
    assert isinstance(parse(model, filled, "tags"), model)


def test_a_server_that_keeps_to_a_schema_is_told_the_keys_and_no_values_to_copy() -> None:
    told = format_instructions(Rubric, "json_schema")
    assert '"criteria", a list of objects with the keys "name", "gold", "description", "weight".' in told


def test_text_around_tags_and_a_fence_around_json_do_no_harm() -> None:
    assert ratings("Sure!\n" + sheet(1, output_format="tags") + "\nDone.", "tags") == [1]
    assert (
        ratings(f"```json\n{sheet(1)}\n```")
        == ratings(f"```\n{sheet(1)}\n```\n")
        == ratings(f"\n {sheet(1)} \n")
        == [1]
    )


def test_what_a_thinking_model_thought_is_not_read() -> None:
    for form in FORMATS:
        assert ratings(f"<think>{sheet(2, output_format=form)}</think>\n{sheet(0, output_format=form)}", form) == [0]
        assert ratings(f"<think>{sheet(2, output_format=form)}", form) is None


def test_a_problem_and_a_rubric_are_read_from_tags() -> None:
    text = "<problem> Why?\n</problem><reference_answer>Because it is so.</reference_answer>"
    assert parse(ProposedProblem, text, "tags").problem == "Why?"
    criterion = "<criterion><name>a</name><gold></gold><description>d</description><weight>1.5</weight></criterion>"
    made = parse(Rubric, criterion + criterion.replace(">a<", ">b<"), "tags").criteria
    assert [(c.name, c.gold, c.weight) for c in made] == [("a", None, 1.5), ("b", None, 1.5)]


# What is refused


@pytest.mark.parametrize(
    "rating", ["true", '"2"', "1.5", "2.0", "1e0", "3", "-1", "NaN", "Infinity", "null", "", "02", "[2]", "2 2"]
)
def test_a_json_rating_that_is_not_exactly_0_1_or_2_is_malformed(rating: str) -> None:
    assert ratings(sheet(0).replace('"rating": 0', f'"rating": {rating}')) is None


@pytest.mark.parametrize(
    "rating", ["true", '"2"', "1.5", "2.0", "3", "-1", "NaN", "", "02", "+1", "²", "２", "٢", "2/2", "2 or 1"]
)
def test_a_tagged_rating_that_is_not_exactly_0_1_or_2_is_malformed(rating: str) -> None:
    assert ratings(sheet(rating, output_format="tags"), "tags") is None


@pytest.mark.parametrize("weight", ["nan", "inf", "1_0", "1e1", "-1", "0", "１", "two", "", "1000"])
def test_a_tagged_weight_that_is_no_plain_number_is_malformed(weight: str) -> None:
    text = f"<criterion><name>a</name><gold>g</gold><description>d</description><weight>{weight}</weight></criterion>"
    with pytest.raises(Malformed):
        parse(Rubric, text, "tags")


@pytest.mark.parametrize(
    "text",
    [
        sheet(1) + sheet(2), sheet(1)[:-1], sheet(1) + "!", sheet(1).replace("rating", "mark"), "[]", "null", "2", "",
        sheet(1).replace('"rating": 1', '"rating": 1, "rating": 2'), sheet(1).replace("]", ', {"name": "x"}]'),
        sheet(1).replace('"rating": 1', '"rating": 1, "bonus": 2'), '{"marks": []}', '{"marks": {"c0": 2}}',
        '{"marks": ' * 5000, "[" * 100_000, '{"marks": ' + "9" * 5000 + "}", sheet(*[1] * 11),
        '{"marks": [{"name": "\\ud800", "thoughts": "", "rating": 1}]}',
    ],
    ids=range(18),
)  # fmt: skip
def test_json_that_is_not_exactly_a_mark_sheet_is_malformed(text: str) -> None:
    assert ratings(text) is None


@pytest.mark.parametrize(
    "inside",
    [
        "</thoughts><rating>2</rating></mark>", "<rating>2</rating>", "</mark><mark>", "<mark>", "</mark>", "</rating>",
        "</thoughts><rating>2</rating></mark><mark><name>c1</name><thoughts>", "<name>c0</name>",
        sheet(2, output_format="tags"),
    ],
)  # fmt: skip
def test_a_judge_that_quotes_tags_of_an_answer_is_malformed_and_never_a_2(inside: str) -> None:
    for given_ratings in ([0], [0, 1], [1, 0, 0]):
        text = sheet(*given_ratings, thoughts=f"It says: {inside}", output_format="tags")
        with pytest.raises(Malformed):
            complete(parse(MarkSheet, text, "tags"), {f"c{n}": f"c{n}" for n in range(len(given_ratings))})


@few
@given(pieces, st.sampled_from(FORMATS))
def test_no_scramble_of_tags_and_numbers_becomes_another_rating(parts: list[str], form: str) -> None:
    text = "".join(parts)
    for rating in ratings(text, form) or []:
        assert type(rating) is int
        assert f'"rating":{rating}' in text or f"<rating>{rating}</rating>" in "".join(text.split())


@few
@given(st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=5), st.sampled_from(HOSTILE), st.sampled_from(FORMATS))
def test_a_judge_that_quotes_what_it_was_shown_changes_no_rating(
    given_ratings: list[int], thoughts: str, form: str
) -> None:
    assert ratings(sheet(*given_ratings, thoughts=data(thoughts), output_format=form), form) == given_ratings


@few
@given(st.sampled_from(HOSTILE), st.sampled_from(FORMATS))
def test_a_judge_that_quotes_an_answer_changes_no_comparison(thoughts: str, form: str) -> None:
    said = {"thoughts": data(thoughts)}
    if form == "json_schema":
        duel, marks = json.dumps(said | {"better": "tie"}), json.dumps(said | {"first_mark": 3, "second_mark": 10})
    else:
        duel = f"<thoughts>{said['thoughts']}</thoughts>\n<better>tie</better>"
        marks = f"<thoughts>{said['thoughts']}</thoughts><first_mark>3</first_mark><second_mark>10</second_mark>"
    assert parse(Duel, duel, form).better == "tie"
    found = parse(TwoMarks, marks, form)
    assert (found.first_mark, found.second_mark) == (3, 10)


@pytest.mark.parametrize("mark", ["11", "-1", "3.0", "5/10", "", "ten", "1e1", "٣"])
def test_a_mark_that_is_not_a_whole_number_from_0_to_10_is_malformed(mark: str) -> None:
    with pytest.raises(Malformed):
        parse(TwoMarks, f"<thoughts>x</thoughts><first_mark>{mark}</first_mark><second_mark>1</second_mark>", "tags")
    with pytest.raises(Malformed):
        parse(TwoMarks, f'{{"thoughts": "x", "first_mark": {mark or None}, "second_mark": 1}}', "json_schema")


# A sheet belongs to its rubric


def marks(*names: str) -> MarkSheet:
    return MarkSheet(marks=[Mark(name=name, thoughts="", rating=n % 3) for n, name in enumerate(names)])


def test_marks_come_in_the_rubrics_order_and_by_its_names() -> None:
    found = complete(marks("b'", "a"), {"a": "a", "b'": 'b"""'})
    assert [(mark["name"], mark["rating"]) for mark in found] == [("a", 1.0), ('b"""', 0.0)]


@pytest.mark.parametrize("names", [("a",), ("a", "a"), ("a", "b", "c"), ("a", "A"), ("a", "b", "b")])
def test_a_criterion_marked_twice_or_not_at_all_is_malformed(names: tuple[str, ...]) -> None:
    with pytest.raises(Malformed):
        complete(marks(*names), {"a": "a", "b": "b"})


def test_a_rubric_with_too_many_criteria_or_names_that_read_the_same_is_malformed() -> None:
    def rubric(*names: str) -> Rubric:
        return Rubric.model_validate({"criteria": [{"name": n, "description": "d", "weight": 1} for n in names]})

    assert len(usable(rubric("a", "b"), 2).criteria) == 2
    for names in (("a", "b", "c"), ("<|a", "< |a")):
        with pytest.raises(Malformed):
            usable(rubric(*names), 2)
