"""A server that repeats the request's headers in its errors: the key is in no file, no line and no table of Prefect."""

import hashlib
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest

from tasks.engine.fake import FakeEngine
from tests.conftest import asked
from tests.engine.serving import serving

KEY = "sk-test-5f1c9e0b7a"


class Echoing(BaseHTTPRequestHandler):
    """The stand-in, but a quarter of the chats is refused with all headers, and another quarter says them."""

    behind = ""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        lot, said = hashlib.sha256(body).digest()[0], f"cannot serve this: {dict(self.headers)}"
        chat = self.path.endswith("/chat/completions")
        answer = httpx.request(self.command, self.behind + self.path, content=body, timeout=60)
        status, content = answer.status_code, answer.content
        if chat and lot < 64:
            status, content = 400, json.dumps({"error": {"message": said, "type": "invalid"}}).encode()
        elif chat and lot < 128 and status == 200:
            whole = answer.json()
            whole["choices"][0]["message"]["content"] = f"My key is {self.headers['Authorization']}. It is a good key."
            content = json.dumps(whole).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def echoing(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("POP_TEST_KEY", KEY)
    monkeypatch.setenv("PREFECT_LOGGING_TO_API_ENABLED", "true")
    with FakeEngine() as engine:
        handler = type("Handler", (Echoing,), {"behind": engine.url.removesuffix("/v1")})
        with serving(handler) as address:
            yield f"{address}/v1"


def test_a_key_that_a_server_repeats_is_nowhere(
    echoing: str, cli_process: Callable[..., tuple[int, str, str]], tmp_path: Path,
    prefect_env: dict[str, str],
) -> None:  # fmt: skip
    settings = (
        f'models.policy.base_urls=["{echoing}"]', "models.policy.api_key_env=POP_TEST_KEY", "training.enabled=false",
        "models.policy.served_name=policy", "engine.max_failed_share=1.0", "corpus.documents=6", "gate.audits=off",
    )  # fmt: skip
    words = [word for one in settings for word in ("--set", one)]
    code, out, err = cli_process("round", "smoke", "--run", "echo", "--root", str(tmp_path), *words)
    assert code == 0, err
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    whole = [path for path in files if KEY.encode() in path.read_bytes()]
    told = cli_process("sql", "--run", "echo", "--root", str(tmp_path), "--format", "json", "from generations")[1]
    assert "[struck out]" in told and KEY not in told  # Parquet is compressed, so it is asked too
    assert not whole and KEY not in out + err
    logs = asked(f"{prefect_env['PREFECT_API_URL']}/logs/filter", {"limit": 200, "sort": "TIMESTAMP_DESC"})
    shown = asked(f"{prefect_env['PREFECT_API_URL']}/artifacts/filter", {"limit": 100, "sort": "CREATED_DESC"})
    assert logs and shown and KEY not in json.dumps([logs, shown])
