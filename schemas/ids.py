"""Identities: a row's id is a hash of what determines it, so the same work has the same name everywhere."""

import hashlib
import json
from typing import Any

ID_LENGTH = 24
# made once: json.dumps with options makes one a call
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str).encode


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values have equal text."""
    return _CANONICAL(value)


def content_id(kind: str, *parts: Any) -> str:
    """24 hex digits naming a row of `kind` by `parts` (parent ids, settings that shape it, rollout)."""
    text = canonical([kind, *parts])
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:ID_LENGTH]


def seed_of(identity: str) -> int:
    """A sampling seed (31 bits) that depends on the identity alone, not on order or time."""
    return int(hashlib.sha256(f"seed\0{identity}".encode()).hexdigest()[:8], 16) & 0x7FFFFFFF
