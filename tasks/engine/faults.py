"""What can go wrong with one request, told apart by what follows: a row, another try, another server, or the end."""

import email.utils
import json
import math
import re
import time
from collections.abc import Mapping
from typing import Any, Literal

from schemas.errors import DependencyError
from tasks.engine.protocol import EngineError
from tasks.texts.secrets import struck

Kind = Literal["busy", "slow", "away", "broken", "unfit"]
_WORDS = 300  # characters that are kept of what a server says
_PASSING = {408, 409, 425}  # of the 4xx, beside 429, those that may pass

_TOO_LONG = re.compile(
    r"context[ _](?:length|size|window|limit)|context holds|max_model_len|maximum model length|prompt is too long"
    r"|input is too long|too many (?:input )?tokens|input tokens? exceed|reduce the length|string_above_max_length",
    re.IGNORECASE,
)
_FILTER_CODE = re.compile(
    r"content_?(?:filter|policy)|responsible_?ai|data_?inspection_?failed|moderation|guardrail|invalid_prompt|safety"
    r"|sensitive|prompt_blocked|prohibited_content",
    re.IGNORECASE,
)
_FILTER_WORDS = re.compile(
    r"content (?:filter|management|polic)|usage polic|safety (?:system|filter|polic|check)|moderation|was flagged"
    r"|inappropriate content|responsible ai|guardrail|sensitive (?:content|words?)|violat\w* .{0,40}polic",
    re.IGNORECASE,
)
_QUOTA_CODE = re.compile(
    r"insufficient_(?!perm|scope)|exceeded_current_quota|quota_not_enough|billing|credits?_|arrear|overdue|payment_required",
    re.IGNORECASE,
)
# the word "quota" alone says nothing: Gemini and Azure have it in limits by the minute
_QUOTA_WORDS = re.compile(
    r"insufficient (?:balance|credit|fund|quota)|(?:credit|account) balance|no balance|balance is (?:too low|not enough"
    r"|insufficient)|(?:out of|not enough|no) credits?|payment required|billing (?:hard )?limit|(?:quota|credits?) "
    r"(?:is|are|has been) (?:used up|exhausted)",
    re.IGNORECASE,
)


class Rejected(Exception):
    """This request gets no answer, now or ever: a row with a status, not a failure of the stage."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message := struck(message))  # what a server says may repeat the key
        self.status, self.message = status, message


class Fault(EngineError):
    """A try that failed and may succeed when it is made again, or at another server.

    `busy`: the server asks to wait; `slow`: no answer in time; `away`: nobody is there; `broken`: no answer, or none
    that is one; `unfit`: this server will not have us (a key, a name), though another may.
    """

    def __init__(self, url: str, kind: Kind, message: str, after_sec: float | None = None) -> None:
        message = struck(message)
        super().__init__(f"{url} {message}" if kind == "unfit" else f"{url} keeps failing: {message}")
        self.kind, self.message, self.after_sec = kind, message, after_sec
        self.worth_another = kind in ("away", "broken")  # the others have cost `timeout_sec`, or will not pass


class QuotaUsedUp(DependencyError):
    """The provider gives no more answers until somebody pays or a period is over; asking on would be no use."""

    def __init__(self, message: str) -> None:
        super().__init__(struck(message))


# what the protocol's own client calls them: known words, and they stand in the rows of earlier rounds
_NAMES = {400: "BadRequestError", 401: "AuthenticationError", 403: "PermissionDeniedError", 404: "NotFoundError",
          409: "ConflictError", 422: "UnprocessableEntityError", 429: "RateLimitError"}  # fmt: skip


def name_of(status: int) -> str:
    """A word for a status that is no answer."""
    return _NAMES.get(status, "InternalServerError" if status >= 500 else "APIStatusError")


def refusal(
    url: str, status: int, body: Any, headers: Mapping[str, str] | None = None, name: str = "the server"
) -> Exception:  # fmt: skip
    """What a status other than 200, or an error in place of an answer, means: an exception to raise."""
    codes, words = _told(body)
    said = f"{name} {status}{': ' * bool(words)}{words}"
    after_sec = retry_after((headers or {}).get("Retry-After", ""))
    if _no_money(status, codes, words, after_sec):
        return QuotaUsedUp(f"{url} gives no more answers: {said}. What is done is kept; see to the account, then run "
                           "the same command again")  # fmt: skip
    if status == 401:
        return Fault(url, "unfit", "refuses the API key; check api_key_env")
    if status < 500 and (
        _FILTER_CODE.search(codes) or (status in (400, 403, 422, 451) and _FILTER_WORDS.search(words))
    ):
        return Rejected("filtered", said)
    if status in (403, 404):
        mend = "check api_key_env" if status == 403 else "check base_urls (they mostly end in /v1) and served_name"
        return Fault(
            url, "unfit", f"{'refuses access' if status == 403 else 'has no such address or model'} ({said}); {mend}"
        )
    if status == 413 or (status < 500 and status != 429 and _TOO_LONG.search(f"{codes} {words}")):
        return Rejected("too_long", said)
    if status in (429, 529) or (status == 503 and after_sec is not None):
        return Fault(url, "busy", said, after_sec)
    if status in _PASSING or status < 400 or status >= 500:
        return Fault(url, "broken", said, after_sec)
    return Rejected("rejected", said)


def _no_money(status: int, codes: str, words: str, after_sec: float | None) -> bool:
    if status == 402 or (status in (400, 403, 429) and _QUOTA_CODE.search(codes)):
        return True
    return after_sec is None and status in (400, 403, 429) and bool(_QUOTA_WORDS.search(words))


def retry_after(text: str) -> float | None:
    """Seconds to wait, out of a header Retry-After (a number, or a date); None where it names no time to come."""
    try:
        seconds = float(text)
    except ValueError:
        date = email.utils.parsedate_tz(text)
        try:
            seconds = email.utils.mktime_tz(date) - time.time() if date else 0.0
        except (OverflowError, ValueError):  # a year that no clock has
            return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def _told(body: Any) -> tuple[str, str]:
    """The codes and types of an error, and its words, out of any of the forms that servers have for it."""
    while isinstance(body, list) and body:
        body = body[0]
    inner = body.get("error", body) if isinstance(body, Mapping) else body
    if not isinstance(inner, Mapping):
        text = re.sub(r"<[^>]{0,200}>", " ", str(inner or ""))  # mostly a page of HTML
        return "", " ".join(text.split())[:_WORDS]
    codes = " ".join(str(inner.get(key) or "") for key in ("code", "type", "status"))
    deeper = inner.get("innererror")
    codes += f" {deeper.get('code')}" if isinstance(deeper, Mapping) else ""
    words = next((inner[key] for key in ("message", "detail", "msg", "error") if inner.get(key)), inner)
    return codes, " ".join((words if isinstance(words, str) else json.dumps(words)).split())[:_WORDS]
