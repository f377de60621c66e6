"""The models of a round or an evaluation, served while they are needed."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from flows.examining import examined
from flows.views.display import Display
from schemas.config import Config, EngineConfig
from schemas.errors import UserError
from tasks.engine.client import Client
from tasks.engine.gate import Gate
from tasks.engine.group import Group, serve_all
from tasks.engine.load import Load, Pulse
from tasks.engine.moving import Serving, serve_on_cluster
from tasks.engine.placement import place, replicas
from tasks.engine.server import Machine, Served, fake_command, free_ports, this_machine, vllm_command, vllm_environment
from tasks.engine.tokenizer import local_tokenizer
from tasks.engine.wire import allow_connections
from tasks.judging.case import COMPARING
from tasks.models.examination import Examined
from tasks.models.resolve import Resolved
from tasks.models.serve_fetched import MODEL
from tasks.models.serve_fetched import command as serve_fetched
from tasks.runtime import runtime_device, runtime_python
from tasks.runtime.devices import gpus
from tasks.storage.manifests import load_manifest, write_load_manifest
from tasks.storage.store import Store


class Engines(Mapping[str, Client]):
    """The models by name, served while `started` is entered."""

    def __init__(
        self, config: Config, models: Mapping[str, Resolved], store: Store, display: Display,
        round_: int | None = None, checking: bool = False,
    ) -> None:  # fmt: skip
        """`round_` is the round whose manifest remembers what servers can do; `checking`: they are only asked that."""
        self._config, self._models, self._store, self._display = config, models, store, display
        self._round, self._checking = round_, checking
        self._clients: dict[str, Client] = {}
        self.gate = Gate(config.engine.max_in_flight)
        self.trained: Examined | None = None  # what is known of the policy, if it is going to be trained

    def __getitem__(self, name: str) -> Client:
        return self._clients[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._clients)

    def __len__(self) -> int:
        return len(self._clients)

    @asynccontextmanager
    async def started(self, names: set[str]) -> AsyncIterator[None]:
        """Start (or reach) the models of these names; stop what was started. The same weights are served once.

        Servers that run already are asked first what they can do: it takes a second, and starting one's own a minute.

        Raises:
            UserError: a role cannot be played by a model's server.
            DependencyError: a server does not answer, or cannot be started.
        """
        allow_connections(self._config.engine.max_in_flight)
        models = self._config.models
        own = {self._models[name].served: name for name in sorted(names) if not models[name].base_urls}
        async with AsyncExitStack() as stack:
            for name in sorted(name for name in names if models[name].base_urls):
                await self._reach(stack, name, models[name].base_urls)
            servers = {
                weights: await stack.enter_async_context(self._serve(name, share=1 / len(own)))
                for weights, name in own.items()
            }
            for name in sorted(name for name in names if not models[name].base_urls):
                server = servers[self._models[name].served]
                await self._reach(stack, name, server.urls, server)
            async with self._followed():
                yield

    @asynccontextmanager
    async def _followed(self) -> AsyncIterator[None]:
        """Let as many requests in as the servers have use for, and keep how full they were."""
        if self._checking:
            yield
            return
        stored = load_manifest(self._store, self._round) if self._round is not None else {}
        known = {name: Load.read(entry) for name, entry in stored.items() if isinstance(entry, dict)}
        pulse = Pulse(self.gate, {name: client.replicas for name, client in self._clients.items()}, known)
        beating = asyncio.create_task(pulse.beat())
        try:
            yield
        finally:
            beating.cancel()
            if self._round is not None and pulse.told:
                loads = {name: load.stored() for name, load in pulse.loads.items() if name in pulse.told}
                write_load_manifest(self._store, self._round, stored | loads)

    async def _reach(
        self, stack: AsyncExitStack, name: str, urls: Sequence[str], server: Group | None = None
    ) -> None:  # fmt: skip
        """A client of a model's servers, told what they can do."""
        config = self._config
        identity, say = self._models[name].identity, self._display.say
        client = Client(identity, config.models[name], config.engine, urls, self.gate, server, say)
        stack.push_async_callback(client.close)
        if server is not None:
            server.follow(client.move)
        if server is None or config.engine.kind != "fake" or self._checking:  # a dry run's stand-in speaks as vLLM
            await examined(name, client, config, self._store, self._round, say, not self._checking)
        if not self._checking:
            await _check_room(client, config, name)
        if name == "policy" and self.trained:
            await _check_prompt(client, self.trained)
        if not self._checking:
            tokenizer = local_tokenizer(self._models[name].path)
            if tokenizer and not await client.count_by(tokenizer):
                say(f"models.{name}: its server makes other tokens than its folder's tokenizer, and counts them itself")
        self._clients[name] = client

    def _serve(self, name: str, share: float) -> AbstractAsyncContextManager[Group]:
        """Serve a model `engine.replicas` times, with a share of what the GPUs' memory has to give."""
        if self._config.cluster.kind == "ray":
            return self._serve_on_cluster(name, share)
        engine = self._config.engine
        engine = engine.model_copy(update={"gpu_memory_utilization": engine.gpu_memory_utilization * share})
        machine = this_machine("cpu" if engine.kind == "fake" else runtime_device())
        devices = gpus() if machine.device != "cpu" else ()
        ports = free_ports(replicas(engine, machine, devices), engine.port)
        servers = [
            self._server(name, engine, number, ports, *place(number, len(ports), machine, devices, engine))
            for number in range(len(ports))
        ]
        return serve_all(servers, self._display.say)

    def _serve_on_cluster(self, name: str, part: float) -> AbstractAsyncContextManager[Group]:
        engine, model = self._config.engine, self._models[name]
        path = model.path
        machine = replace(this_machine("cpu" if engine.kind == "fake" else runtime_device()), cores=())
        gpus_each = engine.tensor_parallel_size if machine.device != "cpu" else 0
        if engine.kind == "fake":
            title, command, env = "the fake engine", fake_command("{port}", engine.max_model_len, "{host}"), {}
        else:
            assert path is not None
            served = MODEL if model.url else path  # each node has its own copy of what lies in an object store
            used = engine.gpu_memory_utilization * (part if gpus_each == 1 else 1.0)
            engine = engine.model_copy(update={"gpu_memory_utilization": used})
            trust = self._config.models[name].trust_remote_code
            command = vllm_command(runtime_python(), served, "{port}", engine, machine, trust, "{host}")
            title, env = f"vLLM with {Path(path).name} on {machine.device}", vllm_environment(machine)
        log = self._store.workdir.absolute() / "logs" / f"engine-{_file_name(name)}{{}}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        needs = (command[0], str(log.parent), *([path] if path and engine.kind != "fake" else []))
        if model.url and engine.kind != "fake":
            command = serve_fetched(model.url, command)
            needs = (command[0], command[1], str(runtime_python()))
        serving = Serving(title, command, env, gpus_each, part, needs, log)
        say, waiting = self._display.say, self._display.waiting
        return serve_on_cluster(serving, engine.replicas, self._config.cluster, self._config.engine, say, waiting)

    def _server(
        self, name: str, engine: EngineConfig, number: int, ports: Sequence[int], machine: Machine, devices: str
    ) -> Served:
        """One of a model's servers, not yet started."""
        port, which = ports[number], f"-{number + 1}" if len(ports) > 1 else ""
        log = self._store.workdir / "logs" / f"engine-{_file_name(name)}{which}.log"
        if engine.kind == "fake":
            title, command, env = "the fake engine", fake_command(port, engine.max_model_len), dict[str, str]()
        else:
            model = self._models[name].path
            assert model is not None
            trust = self._config.models[name].trust_remote_code
            command = vllm_command(runtime_python(), model, port, engine, machine, trust)
            env = vllm_environment(machine, devices)
            title = f"vLLM with {Path(model).name} on {machine.device}"
        title += f" ({number + 1} of {len(ports)})" if which else ""
        return Served(title, command, env, port, log, engine, self._display.say, self._display.waiting)


def _file_name(model: str) -> str:
    """A model's name as a part of a file's name: it may hold a slash."""
    return re.sub(r"[^\w.-]", "-", model)


async def _check_prompt(client: Client, known: Examined) -> None:
    """The policy's server must make the ids of a prompt that are trained on.

    Raises:
        UserError: it makes others.
    """
    theirs = await client.prompt_ids(known.messages) if known.prompt_ids else None
    if theirs is not None and theirs != list(known.prompt_ids):
        pairs = zip(theirs, known.prompt_ids, strict=False)
        same = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(theirs), len(known.prompt_ids)))
        raise UserError(
            f"the server of models.policy makes other tokens of a prompt ({len(theirs)}) than its folder says "
            f"({len(known.prompt_ids)}), from token {same} on, and would be trained on what it was not asked: let it "
            "have the chat template and the tokenizer of models.policy.path (engine.extra_args may name others)"
        )


async def _check_room(client: Client, config: Config, name: str) -> None:
    """A role whose answer alone fills the context can never be played.

    Raises:
        UserError: names the setting.
    """
    limit = await client.max_model_len()
    writes = config.rating.mode == "pointwise" or (
        config.rating.mode in COMPARING and config.dialect_of("judge") == "structured"
    )
    for role in ("propose", "answer", "rubric", *(["judge"] if writes else [])):
        if getattr(config.roles, role) == name and (wanted := getattr(config.sampling, role).max_tokens) >= limit - 64:
            raise UserError(
                f"sampling.{role}.max_tokens={wanted} leaves no room for a prompt in the context of {limit} tokens; "
                f"lower it or raise {f'models.{name}' if config.models[name].base_urls else 'engine'}.max_model_len"
            )
