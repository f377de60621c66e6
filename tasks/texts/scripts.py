"""Scripts: which of them part words by spaces, which one a text is written in, and what follows from that.

Ranges are those of the Unicode blocks; `re` knows no scripts. Digits and punctuation belong to none.
"""

import re
from collections import Counter

from resiliparse.parse.lang import detect_fast

HAN = "\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KANA = "\u3031-\u3035\u3040-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
BOPOMOFO = "\u3105-\u312f"
# without spaces, and with about as many letters a word as English has: Thai, Lao, Tibetan, Burmese, Khmer
ALPHABETIC = "\u0e00-\u0e7f\u0e80-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"
DEPENDENT = (  # vowel signs and tone marks of these: no text begins with one
    "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ecd\u0f71-\u0f84\u0f90-\u0fbc\u102b-\u103e\u17b4-\u17d3"
)
UNSPACED = HAN + KANA + BOPOMOFO + ALPHABETIC
HANGUL = "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"
# letters of other scripts are joined by marks and by joiners that `\w` does not hold: Hebrew and Arabic vowels, Indic
# vowel signs, accents that have no letter of their own
JOINED = (
    "\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc"
    "\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0900-\u0963\u0966-\u096f\u0971-\u0dff\u200c\u200d"
)

_SCRIPTS = {
    "Latin": "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff",
    "Han": HAN, "Kana": KANA, "Hangul": HANGUL, "Bopomofo": BOPOMOFO,
    "Cyrillic": "\u0400-\u052f", "Greek": "\u0370-\u03ff\u1f00-\u1fff", "Armenian": "\u0531-\u058f",
    "Georgian": "\u10a0-\u10ff\u1c90-\u1cbf\u2d00-\u2d2f", "Hebrew": "\u0590-\u05ff\ufb1d-\ufb4f",
    "Arabic": "\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefc", "Ethiopic": "\u1200-\u139f",
    "Devanagari": "\u0900-\u0963\u0966-\u097f", "Bengali": "\u0980-\u09ff", "Gurmukhi": "\u0a00-\u0a7f",
    "Gujarati": "\u0a80-\u0aff", "Odia": "\u0b00-\u0b7f", "Tamil": "\u0b80-\u0bff", "Telugu": "\u0c00-\u0c7f",
    "Kannada": "\u0c80-\u0cff", "Malayalam": "\u0d00-\u0d7f", "Sinhala": "\u0d80-\u0dff", "Thai": "\u0e00-\u0e7f",
    "Lao": "\u0e80-\u0eff", "Tibetan": "\u0f00-\u0fff", "Burmese": "\u1000-\u109f", "Khmer": "\u1780-\u17ff",
}  # fmt: skip
_RUNS = {name: re.compile(f"[{characters}]+") for name, characters in _SCRIPTS.items()}
_WEIGHT = {"Han": 3, "Kana": 3, "Hangul": 2}  # a character of these says about as much as so many letters
_LOOKED_AT = 2000  # characters
_LATIN = re.compile(f"[{_SCRIPTS['Latin']}]")
_NOT_LATIN = re.compile(f"[{''.join(run for name, run in _SCRIPTS.items() if name != 'Latin')}]")
_ENGLISH = re.compile(r"\b(?:the|of|and|to|is|that|for|with|are|was|from|this|by|have|you)\b", re.IGNORECASE)
_ENGLISH_SHARE, _ENOUGH_WORDS = 0.06, 20
_UNSURE = 1200  # the detector's out-of-place measure: what is further from every language it knows is none of them
_TOLD_APART = frozenset({"Latin", "Cyrillic", "Arabic"})  # it takes Hindi for Nepali
_NAMES = {
    "en": "English", "fr": "French", "de": "German", "es": "Spanish", "pt": "Portuguese", "it": "Italian",
    "nl": "Dutch",
    "sv": "Swedish", "no": "Norwegian", "nb": "Norwegian", "nn": "Norwegian", "da": "Danish", "fi": "Finnish",
    "pl": "Polish", "cs": "Czech", "sk": "Slovak", "sl": "Slovenian", "hr": "Croatian", "hu": "Hungarian",
    "ro": "Romanian", "tr": "Turkish", "vi": "Vietnamese", "id": "Indonesian", "ca": "Catalan", "la": "Latin",
    "ru": "Russian", "uk": "Ukrainian", "bg": "Bulgarian", "sr": "Serbian", "ar": "Arabic", "fa": "Persian",
    "ur": "Urdu", "sw": "Swahili",
}  # fmt: skip
LANGUAGES_OF = {
    "Han": "Chinese", "Han and Kana": "Japanese", "Kana": "Japanese", "Hangul": "Korean", "Hebrew": "Hebrew",
    "Greek": "Greek", "Thai": "Thai", "Tamil": "Tamil", "Georgian": "Georgian", "Armenian": "Armenian", "Lao": "Lao",
    "Burmese": "Burmese", "Khmer": "Khmer", "Bopomofo": "Chinese",
}  # fmt: skip
QUESTION_MARKS = ("?", "？", "؟", "\u037e", "⁇", "か。")  # the last one: a question in Japanese needs no mark
_NO_MARKS = frozenset({"Thai", "Lao", "Tibetan", "Burmese", "Khmer"})  # a question is one by its words


def scripts(text: str) -> Counter[str]:
    """How many letters of the text's beginning each script has; a Han character counts as several."""
    start = text[:_LOOKED_AT]
    if start.isascii():
        return Counter(Latin=len(start)) if _LATIN.search(start) else Counter()
    found = {name: sum(map(len, run.findall(start))) * _WEIGHT.get(name, 1) for name, run in _RUNS.items()}
    return Counter({name: count for name, count in found.items() if count})


def script_of(text: str) -> str | None:
    """The script that most of a text is written in; Japanese is the mixture "Han and Kana". None: no letters."""
    found = scripts(text)
    if not found:
        return None
    if found["Kana"] and found["Kana"] + found["Han"] > sum(found.values()) / 2:
        return "Han and Kana" if 20 * found["Kana"] > found["Han"] else "Han"
    return max(found, key=lambda name: (found[name], name))


def language_of(text: str) -> str | None:
    """The language of a text: its name, or "Cyrillic script" where that is all that can be told. None: too short.

    The script says it where it has one language; else resiliparse's detector does, unless the text is English for
    certain: at least 6 % of its words are the commonest ones of English (of an English text, 20 to 30 %).
    """
    script = script_of(text)
    if script is None or script in LANGUAGES_OF:
        return LANGUAGES_OF.get(script or "")
    start = text[:_LOOKED_AT]
    words = len(start.split())
    if words < _ENOUGH_WORDS and script == "Latin":
        return None
    if script == "Latin" and len(_ENGLISH.findall(start)) >= _ENGLISH_SHARE * words:
        return "English"
    if script not in _TOLD_APART:
        return f"{script} script"
    code, distance = detect_fast(start)
    return _NAMES.get(code, f"{script} script") if distance < _UNSURE else f"{script} script"


def is_latin(text: str) -> bool:
    """Whether a text has no letter of another script."""
    return text.isascii() or not _NOT_LATIN.search(text)


def share_a_script(one: str, other: str) -> bool:
    """Whether a word of the one could stand in the other. Han and Kana go together; without letters, it could."""
    mine, yours = _families(one), _families(other)
    return not mine or not yours or bool(mine & yours)


def _families(text: str) -> set[str]:
    return {"Han" if name == "Kana" else name for name in scripts(text)}


def question_mark(text: str) -> str:
    """The mark that ends a question in the script of a text."""
    return {"Han": "？", "Han and Kana": "？", "Kana": "？", "Arabic": "؟"}.get(script_of(text) or "", "?")


def ends_as_question(text: str) -> bool:
    """Whether the last mark is one of those that end a question somewhere."""
    return text.rstrip(" \"'”’」』）)").endswith(QUESTION_MARKS)


def may_be_question(text: str) -> bool:
    """Like `ends_as_question`, and true of scripts that have no such mark."""
    return ends_as_question(text) or script_of(text) in _NO_MARKS
