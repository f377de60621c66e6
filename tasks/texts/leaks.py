"""What a server lets through that is no part of a text: marks of a chat template, turns after the end of this one,
marks of a tokenizer in place of spaces, a call of a tool, an error of its own.

Judged and trained on, such a text teaches them. Marks that only end it are taken off, for it is whole without them; all
else cannot be mended by rule, and the text is malformed.
"""

import re
import unicodedata

_END = (
    r"<\|(?:im_end|eot_id|eom_id|endoftext|end_of_text|eot|eos|end|endofanswer|return|pad|padding)\|>"
    r"|<｜end▁of▁sentence｜>|<end_of_turn>|<turn\|>|</s>|<eos>|<pad>|\[PAD\]|<\|END_OF_TURN_TOKEN\|>"
)
_START = (
    r"<\|(?:im_start|start_header_id|end_header_id|begin_of_text|startoftext|user|assistant|system|start|message)\|>"
    r"|<｜(?:User|Assistant|begin▁of▁sentence)｜>|<start_of_turn>|<\|turn>|<bos>|\[/?INST\]|<</?SYS>>|<unk>"
    r"|<\|START_OF_TURN_TOKEN\|>"
)
_LAST = re.compile(rf"(?:{_END})\Z")
_LONGEST = 32  # characters of a mark
_MARK = re.compile(rf"{_START}|{_END.replace('|</s>', '')}")
_HEAD = re.compile(r"\A\s*(?:<s>|(?:assistant|model)\s*\n)")
_USER, _ASSISTANT = (
    re.compile(rf"^[ \t]*(?:###[ \t]*)?(?:{names})[ \t]*:", re.MULTILINE) for names in ("User|Human", "Assistant|AI")
)
_TALK = re.compile(r"assistant|dialog|conversation|transcript|interview|script|chat", re.IGNORECASE)
_TOKEN_SPACES = re.compile(r"\w[ĠĊ▁](?=\w)")
_CALL = re.compile(r"\A\s*(?:<tool_call>|<function=|\[TOOL_CALLS\]|<\|python_tag\|>)")
_ERROR = re.compile(
    r"\A\W*(?:<!doctype|<html|error\b|rate limit|upstream|internal server error|service unavailable)", re.IGNORECASE
)
_ERROR_SAID = re.compile(
    r"bad gateway|gateway time-?out|service unavailable|internal server error|upstream|rate limit|overloaded"
    r"|timed? ?out|quota",
    re.IGNORECASE,
)
_ERROR_CHARS = 400
_LOST = 3  # characters that could not be decoded; one or two a model may draw itself


def without_end(text: str) -> str:
    """A text without the marks that end it.

    Example: `Yes.<|im_end|>` is `Yes.`.
    """
    if "<s>" in text:  # HTML, whose </s> is its own
        return text
    whole = end = len(text.rstrip())
    while found := _LAST.search(text, max(0, end - _LONGEST), end):
        end = found.start()
        while end and text[end - 1].isspace():
            end -= 1
    return text if end == whole else text[:end]


def leak(text: str, asked: str = "") -> str | None:
    """What stands in a text (already `without_end`) that is none of it, in a few words; None where nothing does.

    Args:
        asked: what it answers; what it names itself is no leak, nor are two speakers in a talk that is asked for.
    """
    if (mark := _MARK.search(text) or _HEAD.search(text)) and mark[0] not in asked:
        return (
            f"it has the mark {mark[0].strip()!r} of a chat template: the server lets it through, or did not end there"
        )
    if (user := _USER.search(text)) and _ASSISTANT.search(text, user.end()) and not _TALK.search(asked):
        return "it goes on with a turn of the user: name a stop text in sampling.answer.stop"
    if _CALL.match(text):
        return "it is a call of a tool"
    spaces = len(_TOKEN_SPACES.findall(text))
    if spaces > text.count(" ") and spaces >= _LOST:
        return "it has marks of a tokenizer in place of spaces"
    if text.count("\ufffd") >= _LOST:
        return "it has characters that could not be decoded"
    if not any(one.isalnum() or unicodedata.category(one) in ("So", "Sm") for one in text):
        return "it has no word"
    if len(text) < _ERROR_CHARS and _ERROR.match(text) and _ERROR_SAID.search(text) and not _ERROR_SAID.search(asked):
        return "it is an error of a server, and no answer"
    return None
