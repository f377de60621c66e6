"""Whether a text is whole, or ends where something was to follow: in a lead-in, a list mark, a colon, half a sentence.

Generation ends at a stop text of ours as well as where the model ends, and the server calls both "stop". A text that
the model ended itself is doubted only for what nothing can end with; one that a stop text ended is whole only if its
last sentence is.
"""

import re

from tasks.texts.length import WORD, length
from tasks.texts.measures import ends_sentence

_CLOSING = re.compile(r"(?:[*_`~\s]|\[[\d,;\s–-]+\])+$")  # marks of Markdown and of sources after the last sentence
_COLON = re.compile(r"[:：፡᠄][\s\"'”’»」』*_]*$")
_OPEN = re.compile(r"(?:[,;，、；،؛([{（「『“‘«=+/&]|\s[-–—]|\b(?:e\.g|i\.e|viz|vs)\.)$")
_ITEM = re.compile(r"\s*(?:[-*•・●–]|[(（]?(?:\d{1,3}|[A-Za-z])[.)）]|\d{1,2}[、．]|[①-⑳])\s*(?=\S)")
_MARK = re.compile(
    r"(?:^|[\n:：;.!?。！？]\s*)\W*(?:(\d{1,2})[.)）、．]|[([（](\d{1,2}|[a-zA-Z])[)\]）]|[a-hA-H][.)]|[-•・●–*+])\W*$"
)
_HEADING = re.compile(r"\s*(?:#{1,6}\s.*|\*\*[^*]+\*\*|__[^_]+__)\s*")
# no sentence ends with one of these
_DANGLING = re.compile(
    r"\b(?:and|or|but|nor|because|although|though|whereas|while|if|unless|when|which|whose|that|than|as|such as|like"
    r"|the|an?|of|in|on|at|to|for|from|with|without|between|into|by|about|including|includes?|are|is|was|were|be|been"
    r"|has|have|had|can|may|might|should|must|will|would|could|its|their|his|her|your|our|my|these|those|e\.?g|i\.?e)"
    r"$",
    re.IGNORECASE,
)
# a sentence that only says that something follows, whatever mark it ends with
_LEAD_IN = re.compile(
    r"(?:here (?:are|is|comes?)\b(?! (?:no|not|nothing|why|where|how|what)\b)[^.!?]{0,120}"
    r"|(?:the )?following (?:are|is)\b[^.!?]{0,120}"
    r"|(?:let['’]s|let us|let me) (?:begin|start|look|go|think|take|break|explore|dive|see|consider|examine|walk|work)"
    r"\b[^.!?]{0,100}"
    r"|(?:i (?:will|shall)|i['’]ll|we (?:will|shall)|we['’]ll) (?:now )?(?:begin|start|go|list|explain|walk|look"
    r"|discuss"
    r"|outline|describe)\b[^.!?]{0,100}"
    r"|(?:below|these) (?:are|is)\b[^.!?]{0,20}\b(?:some|few|the (?:most|main|key|following))\b[^.!?]{0,80}"
    r"|[^.!?]{0,120}\b(?:as follows|(?:are|is|includes?|has|have|by|do|try|consider|of|need|uses?"
    r"|takes?) the following(?: [\w-]+){0,3}|(?:listed|given|outlined|described|explained) below)"
    r")[.!…]*",
    re.IGNORECASE,
)
_RUNS = re.compile(r"\n{3,}|[^\S\n]{2,}")
_WORDS_AT_END = 16  # characters: longer than all that `_OPEN` and `_DANGLING` know; they look nowhere else
_LOOKED_AT = 1500  # characters at the end: no more decides, and no text takes long
_SHORT = 3 * WORD  # "Paris", "42 km": an answer, not the beginning of a sentence
_LINES = 3  # lines without a full stop are a list or a verse from here on


def unfinished(text: str, stop: str = "") -> str | None:
    """Why a text is not whole, in a few words; None where it is.

    Args:
        stop: the stop text of ours that ended it; empty where the model ended it. Where one line was asked for (a line
            break as the stop text), its end is the end that was wanted.
    """
    text = _RUNS.sub(lambda run: run.group(0)[0], text.rstrip()[-_LOOKED_AT:])
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    said = _CLOSING.sub("", text) if text[-1] in "*_`~]" else text
    if _COLON.search(text) or _COLON.search(said):
        return "it ends in a colon"
    if not said or not lines[-1].strip(" *-•·●–+") or _ends_in_mark(said):
        return "it ends in a list mark"
    if _HEADING.fullmatch(lines[-1]) and len(lines) > 1 and not ends_sentence(said):
        return "it ends in a heading"
    if _OPEN.search(said, max(0, len(said) - _WORDS_AT_END)) or _dangles(said):
        return f"it ends in half a sentence ({said[-30:]!r})"
    if _LEAD_IN.fullmatch(_last_sentence(said)):
        return f"it ends in a lead-in ({_last_sentence(said)[:60]!r})"
    if stop and stop != "\n" and not ends_sentence(stop.strip()) and not _ends_well(said, text, lines):
        return f"it ends in half a sentence at the stop text {stop!r} ({said[-30:]!r})"
    return None


def _dangles(text: str) -> bool:
    """Whether it ends in a word that no sentence ends with; "vitamin A" is no sentence."""
    match = _DANGLING.search(text, max(0, len(text) - _WORDS_AT_END))
    return match is not None and (match.group(0) not in ("a", "A") or length(text) > _SHORT)


def _ends_in_mark(text: str) -> bool:
    """A list mark with nothing behind it. A number is one if it is the first, or follows that of an item before."""
    match = _MARK.search(text, max(0, len(text) - 40))
    if match is None:
        return False
    number = match.group(1) or match.group(2)
    if not number or not number.isdigit():
        return "\n" in text.strip() or ":" in text or (len(text.strip()) <= 2 and not text.strip().isalnum())
    before = re.findall(r"(?:^|\s)\W*(\d{1,2})[.)）、．]", text[: match.start()])
    wanted = {str(int(one) + 1) for one in before} or {"1"}
    return number in wanted and bool(text[: match.start()].strip())


def _last_sentence(text: str) -> str:
    ends = [m.end() for m in re.finditer(r"(?<=[.!?…])[\"'”’)\]]*\s+|\n+", text)]
    return text[ends[-1] :].strip(" *_#>-") if ends else text.strip(" *_#>-")


def _ends_well(said: str, text: str, lines: list[str]) -> bool:
    """Whether a text without a colon, mark or open word at its end is complete."""
    if ends_sentence(said) or text.endswith(("```", "$", "\\]", "\\)", "|", ">", "}")):
        return True
    if ord(said[-1]) > 0x2000 and not said[-1].isalnum():  # an ellipsis, an emoji, a sign
        return True
    if len(lines) == 1:
        return length(said) <= _SHORT or bool(re.search(r"https?://\S+$", said))
    if length(lines[-1]) <= _SHORT and lines[-2].rstrip().endswith(","):  # who signs a letter
        return True
    others = lines[:-1]
    items = [line for line in others if _ITEM.match(line)]
    if _ITEM.match(lines[-1]) and items:
        return not any(ends_sentence(_CLOSING.sub("", line)) for line in items)
    bare = sum(not ends_sentence(_CLOSING.sub("", line)) for line in others)
    return len(lines) >= _LINES and bare > len(others) / 2
