"""A judge that is right by construction: an OpenAI-compatible server on loopback that marks answers by a planted rule.

The rule has two criteria, as a rubric of one's own: "uses the word can" (weight 2) and "at most 45 words" (weight 1).
A criterion is met (2) or not (0), so a score is 0, 2/3, 4/3 or 2. The judge finds answer and criterion in the prompt
(`judge_digit`), so that all of the judge's path is real: prompt, request, log-probabilities, rating, score.
"""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tasks.texts.length import word_count

NAME = "planted-judge"
MOST_WORDS = 45
CRITERIA = (
    {"name": "Can", "description": 'The answer uses the word "can".', "weight": 2.0},
    {"name": "Short", "description": f"The answer has at most {MOST_WORDS} words.", "weight": 1.0},
)
_TAGGED = re.compile(r"<answer>\n(.*)\n</answer>\s*<criterion>\n(.*)\n</criterion>", re.DOTALL)


def meets(criterion: str, answer: str) -> bool:
    """Whether an answer meets a criterion, which is known by its description.

    Raises:
        ValueError: it is none of the rule's.
    """
    if "at most" in criterion:
        return word_count(answer) <= MOST_WORDS
    if "the word" in criterion:
        return re.search(r"\bcan\b", answer, re.IGNORECASE) is not None
    raise ValueError(f"no such criterion: {criterion}")


def true_score(answer: str) -> float:
    """The rule itself: 0 to 2, the weighted mean of 0 and 2."""
    met = sum(float(str(c["weight"])) for c in CRITERIA if meets(str(c["description"]), answer))
    return 2.0 * met / sum(float(str(c["weight"])) for c in CRITERIA)


async def _models(_: Request) -> Response:
    card = {"id": NAME, "object": "model", "created": 0, "owned_by": "vllm", "max_model_len": 32768}
    return JSONResponse({"object": "list", "data": [card]})


async def _chat(request: Request) -> Response:
    body = await request.json()
    choices = (body.get("structured_outputs") or {}).get("choice")
    if body.get("model") != NAME or (choices and "2" not in choices and "3" not in choices):
        return JSONResponse({"error": {"message": f"no such model or choice; there is {NAME}", "code": 404}}, 404)
    word = _marked(str(body["messages"][-1]["content"])) or (choices[0] if choices else "hello")
    listed = [_token(word, 0.0), *(_token(other, -9999.0) for other in ("1", "0", "9") if other != word)]
    content = [_token(word, 0.0) | {"top_logprobs": listed[: int(body.get("top_logprobs") or 0)]}]
    choice = {
        "index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": word},
        "logprobs": {"content": content} if body.get("logprobs") else None,
    }  # fmt: skip
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return JSONResponse({
        "id": "planted", "object": "chat.completion", "created": 0, "model": NAME, "choices": [choice], "usage": usage,
    })  # fmt: skip


def _marked(prompt: str) -> str | None:
    found = _TAGGED.search(prompt)
    return None if found is None else "2" if meets(found[2], found[1]) else "0"


def _token(word: str, nats: float) -> dict[str, Any]:
    return {"token": word, "logprob": nats, "bytes": list(word.encode())}


@contextmanager
def judging() -> Iterator[str]:
    """The judge at a free port of loopback; its address."""
    app = Starlette(routes=[
        Route("/v1/models", _models), Route("/v1/chat/completions", _chat, methods=["POST"]),
    ])  # fmt: skip
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        finally:
            server.should_exit = True
            thread.join(5)
