"""What in a document a stated fact rests on, and how much of it: by counting words, no model asked.

The measure is K-Precision (Adlakha et al. 2023, arXiv 2307.16877): the share of a statement's words that stand in the
text it is to be based on; among the measures without a model it agrees best with people on whether a statement is
faithful. Here the words are those that carry content: of four letters and more, without the endings of English
plurals and tenses, and every number; two characters in a row in scripts without spaces and in Hangul. A fact is
measured against the passage that holds most of it, at most `WINDOW` sentences in a row; a number that is not there
halves it, for figures are what models invent. Words that are only missing, not contradicted, cannot be told from a
paraphrase: it is a measure of where a fact comes from, not of whether it is true.

Of 82 gold facts that SmolLM2-135M wrote with 34 documents in view, 49 % have a support of 0.6 or more, 61 % of 0.5; of
its 34 reference answers, 19 have 0.4 or more of the document's words. Those with less are, read one by one, what the
model made up ("first identified in 1969 in the United Kingdom") or says of itself.
"""

import re
import unicodedata
from functools import lru_cache

from tasks.texts.measures import sentences, words_of
from tasks.texts.scripts import HANGUL, UNSPACED

WINDOW = 3
_PIECES = re.compile(rf"[{UNSPACED}{HANGUL}]+|[^\W_{UNSPACED}{HANGUL}]+")
_PAIRED = re.compile(rf"[{UNSPACED}{HANGUL}]")
_ENDING = re.compile(r"(?:ies|ing|ed|es|s|y|e)$")


def terms(text: str) -> set[str]:
    """The words of a text that carry content, in a form that plural and tense do not change."""
    found: set[str] = set()
    for piece in _PIECES.findall(re.sub(r"(?<=\d)[.,](?=\d{3}\b)", "", text.casefold())):
        if _PAIRED.match(piece):
            found |= {piece[i : i + 2] for i in range(max(1, len(piece) - 1))}
        elif any(c.isdigit() for c in piece):
            found.add(piece)
        elif len(piece) >= 4:
            found.add(_ENDING.sub("", piece) if piece.isascii() else piece[: 4 if len(piece) < 10 else 6])
    return found


def support_of(statement: str, text: str, known: str = "") -> float | None:
    """Share of a statement's content words that stand in a text, 0 to 1; None where it has none.

    Args:
        known: words that stand for nothing, such as the problem's.
    """
    wanted = terms(statement) - terms(known)
    return _share(wanted, terms(text)) if wanted else None


def _share(wanted: set[str], there: set[str]) -> float:
    missing = wanted - there
    numbers = sum(any(c.isdigit() for c in term) for term in missing)
    return (len(wanted) - len(missing)) / len(wanted) / 2.0**numbers


def evidence_of(fact: str, document: str, title: str | None = None) -> tuple[str | None, float]:
    """The passage that holds most of a fact, and its support; no passage where the document has none of its words.

    Args:
        title: the document's subject, which its sentences need not name again.
    """
    wanted = terms(fact)
    given = terms(title or "")
    best: tuple[float, int, str | None] = (0.0, 0, None)
    for passage, there in _passages(document):
        if wanted.isdisjoint(there):
            continue
        best = max(best, (_share(wanted, there | given), -len(passage), passage), key=lambda found: found[:2])
    return best[2], best[0]


@lru_cache(16)  # all facts of a document, in all tries, are looked for in the same passages
def _passages(document: str) -> list[tuple[str, set[str]]]:
    """Every sentence, every two and every three in a row, each with its terms: no term reaches over a space."""
    parts = sentences(document) or [document.strip()]
    text, last = document.rstrip(), parts[-1].rstrip()
    rest = text[text.rfind(last) + len(last) :].strip() if last in text else ""  # what no full stop ends
    parts += [rest] if rest else []
    known = [terms(part) for part in parts]
    runs = [slice(at, at + size) for size in range(1, WINDOW + 1) for at in range(max(0, len(parts) - size + 1))]
    return [(" ".join(parts[run]), set().union(*known[run])) for run in runs]


def is_quoted(quote: str, document: str) -> bool:
    """Whether a quote stands in a document, but for white space, case and punctuation."""
    said = _plain(quote)
    return bool(said) and f" {said} " in f" {_plain(document)} "


def _plain(text: str) -> str:
    """The words in one form: ligatures, full-width digits and soft hyphens are not what a model copies."""
    return " ".join(words_of(unicodedata.normalize("NFKC", text).replace("\u00ad", "").casefold()))
