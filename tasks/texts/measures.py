"""Small questions about texts that several stages ask."""

import re

_SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]*(?=\s|$)|[。！？][」』”’）]*")
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Thai, Kana, Han
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_POINTING = re.compile(
    r"\b(?:(?:the|this|that|above|given|following|provided)\s+(?:\w+\s+)?"
    r"(?:passage|text|document|article|excerpt|paragraph|author)|according to the (?:text|passage|document|article)"
    r"|as (?:mentioned|described|stated) (?:above|in the)|(?:the|this|your) question)\b",
    re.IGNORECASE,
)
# "I'm sorry to hear that you …" is how a good answer to a patient begins
_REFUSAL = re.compile(
    r"^\W*(?:(?:(?:i['’]?m|i am) )?(?:\w+ )?sorry\b[^.!?\n]{0,80}\b(?:i (?:can(?:no|['’])t|won['’]t|am (?:not able"
    r"|unable))|i['’]m (?:not able|unable)|unable to)\b|i can(?:no|['’])t (?:help|assist|answer|provide)|as an ai\b)",
    re.IGNORECASE,
)


def final_answer(text: str) -> str:
    """What the judge sees: the text after a thinking model's last `</think>`."""
    _, closed, rest = text.rpartition("</think>")
    if not closed and text.lstrip().startswith("<think>"):
        return ""  # cut in the middle of its thoughts
    return rest.strip()


def full_sentences(text: str) -> str:
    """The text up to its last full sentence; empty where there is none."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]].strip() if ends else ""


def sentences(text: str) -> list[str]:
    """The full sentences of a text, in order; what follows the last one is left out."""
    found, start = [], 0
    for match in _SENTENCE_END.finditer(text):
        found.append(" ".join(text[start : match.end()].split()))
        start = match.end()
    return [sentence for sentence in found if sentence]


def repeats_itself(text: str) -> bool:
    """Whether a sentence of at least four words stands in the text twice: what small models fall into."""
    said = [sentence.casefold() for sentence in sentences(text) if len(sentence.split()) >= 4]
    return len(set(said)) < len(said)


def shares_a_word(text: str, topic: str) -> bool:
    """Whether the text names the topic: has one of its words of four letters or more (any, where none is so long)."""
    words = set(re.findall(r"\w+", topic.casefold()))
    long_words = {word for word in words if len(word) >= 4} or words
    return bool(long_words & set(re.findall(r"\w+", text.casefold())))


def points_at_source(text: str) -> str | None:
    """The phrase by which a problem points at a document that its reader will not see, if there is one."""
    match = _POINTING.search(text)
    return match.group(0) if match else None


def refuses(text: str) -> bool:
    """Whether an answer is a refusal to answer."""
    return bool(_REFUSAL.match(text))


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation; in scripts without spaces every character counts as one."""
    return _WORD.findall(text.lower())


def shingles(text: str, n: int = 5) -> set[tuple[str, ...]]:
    """Lower-case word n-grams."""
    words = words_of(text)
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def overlap(part: str, whole: str, n: int = 5) -> float:
    """Share of `part`'s word n-grams that are in `whole`; 0 where it has none."""
    own = shingles(part, n)
    return len(own & shingles(whole, n)) / len(own) if own else 0.0


def first_words(text: str, count: int) -> str:
    """The first `count` words with the white space between them as it is."""
    match = re.match(rf"\s*(?:\S+\s+){{0,{max(count - 1, 0)}}}\S*", text)
    return match.group(0).strip() if match and count > 0 else ""
