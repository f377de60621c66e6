"""Loads models and corpora as a round does, one a line of standard input. The libraries read HF_ENDPOINT once.

Answers with a line of JSON: `found` (a model's folder and identity, a corpus' texts) or `error` and `says`.
"""

import json
import sys
import time
from typing import Any

from schemas.errors import PopError
from schemas.load import load_config
from tasks.corpus.readers import read
from tasks.models.resolve import resolve

time.sleep = lambda _: None  # the libraries wait before each of their tries again


def load(wanted: dict[str, Any]) -> Any:
    if "corpus" in wanted:
        return [getattr(one, "text", None) for one in read(wanted["corpus"], hub_split=wanted.get("split", "train"))]
    settings = ["engine.kind=vllm", *(f"models.policy.{name}={value}" for name, value in wanted.items())]
    found = resolve("policy", load_config("demo", settings), print)
    return {"path": found.path, "identity": found.identity}


if __name__ == "__main__":
    for row in sys.stdin:
        try:
            answer = {"found": load(json.loads(row))}
        except PopError as error:
            answer = {"error": type(error).__name__, "says": str(error)}
        print(json.dumps(answer), flush=True)
