"""Secrets struck out of texts that come from a server, before anything keeps or shows them.

Some servers repeat a request's headers in their errors. What such a text says is kept, in tables, logs and the Prefect
UI; the key that it repeats must not be.
"""

import re

STRUCK = "[struck out]"
LEAST = 8  # characters of a value that is struck out of a model's own words, too: "none" and "EMPTY" are words
_KNOWN: set[str] = set()
_NAMES = r"(?:proxy[-_])?authorization|(?:x[-_]|openai[-_])?api[-_]?key"
# the scheme stays, the credential goes: `Authorization: Bearer …`, `"x-api-key": "…"`, `api_key=…`
_HEADER = re.compile(
    rf"""(\b(?:{_NAMES})\b\\?["']?\s*[:=,]\s*\[?\s*(?:b?\\?["'])?)((?:Bearer|Basic|Token|Key)\s+)?([^\s"',;)\]}}\\]+)""",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(\bBearer\s+)([A-Za-z0-9._~+/=\-]{8,})")
_WORDS = frozenset({"header", "headers", "is", "was", "must", "missing", "invalid", "required", "none", "null", "not"})


def keep_secret(value: str) -> None:
    """From now on, strike this value out."""
    if value.strip():
        _KNOWN.add(value.strip())


def struck(text: str) -> str:
    """An error's text without keys: neither known ones, nor whatever follows the name of a header that carries one."""
    for value in sorted(_KNOWN, key=len, reverse=True):
        text = text.replace(value, STRUCK)
    text = _HEADER.sub(_without_credential, text)
    return _BEARER.sub(rf"\1{STRUCK}", text)


def struck_known(text: str) -> str:
    """A model's own words without known keys; what they say of headers is theirs."""
    for value in sorted(_KNOWN, key=len, reverse=True):
        if len(value) >= LEAST and value in text:
            text = text.replace(value, STRUCK)
    return text


def _without_credential(found: re.Match[str]) -> str:
    name, scheme, value = found.groups()
    if value.lower() in _WORDS or value.startswith(STRUCK.split()[0]):
        return found.group(0)
    return f"{name}{scheme or ''}{STRUCK}"
