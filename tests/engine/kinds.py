"""A server of many kinds, told apart by the first part of the path: each takes, refuses and obeys other parameters."""

import json
import math
import re
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar

Body = dict[str, Any]

# what a kind obeys beside plain text, which parameters it refuses by name, and what its list of models says
OBEYS = {"vllm": "structured_outputs", "sglang": "regex", "llamacpp": "grammar", "openai": "response_format"}
# the sampling parameters whose effect a kind shows, beside the temperature; `steady` has none at all
DRAWS = {
    "vllm": ("top_k", "min_p", "repetition_penalty"), "llamacpp": ("top_k", "min_p", "repeat_penalty"),
    "sglang": ("top_k",), "hf": ("generation_config",),
}  # fmt: skip
# what a digit holds, of all that could be said, where a constraint does not show in what is listed
HOLDS = {"proxy": 0.05, "unsure": 0.05, "sure": 0.9}
REFUSES = {
    "gpt": ("max_tokens", "top_p"), "strict": ("structured_outputs", "grammar", "regex", "seed"),
    "closed": ("response_format", "structured_outputs", "grammar", "regex", "logprobs"), "sour": ("seed",),
}  # fmt: skip
MENDS = {"max_tokens": " Use 'max_completion_tokens' instead.", "seed": " Did you mean 'random_seed'?"}
SILENT = ("sour",)  # refuses without a name


def _read(kind: str, body: Body) -> int:
    """Two tokens a word; a server that cuts prompts without a word reads no more than 2,048, as one kind does."""
    count = 2 * sum(len(message["content"].split()) for message in body["messages"])
    return {"cuts": min(count, 2048), "reads": count}.get(kind, 5)


class Kinds(BaseHTTPRequestHandler):
    """Says hello, or 7 where it is constrained in a way that its kind obeys; every request stands in `asked`."""

    asked: ClassVar[list[tuple[str, Body]]] = []

    def do_GET(self) -> None:
        """The list of models."""
        kind, _, tail = self.path.strip("/").partition("/")
        card = {"id": "m", "owned_by": kind, "meta": {"n_ctx": 4096}}
        if tail == "props" and kind == "llamacpp":
            params = {"top_k": 40, "min_p": 0.05, "presence_penalty": 1.5, "repeat_penalty": 1.0, "samplers": []}
            return self._send(200, {"default_generation_settings": {"params": params}})
        if tail != "v1/models" or kind == "unlisted":
            return self._send(404, {"error": {"message": "Not Found"}})
        card = {"id": "m"} if kind in ("cuts", "reads") else card
        return self._send(200, {"data": [{"id": "other"}] if kind in ("alias", "anyname") else [card]})

    def do_POST(self) -> None:
        """A chat completion; /tokenize and /v1/completions are not there."""
        kind, _, tail = self.path.strip("/").partition("/")
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append((kind, body))
        if tail != "v1/chat/completions" or (body["model"] != "m" and kind != "anyname"):
            return self._send(404, {"error": {"message": f"no model {body.get('model')}"}})
        if kind == "deaf":
            return self._send(400, {"detail": "no"})
        if refused := next((name for name in REFUSES.get(kind, ()) if name in body), None):
            words = f"Unsupported parameter: '{refused}'.{MENDS.get(refused, '')}"
            return self._send(400, {"error": {"message": "Invalid request." if kind in SILENT else words}})
        if kind == "fails" and "logprobs" in body:
            return self._send(500, {"error": {"message": "Out of range float values are not JSON compliant"}})
        if kind == "proxy" and body.get("post_sampling_probs"):
            return self._send(500, {"error": {"message": "Invalid response object"}})
        if kind == "few" and body.get("top_logprobs", 0) > 8:
            return self._send(400, {"error": {"message": "Requested sample logprobs of 20, which is more than 8"}})
        return self._send(200, answer(kind, body))

    def _send(self, status: int, value: Any) -> None:
        out = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


def drawn(kind: str, body: Body) -> str:
    """What is said by temperature and seed, as far as a kind draws."""
    asked = {name: body[name] for name in DRAWS.get(kind, ()) if name in body}
    heat = body.get("temperature", 1.0)
    if kind == "hf":
        asked = json.loads(asked.get("generation_config", "{}"))
        heat = heat if asked.get("do_sample") else 0.0
    if asked.get("top_k") == 1 or asked.get("min_p") == 1 or heat < 1 or kind == "steady":
        seed: Any = "of all"
    else:
        seed = body.get("seed")
    penalty = max(asked.get("repetition_penalty", 1.0), asked.get("repeat_penalty", 1.0))
    return f"Hello {seed}." if penalty == 1 else "Howdy."


def as_if_unconstrained(held: float) -> list[Body]:
    """A long list: 7 and, far down, 3 hold `held` together, 4 to 1."""
    others = [(f"w{n}", (1 - held) * 0.5 ** min(n + 1, 30)) for n in range(60)]
    shares = sorted([*others, ("7", 0.8 * held), ("3", 0.2 * held)], key=lambda one: -one[1])
    shares.append(shares.pop([word for word, _ in shares].index("3")))
    return [{"token": word, "logprob": math.log(share)} for word, share in shares]


def answer(kind: str, body: Body) -> Body:
    """A whole chat completion, with log-probabilities where they are asked for."""
    alike = {"strict": "openai", "gpt": "openai", "unsure": "openai", "sure": "openai", "proxy": "llamacpp"}
    obeyed = OBEYS.get(alike.get(kind, kind), "response_format" if kind == "vllm" else "-")
    text = drawn(kind, body)
    if obeyed in body and obeyed == "response_format":
        (key,) = body[obeyed]["json_schema"]["schema"]["properties"]
        text = json.dumps({key: "7"})
    elif obeyed in body:
        text = "7"
    pieces = re.findall(r'\{"|": "|"\}|\w+|\W', text)
    top = [{"token": word, "logprob": nats} for word, nats in (("7", -0.2), ("3", -1.9), ("x", -4.0))]
    if kind in HOLDS:
        top = as_if_unconstrained(HOLDS[kind])[: body.get("top_logprobs", 0)]
    content = [
        {"token": piece, "logprob": -0.2, "top_logprobs": top if piece == "7" else top[2:] * 4} for piece in pieces
    ]
    return {
        "id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [{
            "index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text},
            "logprobs": {"content": content} if body.get("logprobs") else None,
        }], "usage": {"prompt_tokens": _read(kind, body), "completion_tokens": 5, "total_tokens": 10},
    }  # fmt: skip
