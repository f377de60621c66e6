"""The models of a round, looked over before the first call."""

from collections.abc import Mapping
from functools import partial

from flows.views.display import Display
from schemas.config import Config
from tasks.models.examination import Examined, examine, require_fit
from tasks.models.resolve import Resolved
from tasks.processes.guarded import in_thread
from tasks.runtime import runtime_python


async def examine_models(
    config: Config, models: Mapping[str, Resolved], asked: set[str], trains: bool, display: Display
) -> dict[str, Examined]:
    """Examine what is served here, and what is trained; the others' servers say for themselves what they can.

    Raises:
        UserError: a model cannot do what is wanted of it.
    """
    own = {name for name in asked if not config.models[name].base_urls} | ({"policy"} if trains else set())
    found: dict[str, Examined] = {}
    for name in sorted(own):
        model, trust = models[name], config.models[name].trust_remote_code
        if model.path is None:  # a dry run's
            continue
        display.waiting(f"looking models.{name} over")
        found[name] = await in_thread(partial(examine, model, runtime_python(), trust))
        display.waiting("")
        require_fit(name, found[name], config, trains and name == "policy")
    return found
