"""What a round says of itself beside its tables: its settings, and the shards that its documents were cut into."""

import json
from typing import Any

from schemas.roles import ModelConfig
from tasks.storage.store import Row, Store

ROUNDS = "manifests/round=*/round.json"
DOCUMENTS = "manifests/round=*/documents.json"
LOADS = "manifests/round=*/load.json"


def manifests(store: Store) -> list[Row]:
    """The manifests of a run's rounds, oldest round first; a damaged one is as good as none."""
    found = [store.manifest(path) for path in store.glob(ROUNDS)]
    return [manifest for manifest in found if manifest]


def manifest(store: Store, round_: int) -> Row | None:
    """A round's settings, models and fingerprints; None where it was never begun."""
    return store.manifest(_path(store, round_, "round"))


def first_policy(store: Store) -> ModelConfig | None:
    """The policy of the run's round 0; None where it has none."""
    first = manifest(store, 0)
    return ModelConfig.model_validate(first["config"]["models"]["policy"]) if first else None


def write_manifest(store: Store, round_: int, content: Row) -> None:
    """Publish what a round says of itself: see `Plan.manifest`."""
    publish(store, _path(store, round_, "round"), content)


def servers_manifest(store: Store, round_: int) -> Row:
    """What the servers of a round's models were found to be able to do, by the model's name; empty before it is asked.

    A model's entry: `asked` (address, name and parameters that it holds for), `able`, and `each` server's own.
    """
    return store.manifest(_path(store, round_, "servers")) or {}


def write_servers_manifest(store: Store, round_: int, content: Row) -> None:
    """Remember it, so that a round that goes on need not ask again."""
    publish(store, _path(store, round_, "servers"), content)


def load_manifest(store: Store, round_: int) -> Row:
    """How full the servers of a round's models were, by the model's name: see `tasks.engine.load.Load`."""
    return store.manifest(_path(store, round_, "load")) or {}


def write_load_manifest(store: Store, round_: int, content: Row) -> None:
    """Keep it, added up over the starts of the round."""
    publish(store, _path(store, round_, "load"), content)


def known_parts(store: Store) -> dict[str, dict[str, str]]:
    """What the models of a run were beside their weights when it first met them: see `tasks.models.parts`."""
    found = store.manifest(f"{store.base}/manifests/models.json") or {}
    return {str(model): dict(parts) for model, parts in found.items()}


def write_known_parts(store: Store, known: dict[str, dict[str, str]]) -> None:
    """Keep what `known_parts` gave, with the models that are new."""
    if known != known_parts(store):
        publish(store, f"{store.base}/manifests/models.json", known)


def documents_path(store: Store, round_: int) -> str:
    """Where the names of a round's shards are; written when all of them are there."""
    return _path(store, round_, "documents")


def documents_manifest(store: Store, round_: int) -> Row | None:
    """Files, shards and counts of a round's documents."""
    return store.manifest(documents_path(store, round_))


def write_documents_manifest(store: Store, round_: int, content: Row) -> None:
    """Say that every file named in `content` is there."""
    publish(store, documents_path(store, round_), content)


def _path(store: Store, round_: int, name: str) -> str:
    return f"{store.base}/manifests/round={round_:03d}/{name}.json"


def publish(store: Store, path: str, content: dict[str, Any]) -> None:
    """Let a JSON object appear, whole."""
    store.publish(path, json.dumps(content, indent=1).encode())
