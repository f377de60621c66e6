"""Models and datasets come off the hub whole, or a line says what to do: the real libraries, a hub on loopback."""

import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hub import COMMIT, Hub

ROWS = [{"text": f"Document {n} tells of sleep, and of much else: {random.Random(n).random()}."} for n in range(400)]
TEXTS = [row["text"] for row in ROWS]
Load = Callable[..., Any]


def model(*lost: str) -> dict[str, bytes]:
    """A model in two shards, the first beyond what is fetched at a time (10 MiB); of its *.bin only the index comes."""
    shards = {"a.safetensors": random.Random(0).randbytes(24 << 20), "b.safetensors": b"b" * 40_000}
    index = json.dumps({"weight_map": {"one": "a.safetensors", "two": "b.safetensors"}})
    files = {"config.json": b"{}", "model.safetensors.index.json": index.encode(), **shards}
    files["pytorch_model.bin.index.json"] = b'{"weight_map": {"one": "pytorch_model.bin"}}'
    return {name: content for name, content in files.items() if name not in lost}


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), sink, row_group_size=50)
    return sink.getvalue()


@contextmanager
def loader(home: Path, endpoint: str, **settings: str) -> Iterator[Load]:
    """A process that loads; a function that asks it."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | settings
    env |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, "-m", "tests.storage.hub_loader"]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        asks, tells = process.stdin, process.stdout
        assert asks and tells

        def load(**wanted: str) -> Any:
            print(json.dumps(wanted), file=asks, flush=True)
            return json.loads(tells.readline())

        yield load
        asks.close()


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def load(hub: Hub, home: Path) -> Iterator[Load]:
    with loader(home, hub.url) as load:
        yield load


def refused(answer: dict[str, str], error: str, *says: str) -> None:
    assert answer.get("error") == error and all(one in answer["says"] for one in says), answer
    assert "\n" not in answer["says"]


def test_a_model_comes_whole_over_a_broken_connection_and_goes_on_where_it_broke(hub: Hub, load: Load) -> None:
    files = hub.files["models"]["o/whole"] = model()
    hub.breaks["a.safetensors"] = 1
    found = load(path="o/whole")["found"]
    assert found["identity"] == f"hub:o/whole@{COMMIT}"
    assert {one.name: one.read_bytes() for one in Path(found["path"]).iterdir()} == files
    assert hub.ranges == [("a.safetensors", "bytes=10485760-")]
    hub.down = True  # a hub that is down is not needed for what is there
    assert load(path="o/whole")["found"] == found
    hub.down = False


def test_a_model_that_is_half_there_is_not_used_and_the_other_half_is_fetched_later(
    hub: Hub, load: Load, home: Path
) -> None:
    hub.files["models"]["o/half"] = model()
    hub.breaks["b.safetensors"] = 99
    refused(load(path="o/half"), "DependencyError", "o/half cannot be fetched", "peer closed connection", "start again")
    with loader(home, hub.url, HF_HUB_OFFLINE="1") as offline:
        refused(offline(path="o/half"), "DependencyError", "o/half is not whole", "HF_HUB_OFFLINE is set")
        refused(offline(path="o/never"), "DependencyError", "HF_HUB_OFFLINE is set")
        refused(offline(corpus="hf:o/never"), "DependencyError", "the dataset o/never", "HF_HUB_OFFLINE is set")
        hub.breaks["b.safetensors"] = 0
        hub.asked.clear()
        found = load(path="o/half")["found"]
        assert [one.rsplit("/", 1)[1] for one in hub.asked if one.startswith("GET /o/half/")] == ["b.safetensors"]
        assert offline(path="o/half")["found"] == found


def test_a_snapshot_that_lost_a_shard_and_a_repository_that_never_had_it_are_no_model(
    hub: Hub, load: Load, home: Path
) -> None:
    hub.files["models"] |= {"o/lost": model("b.safetensors"), "o/bare": {"config.json": b"{}"}}
    refused(load(path="o/lost"), "UserError", "lacks 1 of 2 weight files, the first: b.safetensors")
    refused(load(path="o/bare"), "UserError", "without weights")


def test_what_the_hub_does_not_give_is_told_with_its_mend(hub: Hub, load: Load) -> None:
    hub.files["models"] |= {"o/gated": {"config.json": b"{}"}, "o/open": {"config.json": b"{}"}}
    hub.files["datasets"] |= {"o/gated": {"train.jsonl": b"{}"}, "o/one": {"train.jsonl": b'{"text": "x"}'}}
    hub.gated.add("o/gated")
    refused(load(path="o/gated"), "UserError", "models.policy.path: o/gated is gated", "set HF_TOKEN")
    refused(load(path="o/none"), "UserError", "o/none is not on the hub, or closed", "check the name")
    refused(load(path="o/open", revision="v9"), "UserError", "o/open has no revision 'v9'")
    refused(load(corpus="hf:o/gated"), "UserError", "the dataset o/gated is gated", "set HF_TOKEN")
    refused(load(corpus="hf:o/none"), "UserError", "the dataset o/none is not on the hub", "check the name")
    refused(load(corpus="hf:o/one", split="test"), "UserError", "no split 'test'", "corpus.hub_split")
    hub.down = True
    refused(load(path="o/new"), "DependencyError", "o/new cannot be fetched", "503 Service Unavailable")
    hub.down = False


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_a_dataset_is_read_row_for_row_over_broken_connections_or_not_at_all(hub: Hub, load: Load, form: str) -> None:
    name, path = f"o/{form}", f"data/train-00000-of-00001.{form}"
    jsonl = "\n".join(map(json.dumps, ROWS)).encode()
    hub.files["datasets"][name] = {path: parquet() if form == "parquet" else jsonl}
    hub.breaks[path] = 2
    assert load(corpus=f"hf:{name}")["found"] == TEXTS and hub.breaks[path] == 0
    hub.breaks[path] = 10**6
    refused(load(corpus=f"hf:{name}"), "DependencyError", name, "peer closed connection", "start again")
    hub.breaks[path] = 0


def test_a_token_opens_what_is_gated(hub: Hub, tmp_path: Path) -> None:
    hub.files["models"]["o/gated"] = model()
    hub.gated.add("o/gated")
    with loader(tmp_path, hub.url, HF_TOKEN="hf_mine") as load:
        assert load(path="o/gated")["found"]["identity"] == f"hub:o/gated@{COMMIT}"
