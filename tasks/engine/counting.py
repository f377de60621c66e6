"""Tokens of a conversation, counted by llama.cpp: it renders with one endpoint and cuts into tokens with another."""

from collections.abc import Sequence

import httpx

from tasks.engine.protocol import Message


async def llama_cpp_count(http: httpx.AsyncClient, messages: Sequence[Message]) -> int | None:
    """How many tokens the conversation has by the model's chat template; None where the server does not say."""
    try:
        rendered = await http.post("/apply-template", json={"messages": list(messages)})
        body = {"content": rendered.json()["prompt"], "add_special": True, "parse_special": True}
        tokens = (await http.post("/tokenize", json=body)).json()["tokens"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None
    return len(tokens) if isinstance(tokens, list) else None
