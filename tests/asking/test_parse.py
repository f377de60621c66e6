"""A completion is read as exactly what was asked for, or refused: none crashes a parser or becomes a wrong number."""

import json
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.outputs import Duel, Mark, MarkSheet, Output, ProposedProblem, Rubric, TwoMarks
from tasks.answer import judgeable
from tasks.asking.asker import Bad
from tasks.asking.parse import MAX_CHARS, Malformed, format_instructions, parse
from tasks.engine.protocol import Generation
from tasks.judging.pointwise import complete
from tasks.prompts import data
from tasks.propose import Checks, _question, _with_reference
from tasks.rubric import facts_rubric, usable
from tasks.texts.measures import final_answer, first_words, full_sentences, overlap, points_at_source, refuses
from tests.samples import HOSTILE, config, plan_of

CHECKS = Checks(plan_of(config()))

FORMATS = ("json_schema", "tags")
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


def sheet(*ratings: object, thoughts: str = "so", output_format: str = "json_schema") -> str:
    """A mark sheet as a judge writes it; criteria are called c0, c1, …"""
    marks = [{"name": f"c{n}", "thoughts": thoughts, "rating": rating} for n, rating in enumerate(ratings)]
    if output_format == "json_schema":
        return json.dumps({"marks": marks})
    return "\n".join(f"<mark>\n{''.join(f'<{k}>{v}</{k}>' for k, v in mark.items())}\n</mark>" for mark in marks)


def generation(text: str, finish: str = "stop") -> Generation:
    """A call that gave this text."""
    return Generation("g", "s", "answer", "m", "e", [], "{}", text, finish, 1, 1, 0.1, 0)


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


# Plain text


def test_facts_are_the_sentences_that_say_something_new() -> None:
    text = """Here are the facts:
    1. Leber's disease comes from mutations of mitochondrial DNA.
    2) "It strikes young men more often than women."
    - 2.5 mg of the drug are taken daily.
    -5 °C is where the mixture freezes.
    * Leber's disease comes from mutations of mitochondrial DNA!
    Why does it strike men?
    The passage says that it is rare.
    2.5 mg is the usual starting dose."""
    facts = [c.gold for c in facts_rubric(text, "What causes Leber's disease?", 9).criteria]
    assert facts == [
        "Leber's disease comes from mutations of mitochondrial DNA.",
        "It strikes young men more often than women.",
        "2.5 mg of the drug are taken daily.",
        "-5 °C is where the mixture freezes.",
        "2.5 mg is the usual starting dose.",
    ]
    assert len(facts_rubric(text, "What causes Leber's disease?", 2).criteria) == 2


def test_a_fact_that_says_the_problem_again_is_no_criterion() -> None:
    with pytest.raises(Malformed):
        facts_rubric("The sky is blue during the day.", "Why is it that the sky is blue during the day?", 3)


def test_a_problem_is_the_first_line_without_its_label() -> None:
    assert (
        _question('**Question:** "What causes rain in spring?"\nAnd more', None, CHECKS)
        == "What causes rain in spring?"
    )
    with pytest.raises(Malformed):
        _question("Why?", None, CHECKS)
    with pytest.raises(Bad, match="points at its source"):
        _question("What does the passage say about rain?", None, CHECKS)


def test_a_problem_that_gives_its_answer_away_is_leaky() -> None:
    reference = "Rain falls because warm air rises and cools until water condenses"
    with pytest.raises(Bad, match="5-grams"):
        CHECKS.both(ProposedProblem(problem=f"Why is it that {reference}?", reference_answer=reference))


def test_thoughts_are_no_part_of_an_answer() -> None:
    assert final_answer("<think>a</think> b </think>\nc ") == "c"
    assert final_answer("<think>never closed") == ""
    assert judgeable(generation("<think>a b c.</think>"), "drop")[1] == "empty"
    assert judgeable(generation("<think>I think. And so", "length"), "sentence")[:2] == (None, "truncated")


def test_a_cut_answer_is_used_up_to_its_last_sentence_only_if_so_set() -> None:
    cut = generation("It rains. Then it st", "length")
    assert judgeable(cut, "drop")[:2] == (None, "truncated")
    final, status, reason = judgeable(cut, "sentence")
    assert (final, status) == ("It rains.", "ok")
    assert reason and "last full sentence" in reason
    assert judgeable(generation("no sentence at all", "length"), "sentence")[:2] == (None, "truncated")


@pytest.mark.parametrize("finish", ["content_filter", "too_long", "rejected", "length"])
def test_what_the_server_did_not_finish_is_not_judged(finish: str) -> None:
    final, status, reason = judgeable(generation("Half a text. And", finish), "drop")
    assert final is None
    assert status != "ok"
    assert reason


@pytest.mark.parametrize(
    "text", ["I'm sorry, but I can't help with that.", "I’m sorry, I cannot answer.", "Sorry, I am unable to say.",
             "I cannot provide medical advice.", "As an AI language model, I have no views."],
)  # fmt: skip
def test_refusals_are_seen(text: str) -> None:
    assert refuses(text)


@pytest.mark.parametrize(
    "text", ["I'm sorry to hear that you are in pain. Rest, and drink much water.", "Sorry is the hardest word.",
             "One cannot provide heat to a body without work.", "I am sorry for your loss; grief takes time."],
)  # fmt: skip
def test_sympathy_is_no_refusal(text: str) -> None:
    assert not refuses(text)


def test_a_pointer_at_the_source_is_found() -> None:
    for text in (
        "as mentioned above",
        "According to the text, why?",
        "in this short passage",
        "What is the author's view?",
    ):
        assert points_at_source(text)
    for text in ("Why does context matter?", "What is a passageway?", "Who wrote Hamlet?"):
        assert points_at_source(text) is None


def test_sentences_end_where_a_sentence_ends() -> None:
    assert full_sentences('He took 2.5 mg. "Good!" she said. Then he') == 'He took 2.5 mg. "Good!" she said.'
    assert full_sentences("no end") == ""


def test_the_first_words_keep_their_white_space() -> None:
    text = " a  b\n\nc d "
    assert [first_words(text, n) for n in (0, 1, 3, 9)] == ["", "a", "a  b\n\nc", "a  b\n\nc d"]


@few
@given(st.text(max_size=60), st.integers(0, 20))
def test_the_first_words_are_that_many_words(text: str, count: int) -> None:
    assert first_words(text, count).split() == text.split()[:count]


def test_overlap_is_the_share_of_n_grams() -> None:
    assert overlap("a b c d", "x a b c y", 3) == 0.5  # "a b c" of ("a b c", "b c d")
    assert overlap("a b", "a b", 3) == 0.0


# Everything at once, and in linear time


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
        started = time.process_time()
        try:
            found = PARSERS[name](text)
        except (Malformed, Bad):
            continue
        except ValueError as error:  # pydantic's own, which `Asker` takes for malformed
            assert type(error).__name__ == "ValidationError", (name, text[:200])
            continue
        finally:
            assert time.process_time() - started < 1.0, (name, text[:80])
        if isinstance(found, MarkSheet):
            assert {mark.rating for mark in found.marks} <= {0, 1, 2}
        if isinstance(found, Rubric):
            assert all(0 < criterion.weight <= 100 for criterion in found.criteria)
