"""From a model's name in the config to weights on disk and an identity that changes when the weights do."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from schemas.config import Config
from schemas.errors import UserError
from schemas.names import expanded
from schemas.roles import ModelConfig
from schemas.section import FROZEN
from tasks.engine.parameters import with_params
from tasks.models.fetching import fetch
from tasks.models.templated import with_template
from tasks.models.weights import weight_files, weights_hash
from tasks.storage.hub import hub_error
from tasks.storage.jsonfile import read_json
from tasks.storage.manifests import first_policy
from tasks.storage.remote import is_url
from tasks.storage.store import Store

POINTER = b"version https://git-lfs.github.com/spec/"
BUILT_IN = "smollm2-135m-instruct"
FETCHED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")  # of a model on the hub
Say = Callable[[str], None]


@dataclass(frozen=True)
class Resolved:
    """A model ready to be served: `identity` names its weights and how they are asked, `path` is its folder.

    `weights` names them alone, where that is something else: what is served once for two models asked differently.

    Attributes:
        changed: parts (see `tasks.models.parts`) that are not those which the run first met the weights with; they
            stand in the identity.
        url: where `path` was fetched from; whoever needs it on another machine fetches it there too.
    """

    identity: str
    path: str | None
    weights: str = ""
    changed: tuple[str, ...] = ()
    url: str | None = None

    @property
    def served(self) -> str:
        """What runs for it."""
        return self.weights or self.identity


def with_frozen(config: Config, store: Store, round_: int) -> Config:
    """The configuration with `frozen` described: the policy of the run's round 0, where a role is played by it."""
    if FROZEN in config.models or FROZEN not in config.roles.model_dump().values():
        return config
    frozen = config.models["policy"]
    if round_ > 0:
        if (first := first_policy(store)) is None:
            raise UserError(f"roles: {FROZEN} is the policy of round 0, and {store.run} has none; name a model instead")
        frozen = first
    return config.model_copy(update={"models": {**config.models, FROZEN: frozen}})


def resolve(name: str, config: Config, say: Say) -> Resolved:
    """Find (for the built-in model, the hub's, and one in an object store: fetch) a model's weights.

    Raises:
        UserError: a folder without weights or configuration, or a chat template that cannot be had.
        DependencyError: it cannot be fetched now.
    """
    found, model = _found(name, config, say), config.models[name]
    path = found.path
    if path is not None and model.chat_template:
        path = str(with_template(name, Path(path), model.chat_template))
    url = found.url if path == found.path else None
    return Resolved(with_params(found.identity, model), path, found.identity, url=url)


def _found(name: str, config: Config, say: Say) -> Resolved:
    model = config.models[name]
    if config.engine.kind == "fake":
        same = name == FROZEN and model == config.models["policy"]
        return Resolved(f"fake:{'policy' if same else name}", None)
    if model.path is None:
        return Resolved(f"served:{model.served_name}", None)
    if model.path == BUILT_IN:
        from tasks.runtime.default_model import default_model

        folder = default_model(say)
        return Resolved(f"{BUILT_IN}:{weights_hash(folder)[:16]}", str(folder))
    if is_url(model.path):
        folder = fetch(model.path, say, f"models.{name}.path")
        _require_whole(name, folder)
        return Resolved(f"weights:{weights_hash(folder)[:24]}", str(folder.resolve()), url=model.path)
    return _folder_or_hub(name, model)


def _folder_or_hub(name: str, model: ModelConfig) -> Resolved:
    assert model.path is not None
    folder = expanded(model.path)
    if folder.is_dir():
        _require_whole(name, folder)
        return Resolved(f"weights:{weights_hash(folder)[:24]}", str(folder.resolve()))
    if model.path.startswith((".", "/", "~")) or model.path.count("/") != 1:
        known = f"a folder, {BUILT_IN!r}, owner/name on the hub, or the URL of a folder in an object store"
        raise UserError(f"models.{name}.path: there is no folder {model.path}; give {known}")
    return _from_hub(name, model)


def _require_whole(name: str, folder: Path) -> None:
    """What a glance into the folder tells.

    Raises:
        UserError: it holds an adapter, no weights, or not all of them.
    """
    setting = f"models.{name}.path: {folder}"
    if (folder / "adapter_config.json").exists():
        base = read_json(folder / "adapter_config.json").get("base_model_name_or_path") or "its base"
        raise UserError(
            f"{setting} holds a LoRA adapter: merge it into {base} first (peft: merge_and_unload, save_pretrained)"
        )
    if not (folder / "config.json").exists() or not weight_files(folder):
        raise UserError(f"{setting} is a folder without weights; it needs config.json and *.safetensors")
    for path in (folder / "config.json", *weight_files(folder), *folder.glob("tokenizer*"), *folder.glob("*.model")):
        if path.is_file() and _begins(path).startswith(POINTER):
            raise UserError(
                f"{setting}: {path.name} is a Git LFS pointer, and not the file itself: run git lfs pull there"
            )
    # beside *.safetensors, an index of *.bin may have stayed: many repositories hold both, and one is fetched
    indexes = "*.safetensors.index.json" if list(folder.glob("*.safetensors")) else "*.index.json"
    for index in sorted(folder.glob(indexes)):
        shards = set((read_json(index).get("weight_map") or {}).values())
        if absent := sorted(shard for shard in shards if not (folder / str(shard)).exists()):
            raise UserError(
                f"{setting} lacks {len(absent)} of {len(shards)} weight files, the first: {absent[0]}; fetch it again"
            )
        whole = index.name.removesuffix(".index.json")
        if shards and whole not in shards and (folder / whole).exists():
            raise UserError(
                f"{setting} has its weights twice, in {whole} and in {len(shards)} parts: a server may take the one "
                "and the trainer the other; move one of them out"
            )


def _begins(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(POINTER))


def _from_hub(name: str, model: ModelConfig) -> Resolved:
    """Fetch a model into the hub's own cache, once; after that it is a folder like any other.

    Raises:
        UserError: the hub has no such model or revision for this user, or not all of its files.
        DependencyError: it cannot be fetched now; what has come is kept, and used when all of it is there.
    """
    from huggingface_hub import snapshot_download

    assert model.path is not None
    try:
        folder = snapshot_download(model.path, revision=model.revision, allow_patterns=list(FETCHED))
    except Exception as error:  # the library passes on whatever its HTTP client raises
        raise hub_error(error, f"models.{name}.path: {model.path}", model.revision or "main") from error
    _require_whole(name, Path(folder))
    # the snapshot's folder is named by its commit
    return Resolved(f"hub:{model.path}@{Path(folder).name}", folder)
