"""The models of a round or an evaluation, served while they are needed."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

from flows.views.display import Display
from schemas.config import Config
from schemas.errors import UserError
from tasks.engine.client import Client
from tasks.engine.server import Served, fake_command, free_port, serve, this_machine, vllm_command, vllm_environment
from tasks.judging.case import COMPARING
from tasks.models.resolve import Resolved
from tasks.runtime import runtime_device, runtime_python
from tasks.storage.store import Store


class Engines(Mapping[str, Client]):
    """The models by name, served while `started` is entered."""

    def __init__(self, config: Config, models: Mapping[str, Resolved], store: Store, display: Display) -> None:
        self._config, self._models, self._store, self._display = config, models, store, display
        self._clients: dict[str, Client] = {}

    def __getitem__(self, name: str) -> Client:
        return self._clients[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._clients)

    def __len__(self) -> int:
        return len(self._clients)

    @asynccontextmanager
    async def started(self, names: set[str]) -> AsyncIterator[None]:
        """Start (or reach) the models of these names; stop what was started. The same weights are served once."""
        config = self._config
        own = {self._models[name].identity: name for name in sorted(names) if not config.models[name].base_urls}
        async with AsyncExitStack() as stack:
            gate = asyncio.Semaphore(config.engine.max_in_flight)
            servers = {
                identity: await stack.enter_async_context(self._serve(name, share=1 / len(own)))
                for identity, name in own.items()
            }
            for name in sorted(names):
                model, identity = config.models[name], self._models[name].identity
                server = None if model.base_urls else servers[identity]
                urls = (server.url,) if server else model.base_urls
                client = Client(identity, model, config.engine, urls, gate, server)
                stack.push_async_callback(client.close)
                self._clients[name] = client
                await _check_room(client, config, name)
            yield

    def _serve(self, name: str, share: float) -> AbstractAsyncContextManager[Served]:
        """Serve a model with a share of what the GPU's memory has to give."""
        config, model = self._config.engine, self._models[name]
        config = config.model_copy(update={"gpu_memory_utilization": config.gpu_memory_utilization * share})
        port = free_port(config.port)
        log = self._store.workdir / "logs" / f"engine-{name}.log"
        if config.kind == "fake":
            title, command, env = "the fake engine", fake_command(port, config.max_model_len), dict[str, str]()
        else:
            assert model.path is not None
            machine = this_machine(runtime_device())
            command, env = vllm_command(runtime_python(), model.path, port, config, machine), vllm_environment(machine)
            title = f"vLLM with {Path(model.path).name} on {machine.device}"
        return serve(title, command, env, port, log, config, self._display.say, self._display.waiting)


async def _check_room(client: Client, config: Config, name: str) -> None:
    """A role whose answer alone fills the context can never be played.

    Raises:
        UserError: names the setting.
    """
    limit = await client.max_model_len()
    writes = config.rating.mode == "pointwise" or (
        config.rating.mode in COMPARING and config.task.dialect == "structured"
    )
    for role in ("propose", "answer", "rubric", *(["judge"] if writes else [])):
        if getattr(config.roles, role) == name and (wanted := getattr(config.sampling, role).max_tokens) >= limit - 64:
            raise UserError(
                f"sampling.{role}.max_tokens={wanted} leaves no room for a prompt in the context of {limit} tokens; "
                "lower it or raise engine.max_model_len"
            )
