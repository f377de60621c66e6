"""Long texts are cut into passages: no word lost, none too long, and in time."""

from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus import normalise, passages, word_count
from tasks.corpus.passages import opening

TEXTS = st.lists(st.sampled_from(["one", "two.", "Three!", "4,", "\n", "\n\n", "\n" + "x" * 130 + "\n"]), max_size=200)


@given(TEXTS, st.integers(1, 40))
def test_passages_lose_and_double_no_word_and_keep_the_limit(parts: list[str], max_words: int) -> None:
    text = " ".join(parts)
    cut = passages(text, max_words)
    assert " ".join(cut).split() == text.split()
    assert all(1 <= word_count(passage) <= max_words for passage in cut)
    assert text.split()[: word_count(opening(text, max_words))] == opening(text, max_words).split()


def test_passages_end_with_paragraphs_then_sentences_and_leave_no_small_remainder() -> None:
    paragraphs = ["Hard wrapped\nlines of nine words in a paragraph."] * 9
    cut = passages("\n\n".join(paragraphs), 32)
    assert [word_count(passage) for passage in cut] == [27, 27, 27]
    assert all(passage.endswith("paragraph.") for passage in cut)
    sentences = "Dr. Who met Mrs. Poe at the gate. They spoke. " * 10
    assert all(passage.endswith(("gate.", "spoke.")) for passage in passages(sentences, 30))
    assert {word_count(passage) for passage in passages("word " * 1025, 1024)} <= set(range(480, 560))


def test_texts_that_invite_slow_patterns_are_cut_in_time() -> None:
    for text in (" " * 10**6, "x" * 10**6, "a" + " " * 10**6 + "b.", "word " * 2000 + "x" * 10**6, '."' * 10**5):
        assert len(passages(normalise("a b " + text), 1024)) <= 3
