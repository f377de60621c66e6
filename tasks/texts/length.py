"""The one measure of length: words where a script has them, characters in a fixed proportion where it has none.

A word is what white space parts, as it always was. In scripts without spaces, five characters count as

    three words in Chinese characters, two in Kana, one in Thai, Lao, Tibetan, Burmese and Khmer letters;

punctuation between them counts as nothing. So 1,000 words of English are 1,670 characters of Chinese or about 2,100 of
Japanese, which mix both. The proportions are those that translators reckon with: 1,300 to 1,800 Chinese characters for
1,000 English words (AnyCount, Word Count in Oriental Languages), 1.6 to 1.7 characters a word of running Chinese
(DeFrancis 1943, Zheng 1957), 1.95 Japanese characters an English word, and for the alphabets the five letters of an
English word. Minimum and maximum of documents, cutting, what fits a context, gaps between the lengths of answers, and
every column `words` are in this measure.
"""

import re

from tasks.texts.scripts import ALPHABETIC, BOPOMOFO, DEPENDENT, HAN, KANA, UNSPACED

WORD = 5  # fifths of a word: what lengths are added up in, so that parts of a text sum up to it
_WITHOUT_SPACES = re.compile(f"[{UNSPACED}]")
_FIFTHS = ((re.compile(f"[{HAN}]"), 3), (re.compile(f"[{KANA}{BOPOMOFO}]"), 2), (re.compile(f"[{ALPHABETIC}]"), 1))
_SAID = re.compile(r"\w")
# one character of a script without spaces with what cannot stand without it, or a run of anything else
_PIECE = re.compile(rf"\s*(?:[{UNSPACED}][{DEPENDENT}]*|[^\s{UNSPACED}]+)")


def has_unspaced(text: str) -> bool:
    """Whether a text has letters of a script that does not part words by spaces."""
    return not text.isascii() and bool(_WITHOUT_SPACES.search(text))


def length(text: str) -> int:
    """Length in fifths of a word (`WORD`)."""
    if not has_unspaced(text):
        return WORD * len(text.split())
    fifths = sum(worth * len(characters.findall(text)) for characters, worth in _FIFTHS)
    return fifths + sum(WORD * _others(chunk) for chunk in text.split())


def _others(chunk: str) -> int:
    """Words of other scripts in what white space parts; marks between unspaced characters are none."""
    if not _WITHOUT_SPACES.search(chunk):
        return 1
    return sum(1 for part in _WITHOUT_SPACES.split(chunk) if _SAID.search(part))


def word_count(text: str) -> int:
    """Words, a part of one as a whole: 8 Chinese characters are 24 fifths, so 5 words."""
    return -(-length(text) // WORD)


def first_words(text: str, count: int) -> str:
    """As much of a text's beginning as `count` words hold, with the white space between them as it is."""
    if count <= 0:
        return ""
    if not has_unspaced(text):
        match = re.match(rf"\s*(?:\S+\s+){{0,{count - 1}}}\S*", text)
        return match.group(0).strip() if match else ""
    if length(text) <= WORD * count:
        return text.strip()
    left, end, apart = WORD * count, 0, True
    for match in _PIECE.finditer(text):
        piece = match.group(0)
        spaced = apart or piece[:1].isspace()
        cost = length(piece) if has_unspaced(piece) else _cost(piece, spaced, text[match.end() : match.end() + 1])
        if cost > left:
            break
        left, apart = left - cost, False
        end = match.end() if cost or not spaced else end  # an opening mark belongs to what follows
    return text[:end].strip()


def _cost(piece: str, spaced: bool, after: str) -> int:
    """Of a run of other characters: marks count only where white space stands on both sides, as `length` has it."""
    alone = spaced and (not after or after.isspace())
    return WORD if alone or _SAID.search(piece) else 0
