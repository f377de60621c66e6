"""What the servers of a round can do: asked before the first call is paid for, and remembered in the round's manifest.

A round that goes on asks again only where the address, the name or the parameters are others than those asked about, or
where what is remembered would stop it: the server may have been mended since.
"""

from collections.abc import Callable
from typing import Any

from schemas.config import Config
from schemas.errors import UserError
from tasks.engine.capabilities import ROLES, Capabilities, require
from tasks.engine.client import Client
from tasks.engine.dialects import DIALECTS
from tasks.engine.drawing import Drawing
from tasks.engine.examine import examine
from tasks.engine.parameters import family_of, params_of
from tasks.storage.manifests import servers_manifest, write_servers_manifest
from tasks.storage.store import Store

Say = Callable[[str], None]


async def examined(
    name: str, client: Client, config: Config, store: Store, round_: int | None, say: Say, playing: bool = True
) -> None:  # fmt: skip
    """Let a client know what its servers can do; without a round nothing is remembered.

    Args:
        playing: whether the model is going to play its roles, and must be able to.

    Raises:
        UserError: a role cannot be played there; the address, the key or the model's name is wrong.
        EngineError: no server answers.
    """
    asked = _asked(name, client, config)
    able = _remembered(servers_manifest(store, round_).get(name), asked) if round_ is not None else None
    if able is not None and refusal(config, name, able) is None:
        client.found(able)
        return
    if (family := family_of(config.models[name])) is not None:
        say(f"{name}: asked as {family[0]} want it ({_listed(family[1])}); models.{name}.params overrides that")
    able, each = await examine(client, standard(config, name), adds_nothing=_adds_nothing(client, config))
    client.found(able)
    for url, outcome in each.items():
        say(f"{name} at {url}: {outcome if isinstance(outcome, str) else summary(outcome)}")
    if round_ is not None:
        stored = {url: one if isinstance(one, str) else one.stored() for url, one in each.items()}
        entry = {"asked": asked, "able": able.stored(), "each": stored}
        write_servers_manifest(store, round_, servers_manifest(store, round_) | {name: entry})
    if playing:
        require(config, name, able)


def _adds_nothing(client: Client, config: Config) -> bool:
    """Of a server of ours: it is started so, unless its arguments say otherwise."""
    return client.server is not None and not any("generation-config" in one for one in config.engine.extra_args)


def _asked(name: str, client: Client, config: Config) -> dict[str, Any]:
    model = config.models[name]
    return {
        "model": client.model, "base_urls": list(model.base_urls), "served_name": model.served_name,
        "params": params_of(model), "extra_args": list(config.engine.extra_args),
    }  # fmt: skip


def _remembered(entry: Any, asked: dict[str, Any]) -> Capabilities | None:
    try:
        able = Capabilities.read(entry["able"]) if entry["asked"] == asked else None
        usable = able is not None and able.choices in DIALECTS and not able.refused and _all_asked(able)
    except (TypeError, KeyError):
        return None
    return able if usable else None


def _all_asked(able: Capabilities) -> bool:
    """Not by a version that took log-probabilities for those of the digits alone."""
    return able.choices_only or not able.top_logprobs or able.digits_hold is not None


def standard(config: Config, name: str) -> dict[str, Any]:
    """The parameters that requests of a model's roles carry, with tiny values: the temperature is the oddest one."""
    drawn = [getattr(config.sampling, role) for role in ROLES if getattr(config.roles, role) == name]
    temperatures = [sampling.temperature for sampling in drawn] or [1.0]
    asked = [config.dialect_of(role) for role in ROLES if getattr(config.roles, role) == name] or [config.task.dialect]
    stops = "stepwise" in asked or any(sampling.stop for sampling in drawn)
    return {
        "temperature": max(temperatures, key=lambda value: abs(value - 1.0)),
        "top_p": min((sampling.top_p for sampling in drawn), default=1.0), "max_tokens": 8, "seed": 1,
    } | ({"stop": ["\n\n\n"]} if stops else {})  # fmt: skip


def summary(able: Capabilities) -> str:
    """What was found, on a line."""
    choices = f"choices by {able.choices}" if able.choices != "none" else "no constrained choices"
    logprobs = f"{able.top_logprobs} log-probabilities" if able.top_logprobs else "no log-probabilities"
    if able.digits_hold is not None:
        logprobs += f" as if unconstrained (the digits hold {able.digits_hold:.0%})"
    prompt = "and those of prompts" if able.prompt_logprobs else "none of prompts"
    context = f"context {able.context}" if able.context else "context not told"
    schema = f"JSON schemas {able.json_schema}"
    return f"{able.owner or 'a server'}; {context}; {choices}; {schema}; {logprobs}, {prompt}{drawn(able.drawing)}"


def drawn(drawing: Drawing | None) -> str:
    """What of its sampling parameters cannot be said, or has no setting; nothing where all can."""
    if drawing is None:
        return ""
    unknown = f"; takes no {' or '.join(drawing.unknown)}, so these are its own" if drawing.unknown else ""
    left = ", ".join(f"{name} = {value}" for name, value in drawing.open.items())
    return unknown + (f"; fills in {left}, and no setting says otherwise" if left else "")


def _listed(params: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {'false' if value is False else value}" for name, value in params.items())


def models_to_check(config: Config) -> list[str]:
    """Names of the models that play a role, or examine and judge in an evaluation, and are described."""
    named = {*config.roles.model_dump().values(), config.evaluation.examiner, config.evaluation.judge}
    return sorted(name for name in named if name in config.models)


def refusal(config: Config, name: str, able: Capabilities) -> UserError | None:
    """Why a role of the model cannot be played, where it cannot."""
    try:
        require(config, name, able)
    except UserError as error:
        return error
    return None
