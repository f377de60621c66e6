"""What perplexity gives and scores: the first words and those that follow, in scripts without spaces too."""

from tasks.evaluation.perplexity import GIVEN_WORDS, given_and_scored
from tasks.texts.length import word_count


def test_the_first_words_are_given_and_the_next_are_scored() -> None:
    words = [f"w{n}" for n in range(40)]
    given, scored = given_and_scored("  \n".join(words), 30)
    assert (given, scored) == (" ".join(words[:GIVEN_WORDS]), " ".join(words[GIVEN_WORDS:30]))
    assert given_and_scored(" ".join(words[:GIVEN_WORDS]), 30)[1] == ""


def test_a_chinese_document_is_scored() -> None:
    text = "肝脏把多余的糖变成糖原存起来。" * 20
    given, scored = given_and_scored(text, 60)
    assert text.startswith(given + scored) and word_count(given) == GIVEN_WORDS and word_count(given + scored) <= 60
    assert word_count(scored) >= 45
