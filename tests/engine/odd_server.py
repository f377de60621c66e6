"""A loopback OpenAI-compatible server whose faults are named in the URL: `/FACE[@SHARE][+FACE…]/v1`.

SHARE is that of the requests, by a hash of their body. Good replies are those of the project's own stand-in; the faces
are in `odd_faces` and `odd_replies`; those of the connection, the tokenizer and the list of models are here.
"""

import asyncio
import gzip
import hashlib
import json
import threading
from collections import Counter
from typing import Any

from tasks.engine.fake.answers import Answers
from tasks.engine.fake.logprobs import token_id, tokenize
from tasks.engine.fake.schema import SchemaError
from tasks.engine.fake.wire import RequestError, TokenizeRequest, rendered
from tests.engine.odd_faces import REQUESTS, Reply, Row, refused, seen
from tests.engine.odd_replies import REPLIES

LIMIT = 32768
CONNECTION = {"gzip", "chunked", "loris", "reset", "half", "close10", "closequiet", "hang", "hangonce", "delay"}
TOKENIZER: dict[str, Reply] = {
    "tok404": Reply(404, '{"detail":"Not Found"}'), "tok401": Reply(401, '{"detail":"no"}'),
    "tok429": refused(429, "slow down"), "tok408": refused(408, "too slow"), "tok400": refused(400, "slow down"),
    "tok_500": Reply(500, "x"), "tok_null": Reply(200, "null"), "tok_empty": Reply(200, "{}"),
    "tok_html": Reply(200, "<html>hi</html>", "text/html"),
}  # fmt: skip
TOKENS = {"tok_llama", "tok_text", "tok_nocount"}
CARD: Row = {"id": "policy", "object": "model", "max_model_len": LIMIT}
LISTINGS: dict[str, Any] = {
    "mod404": Reply(404, '{"detail":"Not Found"}'), "mod401": Reply(401, '{"error":{"message":"no"}}'),
    "mod500": Reply(500, "x"), "mod_html": Reply(200, "<html>hi</html>", "text/html"), "mod_list": Reply(200, [CARD]),
    "mod_data_null": {"data": None}, "mod_empty": {"data": []}, "mod_strings": {"data": ["policy"]},
    "mod_other": {"data": [CARD | {"id": "other", "max_model_len": 999}]},
    "mod_str": {"data": [CARD | {"max_model_len": "32768"}]}, "mod_text": {"data": [CARD | {"max_model_len": "big"}]},
    "mod_small": {"data": [CARD | {"max_model_len": 100}]}, "no_len": {"data": [{"id": "policy"}]},
}  # fmt: skip
KNOWN = {"good", "ignore_format", *CONNECTION, *TOKENIZER, *TOKENS, *LISTINGS, *REQUESTS, *REPLIES}


def faces_of(path: str, body: bytes) -> list[str]:
    """The faces that this request meets."""
    met = []
    for part in path.split("/")[1].split("+"):
        name, _, share = part.partition("@")
        assert name in KNOWN, name
        lot = int(hashlib.sha256(name.encode() + body).hexdigest()[:8], 16) / 2**32
        if not share or lot < float(share):
            met.append(name)
    return met


def listing(faces: list[str]) -> Any:
    """The list of models."""
    found = next((LISTINGS[face] for face in faces if face in LISTINGS), {"data": [CARD]})
    if isinstance(found, Reply):
        raise found
    return {"object": "list"} | found


def tokenized(body: bytes, faces: list[str]) -> Row:
    """Of /tokenize, as vLLM has it; or as llama.cpp."""
    for face in faces:
        if face in TOKENIZER:
            raise TOKENIZER[face]
    if "tok_llama" in faces:
        return {"tokens": [token_id(piece) for piece in tokenize(json.loads(body).get("content", ""))]}
    asked = TokenizeRequest.model_validate_json(body)
    whole = rendered(asked.messages, asked.add_generation_prompt) if asked.messages is not None else asked.prompt or ""
    ids = [token_id(piece) for piece in tokenize(whole)]
    counted = {} if "tok_nocount" in faces else {"count": len(ids)}
    return counted | {"max_model_len": LIMIT, "tokens": tokenize(whole) if "tok_text" in faces else ids}


def generated(answers: Answers, path: str, request: Row, faces: list[str]) -> Row:
    """Of both generation endpoints."""
    for face in faces:
        if face in REQUESTS:
            REQUESTS[face](request, path)
    cap = request.pop("_cap", None)
    if "ignore_format" in faces:
        request.pop("response_format", None)
        request.pop("structured_outputs", None)
    body = json.dumps(request).encode()
    try:
        reply = answers.completions(body, "") if path.endswith("/v1/completions") else answers.chat(body, "")
    except (RequestError, SchemaError, ValueError) as error:
        raise refused(getattr(error, "status", 400), str(error)) from None
    if cap and reply["choices"][0].get("logprobs"):
        entry = reply["choices"][0]["logprobs"]["content"][0]
        entry["top_logprobs"] = sorted(entry["top_logprobs"], key=lambda one: -one["logprob"])[:cap]
    for face in faces:
        if face in REPLIES:
            REPLIES[face](reply)
    return reply


class OddServer:
    """The server, in a thread of its own, while the body of `with` runs."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._answers = Answers(("policy",), LIMIT)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> "OddServer":
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**24)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        self.address = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        connections = asyncio.all_tasks() - {asyncio.current_task()}
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    def url(self, faces: str) -> str:
        """The base URL of these faces, whose counts begin anew."""
        seen.clear()
        self.counts.clear()
        return f"{self.address}/{faces}/v1"

    def _value(self, path: str, body: bytes, faces: list[str]) -> Any:
        tail = path[path.index("/", 1) :]
        if tail.endswith("/models"):
            return listing(faces)
        if tail == "/tokenize":
            return tokenized(body, faces)
        if tail not in ("/v1/chat/completions", "/v1/completions"):
            raise Reply(404, '{"detail":"Not Found"}')
        return generated(self._answers, path, json.loads(body or b"{}"), faces)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer a request; whether the connection stays."""
        line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path = line.split(" ")[1].split("?")[0]
        self.counts[path] += 1
        faces = faces_of(path, body)
        try:
            reply = Reply(200, self._value(path, body, faces))
        except Reply as other:
            reply = other
        seen[body] += 1
        if "delay" in faces:
            await asyncio.sleep(0.05)
        generation = "completions" in path
        if generation and ("hang" in faces or ("hangonce" in faces and seen[body] == 1)):
            await asyncio.sleep(3600)
        return await _sent(writer, reply, faces if generation else [f for f in faces if f not in CONNECTION])


async def _sent(writer: asyncio.StreamWriter, reply: Reply, faces: list[str]) -> bool:
    """Send a reply as the faces have it; whether the connection stays."""
    out, extra = reply.body, list(reply.headers)
    if "gzip" in faces:
        out = gzip.compress(out)
        extra.append(("content-encoding", "gzip"))
    protocol = "HTTP/1.0" if "close10" in faces else "HTTP/1.1"
    head = f"{protocol} {reply.status} X\r\ncontent-type: {reply.kind}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in extra)
    if "chunked" in faces:
        chunks = [out[n : n + 7] for n in range(0, len(out), 7)]
        out = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])
        head += "transfer-encoding: chunked\r\n"
    elif "close10" not in faces:  # of which the end of the connection is the end
        head += f"content-length: {len(out)}\r\n"
    writer.write((head + "\r\n").encode())
    if "loris" in faces:
        for n in range(len(out)):
            writer.write(out[n : n + 1])
            await writer.drain()
            await asyncio.sleep(0.05)
    writer.write(out[: len(out) // 2] if {"half", "reset"} & set(faces) else b"" if "loris" in faces else out)
    await writer.drain()
    if "reset" in faces:
        writer.transport.abort()
    return not {"half", "reset", "close10", "closequiet"} & set(faces)
