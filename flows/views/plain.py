"""Text from files and models is data: on a terminal it is neither markup, nor a control sequence, nor turned around."""

from typing import Any

from rich.text import Text

_CONTROLS = {code: chr(0x2400 + code) for code in range(32) if code not in (9, 10)} | {127: "\u2421"}
_CONTROLS |= {code: f"\\x{code:02x}" for code in range(128, 160)}
# marks that turn the direction of what follows, so that a person reads another text than the judge did
_CONTROLS |= {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def printable(text: str) -> str:
    """The text with control characters made visible; line ends and tabs stay."""
    return text.translate(_CONTROLS)


def plain(text: Any, style: str = "") -> Text:
    """Something as rich text that is shown as it is."""
    return Text(printable(str(text)), style=style)
