"""Small questions about texts that several stages ask."""

import re
from itertools import combinations

from tasks.texts.length import WORD, has_unspaced, length
from tasks.texts.phrases import POINTING
from tasks.texts.scripts import HANGUL, JOINED, UNSPACED, is_latin, share_a_script

# 3.14 and "e.g." have no white space after them; the marks of other scripts need none
_SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]*(?=\s|$)|[。！？｡．؟۔।॥።။།][\"'」』”’）)】\]]*")
_ITEM_MARK = re.compile(r"\s*[*_(]*\d{1,2}\.")
_SENTENCES = 200  # looked at for repetitions
_WORD = re.compile(rf"[{UNSPACED}]|(?:[^\W{UNSPACED}]|(?<=[^\W{UNSPACED}])[{JOINED}]+)+")
_ALONE, _HANGUL = re.compile(f"[{UNSPACED}]"), re.compile(f"[{HANGUL}]")
_POINTING = re.compile(
    r"\b(?:(?:the|this|that|above|given|following|provided)\s+(?:\w+\s+)?"
    r"(?:passage|text|document|article|excerpt|paragraph|author)|according to the (?:text|passage|document|article)"
    r"|as (?:mentioned|described|stated) (?:above|in the)|(?:the|this|your) question)\b"
    r"|^\W*the subject is\b|\bthe facts are(?:\s*:| (?:about|that)\b)",
    re.IGNORECASE,
)


def full_sentences(text: str) -> str:
    """The text up to its last full sentence; empty where there is none. The mark of a list item is no sentence."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text) if not _is_item(text, match.end())]
    return text[: ends[-1]].strip() if ends else ""


def _is_item(text: str, end: int) -> bool:
    """Whether what ends there is only the mark of a list item, such as `2.` at the beginning of a line."""
    begin = max(text.rfind("\n", 0, end - 1) + 1, end - 12)
    alone = begin == 0 or text[begin - 1] == "\n"
    return alone and bool(_ITEM_MARK.fullmatch(text, begin, end))


def ends_sentence(text: str) -> bool:
    """Whether a text ends with the mark that ends a sentence, in any script, quotes and brackets behind it included."""
    return any(match.end() == len(text) for match in _SENTENCE_END.finditer(text, max(0, len(text) - 12)))


def sentences(text: str) -> list[str]:
    """The full sentences of a text, in order; what follows the last one is left out."""
    found, start = [], 0
    for match in _SENTENCE_END.finditer(text):
        found.append(" ".join(text[start : match.end()].split()))
        start = match.end()
    return [sentence for sentence in found if sentence]


def repeats_itself(text: str) -> bool:
    """Whether a sentence of at least four words stands in the text twice, or again but for a word or two: what small
    models fall into. Two are the same that share four fifths of their word 3-grams (Jaccard)."""
    said = [sentence[:600] for sentence in sentences(text)[:_SENTENCES] if length(sentence) >= 4 * WORD]
    grams = [shingles(sentence, 3) or {(sentence.casefold(),)} for sentence in said]
    return any(len(a & b) >= 0.8 * len(a | b) for a, b in combinations(grams, 2))


def shares_a_word(text: str, topic: str) -> bool:
    """Whether the text names the topic: has one of its words of four letters or more (any, where none is so long).

    Only Latin letters are held to whole words. In other scripts, where words take prefixes and endings or no spaces
    stand between them, three letters in a row are enough, or two characters of Chinese, Kana and Hangul. A title in a
    script that the text does not use (`report_17` over a Chinese text) cannot be asked for.
    """
    if not share_a_script(text, topic):
        return True
    said = text.casefold()
    words = set(re.findall(r"\w+", topic.casefold()))
    long_words = {word for word in words if len(word) >= 4} or words
    if is_latin(topic) or long_words & set(re.findall(r"\w+", said)):
        return bool(long_words & set(re.findall(r"\w+", said)))
    return any(part in said for part in letter_runs(topic))


def letter_runs(text: str) -> set[str]:
    """What stands for words in a text whose words have no fixed form: runs of three letters inside its words, of two
    characters in scripts without spaces and in Hangul; a shorter word as it is."""
    runs: set[str] = set()
    for word in re.findall(rf"[{UNSPACED}{HANGUL}]+|(?:[^\W{UNSPACED}{HANGUL}]|[{JOINED}])+", text.casefold()):
        n = min(len(word), 2 if re.match(f"[{UNSPACED}{HANGUL}]", word) else 3)
        runs |= {word[i : i + n] for i in range(len(word) - n + 1)}
    return runs


def points_at_source(text: str) -> str | None:
    """The phrase by which a problem points at a document that its reader will not see, if there is one."""
    match = _POINTING.search(text) or (None if text.isascii() else POINTING.search(text))
    return match.group(0) if match else None


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation; in scripts without spaces every character counts as one."""
    return _WORD.findall(text.lower())


def content_words(text: str) -> set[str]:
    """What a text is about: words of four letters or more; two characters in a row where every character is a word, and
    in Hangul, whose words are short and take endings. The same as the macro `content_words` of the SQL views."""
    words = words_of(text)
    hangul = [word for word in words if _HANGUL.search(word)]
    long_words = {word for word in words if len(word) >= 4} - set(hangul)
    alone = [bool(_ALONE.fullmatch(word)) for word in words]
    pairs = {words[i] + words[i + 1] for i in range(len(words) - 1) if alone[i] and alone[i + 1]}
    return long_words | pairs | {word[i : i + 2] for word in hangul for i in range(max(1, len(word) - 1))}


def shingles(text: str, n: int = 5) -> set[tuple[str, ...]]:
    """Lower-case word n-grams."""
    words = words_of(text)
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def overlap(part: str, whole: str, n: int = 5) -> float:
    """Share of `part`'s word n-grams that are in `whole`; 0 where it has none."""
    own = shingles(part, n)
    return len(own & shingles(whole, n)) / len(own) if own else 0.0


def gram_size(text: str, most: int) -> int:
    """The n for n-grams of a text: `most`, or less where it has fewer words (characters, in scripts without)."""
    return max(1, min(most, len(text.split()) if not has_unspaced(text) else len(words_of(text))))
