"""What in a document a fact rests on: found by counting words, in every script."""

import pytest

from tasks.texts.evidence import evidence_of, is_quoted, support_of

TEXT = (
    "Measles is caused by a virus. It spreads through coughs and sneezes and stays in the air for two hours. "
    "One case may infect nine of ten people nearby who are not immune. There is no specific antiviral."
)


@pytest.mark.parametrize(
    ("fact", "passage", "least", "most"),
    [
        ("The virus spreads by coughs and sneezes.", "It spreads through coughs and sneezes", 0.7, 1.0),
        ("Measles spread through coughing and stay in air.", "It spreads through coughs", 0.6, 1.0),
        ("It was first identified in 1969 in the United Kingdom.", None, 0.0, 0.2),
        ("One case may infect 40 people nearby.", "One case may infect", 0.3, 0.5),  # the figure is invented
        ("Vitamin supplements repair bones quickly.", None, 0.0, 0.0),
        ("", None, 0.0, 0.0),
    ],
)
def test_the_passage_that_holds_most_of_a_fact(fact: str, passage: str | None, least: float, most: float) -> None:
    found, support = evidence_of(fact, TEXT, "Measles")
    assert least <= support <= most
    assert passage is None or (found is not None and passage in found and found in TEXT)


def test_other_scripts_are_measured_by_their_characters() -> None:
    text = "肝脏储存糖原。它制造胆汁，分解药物。"
    assert evidence_of("肝脏制造胆汁。", text)[1] >= 0.6 > evidence_of("肾脏过滤血液。", text)[1]
    assert support_of("Печень хранит гликоген", "В печени хранится гликоген.") == pytest.approx(1.0)


def test_the_words_of_the_problem_support_nothing() -> None:
    assert support_of("Measles is caused by kittens.", TEXT, "What causes measles?") == 0.0
    assert support_of("Measles!", TEXT, "What causes measles?") is None


@pytest.mark.parametrize(
    ("quote", "there"),
    [
        ("it SPREADS  through coughs\nand sneezes", True), ("“One case may infect nine of ten people nearby…”", True),
        ("It spreads through touch", False), ("", False), (" . ", False), ("is caused by a virus it spreads", True),
        ("caused by a vir", False), ("It spreads in the air for two hours", False),  # every word of it is there
    ],
)  # fmt: skip
def test_a_quote_is_the_documents_own_words(quote: str, there: bool) -> None:
    assert is_quoted(quote, TEXT) == there


def test_a_quote_may_differ_in_form_and_stand_inside_an_unspaced_run() -> None:
    assert is_quoted("The first fluid", "The ﬁrst ﬂu\u00adid of １２ drops.") and is_quoted("12 drops", "of １２ drops")
    assert is_quoted("制造胆汁", "肝脏储存糖原。它制造胆汁，分解药物。") and not is_quoted("制造糖原", "它制造胆汁。")


def test_what_no_full_stop_ends_is_a_passage_whole() -> None:
    found, support = evidence_of(
        "Diabetes harms the retina", "The eye is small. It is so. Diabetes harms the retina badly"
    )
    assert (found, support) == ("Diabetes harms the retina badly", 1.0)
    assert (
        evidence_of("harms the eye", "a text without an end that harms the eye   ")[0]
        == "a text without an end that harms the eye"
    )
