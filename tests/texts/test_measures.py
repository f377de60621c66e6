"""Questions about plain texts: facts, problems and answers in them, refusals, sentences, words, overlap."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.outputs import ProposedProblem
from tasks.answer import judgeable
from tasks.asking.asker import Bad
from tasks.asking.parse import Malformed
from tasks.propose import _question
from tasks.rubric import facts_rubric
from tasks.texts.length import first_words, has_unspaced, word_count
from tasks.texts.measures import full_sentences, overlap, points_at_source
from tasks.texts.refusals import refuses
from tasks.texts.thoughts import final_answer
from tests.asking.samples import CHECKS, generation

few = settings(max_examples=60, deadline=None)


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


def test_a_reference_answer_that_speaks_of_its_source_is_leaky() -> None:
    with pytest.raises(Bad, match="reference answer points at its source: 'The text'"):
        CHECKS.both(ProposedProblem(problem="Why do leaves turn red?", reference_answer="The text says it is sugar."))


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
    if has_unspaced(text):  # what the words of other scripts are, tests/texts/test_languages.py says
        assert word_count(first_words(text, count)) <= count
    else:
        assert first_words(text, count).split() == text.split()[:count]


def test_overlap_is_the_share_of_n_grams() -> None:
    assert overlap("a b c d", "x a b c y", 3) == 0.5  # "a b c" of ("a b c", "b c d")
    assert overlap("a b", "a b", 3) == 0.0
