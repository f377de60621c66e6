"""`pop check-models`: every model of a configuration is reached, or started, and asked what it can do."""

import tempfile
from contextlib import AsyncExitStack

from flows.engines import Engines
from flows.examining import models_to_check, refusal
from flows.views.display import Display
from schemas.config import Config
from schemas.errors import PopError, UserError
from tasks.engine.capabilities import Capabilities
from tasks.models.resolve import resolve
from tasks.storage.store import Store


async def check(config: Config, only: str | None) -> tuple[dict[str, Capabilities], list[PopError]]:
    """What each model's servers can do, and what is wrong with which of them.

    Raises:
        UserError: there is no model of the name `only`.
    """
    names = [only] if only else models_to_check(config)
    if only and only not in config.models:
        raise UserError(f"--model {only}: models has {', '.join(sorted(config.models))}")
    found: dict[str, Capabilities] = {}
    errors: list[PopError] = []
    with tempfile.TemporaryDirectory(prefix="pop-check-") as folder, Display() as display:
        for name in names:
            models = {name: resolve(name, config, display.say)}
            engines = Engines(config, models, Store(folder, "check"), display, checking=True)
            async with AsyncExitStack() as stack:
                try:
                    await stack.enter_async_context(engines.started({name}))
                except PopError as error:
                    errors.append(error)
                    continue
                found[name] = engines[name].able
                if (refused := refusal(config, name, found[name])) is not None:
                    errors.append(refused)
    return found, errors
