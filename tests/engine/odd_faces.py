"""Faces of the odd server that look at a request, and may raise a `Reply` in its place."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from tasks.engine.fake.logprobs import tokenize

Row = dict[str, Any]
OfRequest = Callable[[Row, str], None]
SAID = '{"error":{"message":"slow down"}}'
JSON = "application/json"
seen: Counter[bytes | str] = Counter()


class Reply(Exception):
    """What goes over the wire instead of a good reply."""

    def __init__(self, status: int, body: Any, kind: str = JSON, **headers: str) -> None:
        super().__init__(status)
        self.status, self.kind = status, kind
        self.headers = [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.body = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()


def refused(status: int, message: str, **more: Any) -> Reply:
    """An error in the form that the protocol has for it."""
    return Reply(status, {"error": {"message": message, "type": "x", "code": None, **more}})


# Faces that look at the request


def status(code: int, body: str = "", kind: str = "text/html", **headers: str) -> OfRequest:
    """Every request gets this status."""

    def face(request: Row, path: str) -> None:
        raise Reply(code, body, kind, **headers)

    return face


def busy(**headers: str) -> OfRequest:
    """Too many requests."""
    return status(429, SAID, JSON, **headers)


def first(times: int, face: OfRequest) -> OfRequest:
    """Only the first times that a request is made."""

    def only(request: Row, path: str) -> None:
        key = hashlib.md5(json.dumps(request, sort_keys=True).encode()).digest()
        seen[key] += 1
        if seen[key] <= times:
            face(request, path)

    return only


def takes_no(name: str, reply: Reply, allowed: Any = None) -> OfRequest:
    """The server does not know a parameter, or only one value of it."""

    def face(request: Row, path: str) -> None:
        if name in request and request[name] != allowed:
            raise reply

    return face


def capped(most: int) -> OfRequest:
    """No more than so many alternatives are listed, whatever was asked for."""

    def face(request: Row, path: str) -> None:
        if (request.get("top_logprobs") or 0) > most:
            request["_cap"] = most

    return face


def cap5(request: Row, path: str) -> None:
    """More than five alternatives are refused."""
    if (request.get("top_logprobs") or 0) > 5:
        raise refused(400, "top_logprobs: 5 at most")


def gone_later(request: Row, path: str) -> None:
    """The model is unloaded after six calls."""
    seen[path] += 1
    if seen[path] > 6:
        raise refused(404, "there is no model named policy")


def later(after: int, face: OfRequest) -> OfRequest:
    """Only when so many calls were answered well."""

    def only(request: Row, path: str) -> None:
        seen[path] += 1
        if seen[path] > after:
            face(request, path)

    return only


def small_context(request: Row, path: str) -> None:
    """A context that the server names only when it is too late."""
    count = len(tokenize(json.dumps(request.get("messages", request.get("prompt", "")))))
    if count > 150:
        raise refused(400, f"{count} tokens are more than the context holds", type="exceed_context_size_error")


def moved(code: int) -> OfRequest:
    """The server is elsewhere."""

    def face(request: Row, path: str) -> None:
        raise Reply(code, "", "text/plain", location="/good" + path[path.index("/v1") :])

    return face


def filtered(request: Row, path: str) -> None:
    """Azure's content filter, which refuses prompts."""
    raise refused(400, "the prompt was stopped by a content filter", code="content_filter", type=None)


QUOTA = '{"error":{"message":"the quota is used up","type":"insufficient_quota","code":"insufficient_quota"}}'
UNKNOWN_FIELD = {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "not a known field"}]}
# fmt: off
REQUESTS: dict[str, OfRequest] = {
    "azure": filtered, "cap5": cap5, "quiet5": capped(5), "quiet1": capped(1), "gone_later": gone_later,
    "small_ctx": small_context,
    "no_max_tokens": takes_no("max_tokens", refused(
        400, "max_tokens is not taken by this model; it wants max_completion_tokens", code="unsupported_parameter")),
    "no_seed": takes_no("seed", Reply(422, UNKNOWN_FIELD)),
    "no_top_p": takes_no("top_p", refused(400, "either temperature or top_p, not both")),
    "no_temp": takes_no("temperature", refused(400, "this model takes no temperature but 1"), 1),
    "no_format": takes_no("response_format", refused(400, "no json_schema with this model")),
    "no_extra": takes_no("structured_outputs", refused(400, "an argument that is not known: structured_outputs")),
    "http500": status(500, "<html><h1>Internal Server Error</h1></html>"),
    "http500ra": status(500, "x", retry_after="86400"), "http502": first(1, status(502, "<html>Bad Gateway</html>")),
    "http503ra": first(1, status(503, "x", retry_after="1")), "http429": first(2, busy()),
    "http429ra": first(2, busy(retry_after="1")), "http429zero": busy(retry_after="0"),
    "http429neg": busy(retry_after="-1"), "http429day": busy(retry_after="86400"),
    "http429bad": busy(retry_after="soon"),
    "http429nan": busy(retry_after="nan"), "http429past": busy(retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
    "quota": status(429, QUOTA, JSON), "http402": status(402, '{"error":{"message":"no balance left"}}', JSON),
    "quota_later": later(20, status(429, QUOTA, JSON)),
    "http401_later": later(20, status(401, '{"error":{"message":"no"}}', JSON)),
    "http413": status(413, "<html>413 Request Entity Too Large</html>"),
    "http401": status(401, '{"error":{"message":"no"}}', JSON),
    "http403": status(403, "<html>blocked by firewall</html>"),
    "http404": status(404, "<html>Not Found</html>"), "http405": status(405, "x"), "http409": status(409, "x"),
    "http418": status(418, "x"), "err200": status(200, '{"error":{"message":"the provider failed","code":502}}', JSON),
    "text200": status(200, "OK", "text/plain"), "null200": status(200, "null", JSON), "empty200": status(200, "", JSON),
    "redir307": moved(307), "redir302": moved(302),
}
# fmt: on
