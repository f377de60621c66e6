"""Every sampling parameter is the settings': sent only where it is set, known by what is set, and none is added."""

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from schemas.config import EngineConfig
from schemas.load import load_config, presets
from schemas.roles import ModelConfig, Sampling
from tasks.engine.client import Client
from tasks.engine.protocol import Request
from tasks.engine.server import Machine, vllm_command
from tests.engine.serving import serving

ANSWER = {
    "id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes."}}
    ],
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that notes what it is asked."""
    asked: list[dict[str, Any]] = []

    class Notes(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            body = json.dumps(ANSWER).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with serving(Notes) as address:
        yield f"{address}/v1", asked


def ask(url: str, sampling: Sampling) -> dict[str, Any]:
    """The recorded parameters of a call."""

    async def run() -> dict[str, Any]:
        model = ModelConfig(base_urls=(url,), served_name="m", max_model_len=32768)
        client = Client("served:m", model, EngineConfig(), [url], asyncio.Semaphore(1))
        try:
            made = await client.chat(Request("answer", "a", "answer", ({"role": "user", "content": "?"},), sampling))
            return dict(json.loads(made.params))
        finally:
            await client.close()

    return asyncio.run(run())


def test_what_is_set_is_sent_and_recorded_and_what_is_off_is_not(server: tuple[str, list[dict[str, Any]]]) -> None:
    url, asked = server
    ours = {"top_k": 20, "min_p": 0.1, "repetition_penalty": 1.05}
    assert ours.items() <= ask(url, Sampling(**ours, max_tokens=64)).items()
    assert ours.items() <= asked[-1].items()
    assert not ours.keys() & ask(url, Sampling(max_tokens=64)).keys() and not ours.keys() & asked[-1].keys()


def test_a_parameter_that_is_off_is_no_part_of_a_texts_identity() -> None:
    before = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 6144, "stop": ()}
    assert Sampling().identity() == before == Sampling(from_model=True).identity()
    assert Sampling(top_k=20).identity() == before | {"top_k": 20}


def test_our_server_adds_nothing_and_runs_a_models_code_only_where_it_may() -> None:
    command = vllm_command(Path("python"), "m", 1, EngineConfig(), Machine("cpu", (0,), False))
    assert command[command.index("--generation-config") + 1] == "vllm" and "--trust-remote-code" not in command
    assert "--trust-remote-code" in vllm_command(
        Path("python"), "m", 1, EngineConfig(), Machine("cpu", (0,), False), trust_remote_code=True
    )


def test_the_papers_presets_state_every_parameter() -> None:
    stated = {"temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens"}
    papers = [name for name in presets() if name.startswith("paper-")]
    assert len(papers) == 3
    for sampling in (load_config(name).sampling for name in papers):
        for role in (sampling.propose, sampling.answer, sampling.rubric, sampling.judge):
            assert stated <= role.model_fields_set
