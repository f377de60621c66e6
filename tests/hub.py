"""The Hugging Face hub on loopback, as far as models and datasets are fetched of it, and its ways to fail."""

import hashlib
import re
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tasks.engine.server import free_port

COMMIT = hashlib.sha1(b"commit").hexdigest()


class Hub:
    """A server of repositories: `files` by kind (models, datasets) and `owner/name`, then by path.

    Attributes:
        gated: repositories that ask for a token first, by `owner/name`.
        breaks: by path: how often the connection breaks in the middle of it.
        down: every answer is 503.
        asked: requests by method and path; `ranges`: the ranges that were asked for, by path.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, dict[str, bytes]]] = {"models": {}, "datasets": {}}
        self.gated: set[str] = set()
        self.breaks: Counter[str] = Counter()
        self.down = False
        self.asked: list[str] = []
        self.ranges: list[tuple[str, str]] = []
        self.url = ""

    def __enter__(self) -> "Hub":
        every = Route("/{path:path}", self._answer, methods=["GET", "HEAD", "POST"])
        port = free_port()
        config = uvicorn.Config(Starlette(routes=[every]), port=port, log_level="critical", lifespan="off")
        self._server, self.url = uvicorn.Server(config), f"http://127.0.0.1:{port}"
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        self.asked.append(f"{request.method} {path}")
        if self.down:
            return Response(status_code=503)
        api = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(/.*)?)?", path)
        resolve = re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if api:
            kind, name, what, revision, below = api.groups()
        elif resolve:
            kind, name, what, revision = "datasets" if resolve[1] else "models", resolve[2], "file", resolve[3]
        else:
            return Response(status_code=404)
        if name not in self.files[kind]:
            return refused(401, "RepoNotFound")
        if name in self.gated and "authorization" not in request.headers and what == "file":
            return refused(401, "GatedRepo")
        if revision not in (None, "main", COMMIT):
            return refused(404, "RevisionNotFound")
        files = self.files[kind][name]
        if resolve:
            return self._file(request, files, resolve[4])
        if what == "tree":
            return listed(
                files, (below or "").strip("/"), request.query_params.get("recursive") in ("true", "True", "1")
            )
        if what == "paths-info":
            form: Any = await request.json()
            return JSONResponse([entry(one, files[one]) for one in form["paths"] if one in files])
        siblings = [{"rfilename": one} for one in sorted(files)]
        return JSONResponse(
            {"id": name, "sha": COMMIT, "siblings": siblings, "tags": [], "downloads": 0, "private": False}
        )

    def _file(self, request: Request, files: dict[str, bytes], path: str) -> Response:
        if path not in files:
            return refused(404, "EntryNotFound")
        content, status = files[path], 200
        headers = {"ETag": f'"{digest(content)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if part := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", "")):
            self.ranges.append((path, part[0]))
            first, last = int(part[1]), int(part[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{min(last, len(content) - 1)}/{len(content)}"
            content, status = content[first : last + 1], 206
        headers["Content-Length"] = str(len(content))
        if request.method == "HEAD":
            return Response(headers=headers, status_code=status)
        broken = self.breaks[path] > 0
        self.breaks[path] -= broken
        return StreamingResponse(sent(content, broken), status, headers, "application/octet-stream")


async def sent(content: bytes, broken: bool) -> AsyncIterator[bytes]:
    """The content, or half of it."""
    block = max(1, min(1 << 20, len(content) // 4))
    for at in range(0, len(content), block):
        if broken and at >= len(content) // 2:
            raise ConnectionError("the connection breaks here")
        yield content[at : at + block]


def digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def entry(path: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": len(content), "oid": digest(content)}


def listed(files: dict[str, bytes], below: str, recursive: bool) -> Response:
    """What lies in a folder, and with `recursive` all that lies below it."""
    start = f"{below}/" if below else ""
    inside = {one: content for one, content in sorted(files.items()) if one.startswith(start)}
    if below and not inside:
        return refused(404, "EntryNotFound")
    folders = {start + one.removeprefix(start).split("/")[0] for one in inside if "/" in one.removeprefix(start)}
    deep = [{"type": "directory", "path": one, "size": 0, "oid": digest(one.encode())} for one in sorted(folders)]
    here = [entry(one, content) for one, content in inside.items() if recursive or "/" not in one.removeprefix(start)]
    return JSONResponse(deep + here)


def refused(status: int, code: str) -> Response:
    """As the hub says no."""
    return JSONResponse({"error": code}, status, {"X-Error-Code": code, "X-Error-Message": code})
