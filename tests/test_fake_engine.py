"""The fake engine keeps its promises: same request, same answer; valid instances; faults as asked for."""

import asyncio
import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, Literal

import httpx
import openai
import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from tasks.engine import fake_text
from tasks.engine.fake import FakeEngine, FakeServer, Settings, main

DOCUMENT = "Leber hereditary optic neuropathy damages the optic nerve and leads to sudden loss of central vision."


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    """One server without faults."""
    with FakeEngine("policy", "teacher", latency_sec=0.01, max_model_len=2048) as running:
        yield running


def chat_body(prompt: str = DOCUMENT, **params: Any) -> dict[str, Any]:
    """A chat request of one message."""
    return {"model": "policy", "messages": [{"role": "user", "content": prompt}], "max_tokens": 400, **params}


def post(server: FakeServer, body: Any, path: str = "/v1/chat/completions") -> httpx.Response:
    """Ask a server in this process."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(server.app())
        async with httpx.AsyncClient(transport=transport, base_url="http://fake") as client:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            return await client.post(path, content=content)

    return asyncio.run(ask())


def said(response: httpx.Response) -> str:
    """The first choice's text."""
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"])


def ask_of(prompt: str = DOCUMENT, seed: int = 0, **more: Any) -> fake_text.Ask:
    """An ask without a server."""
    return fake_text.Ask("policy", prompt, prompt, fake_text.tokenize(prompt), (1.0, 1.0, seed), **more)


def client_of(engine: FakeEngine, **options: Any) -> openai.AsyncOpenAI:
    """The official client."""
    return openai.AsyncOpenAI(base_url=engine.url, api_key="none", **options)


# What it says


def test_it_says_what_it_is(engine: FakeEngine) -> None:
    root = engine.url.removesuffix("/v1")
    cards = httpx.get(f"{engine.url}/models").json()["data"]
    assert [card["id"] for card in cards] == ["policy", "teacher"]
    assert {(card["owned_by"], card["max_model_len"]) for card in cards} == {("pop-fake-engine", 2048)}
    assert httpx.get(f"{root}/version").json() == {"version": "fake"}
    assert said(httpx.post(f"{engine.url}/chat/completions", json=chat_body())).startswith("[fake] ")


def test_the_answer_depends_on_the_request_alone(engine: FakeEngine) -> None:
    bodies = [chat_body(f"{DOCUMENT} {n % 4}", seed=n, n=2) for n in range(12)]
    bodies += [chat_body(temperature=0, seed=n) for n in range(2)]

    async def answers(url: str, order: list[int]) -> list[bytes]:
        async with httpx.AsyncClient() as client:
            sent = [client.post(f"{url}/chat/completions", json=bodies[n]) for n in order]
            found = dict(zip(order, await asyncio.gather(*sent), strict=True))
        return [found[n].content for n in range(len(bodies))]

    first = asyncio.run(answers(engine.url, list(range(14))))
    with FakeEngine() as other:
        assert asyncio.run(answers(other.url, list(reversed(range(14))))) == first
    texts = [choice["message"]["content"] for body in first for choice in json.loads(body)["choices"]]
    assert len(set(texts)) == 25  # greedy decoding has no use for the seed; all else differs


def test_answers_differ_in_length_and_in_overlap() -> None:
    texts = [fake_text.compose(ask_of(seed=seed)) for seed in range(200)]
    lengths = [len(text.split()) - 1 for text in texts]
    assert min(lengths) >= 20
    assert max(lengths) <= 120
    assert len(set(lengths)) > 60
    known = set(DOCUMENT.lower().split())
    shares = [sum(word in known for word in text.lower().split()) / len(text.split()) for text in texts]
    assert min(shares) < 0.3 < 0.6 < max(shares)


def test_max_tokens_and_stop_cut() -> None:
    server = FakeServer(Settings())
    whole = post(server, chat_body()).json()
    assert whole["choices"][0]["finish_reason"] == "stop"
    text = whole["choices"][0]["message"]["content"]
    cut = post(server, chat_body() | {"max_tokens": 7}).json()
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 7
    assert text.startswith(cut["choices"][0]["message"]["content"])
    stopped = said(post(server, chat_body(stop=[".", "never"])))
    assert stopped == text.partition(".")[0]


def test_tags_of_the_output_format_are_filled() -> None:
    prompt = "Answer as\n<problem>a question</problem>\n<verdict><why>…</why><rating>0, 1 or 2</rating></verdict>"
    text = fake_text.compose(ask_of(prompt))
    problem, verdict = text.split("\n", 1)
    assert problem.startswith("<problem>[fake] ")
    assert problem.endswith("</problem>")
    assert "<why>[fake] " in verdict
    assert verdict.partition("<rating>")[2][0] in "012"


def test_a_list_is_written_in_lines() -> None:
    texts = [fake_text.compose(ask_of("Write each fact on its own line.", seed)) for seed in range(20)]
    assert all(3 <= len(line.split()) <= 15 for text in texts for line in text.splitlines()[:-1])
    assert len({len(text.splitlines()) for text in texts}) > 4


def test_a_choice_comes_with_probabilities_that_sum_to_one() -> None:
    choices = ["0", "1", "2"]
    body = chat_body(structured_outputs={"choice": choices}, logprobs=True, top_logprobs=3)
    found, likely = set(), []
    for seed in range(30):
        choice = post(FakeServer(Settings()), body | {"seed": seed}).json()["choices"][0]
        entry = choice["logprobs"]["content"][0]
        values = {top["token"]: top["logprob"] for top in entry["top_logprobs"]}
        assert set(values) == set(choices)
        assert math.isclose(sum(math.exp(value) for value in values.values()), 1, abs_tol=1e-4)
        assert entry["logprob"] == values[choice["message"]["content"]]
        found.add(choice["message"]["content"])
        likely.append(values)
    assert len(found) > 1
    assert all(values == likely[0] for values in likely)
    greedy = said(post(FakeServer(Settings()), body | {"temperature": 0}))
    assert greedy == max(likely[0], key=lambda token: likely[0][token])


# JSON


class Kind(Enum):
    """An enumeration."""

    FACT = "fact"
    STYLE = "style"


class Criterion(BaseModel):
    """Part of a rubric."""

    name: str = Field(min_length=3, max_length=40)
    gold: str = Field(min_length=1, max_length=400)
    kind: Kind
    weight: int = Field(ge=1, le=5)
    share: float = Field(gt=0, lt=1)
    note: Annotated[str, Field(max_length=8)] | None = None


class Rubric(BaseModel):
    """Nested, bounded."""

    thoughts: str = Field(max_length=300)
    criteria: list[Criterion] = Field(min_length=3, max_length=6)


class Fact(BaseModel):
    """One of two."""

    type: Literal["fact"]
    names: set[Literal["a", "b", "c", "d"]] = Field(min_length=2)


class Number(BaseModel):
    """The other of two."""

    type: Literal["number"]
    pair: tuple[int, Annotated[float, Field(ge=-2, le=-1)]]
    even: int = Field(multiple_of=2, gt=2, lt=9)
    tenths: float = Field(multiple_of=0.5, ge=1)


class Mixed(BaseModel):
    """Unions, mappings, patterns, and a type inside itself."""

    one: Fact | Number = Field(discriminator="type")
    by_name: dict[str, Criterion]
    anything: Any
    slug: str = Field(pattern=r"^[a-z_]+$")
    version: Literal[3]
    parts: list["Mixed"] = Field(max_length=3)
    flag: bool


@pytest.mark.parametrize("model", [Rubric, Mixed, list[Criterion], Fact | Number, int])
def test_instances_are_valid(model: Any) -> None:
    adapter = TypeAdapter[Any](model)
    schema = adapter.json_schema()
    texts = {fake_text.compose(ask_of(seed=seed, schema=schema)) for seed in range(40)}
    assert len(texts) > 5
    for text in texts:
        adapter.validate_json(text)


def test_a_mark_sheet_has_every_criterion_once() -> None:
    names = ["cause", "symptom", "treatment"]
    mark = {"type": "object", "properties": {"name": {"enum": names}, "rating": {"type": "integer", "maximum": 2}}}
    mark["required"] = ["name", "rating"]
    schema = {"type": "array", "items": mark, "minItems": 3, "maxItems": 3}
    sheets = [json.loads(fake_text.compose(ask_of(seed=seed, schema=schema))) for seed in range(20)]
    assert all([mark["name"] for mark in sheet] == names for sheet in sheets)
    assert len({mark["rating"] for sheet in sheets for mark in sheet}) > 2


def test_a_schema_over_the_wire() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "rubric", "schema": Rubric.model_json_schema()}}
    body = chat_body(response_format=form) | {"max_tokens": 2000}
    rubric = Rubric.model_validate_json(said(post(FakeServer(Settings()), body)))
    assert all(criterion.gold.startswith("[fake] ") for criterion in rubric.criteria)
    assert len({criterion.name for criterion in rubric.criteria}) == len(rubric.criteria)
    short = post(FakeServer(Settings()), body | {"max_tokens": 20}).json()["choices"][0]
    assert short["finish_reason"] == "length"
    other = chat_body(structured_outputs={"json": Fact.model_json_schema()})
    assert Fact.model_validate_json(said(post(FakeServer(Settings()), other))).type == "fact"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "quantity"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "#"},
        {"type": "array", "minItems": 3, "maxItems": 2},
        {"type": "array", "minItems": 10**9},
        {"type": "integer", "minimum": "x"},
        {"type": "number", "minimum": 2, "maximum": 1},
        {"enum": []},
        {"anyOf": [7]},
        {"type": "string", "pattern": "("},
    ],
)
def test_a_bad_schema_is_refused(schema: dict[str, Any]) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "bad", "schema": schema}}
    response = post(FakeServer(Settings()), chat_body(response_format=form))
    assert response.status_code == 400
    assert response.json()["error"]["message"]


# Likelihood and tokens


def gain(fact: str, answer: str, as_ids: bool = False) -> float:
    """How much an answer raises the mean log-probability of a fact."""
    means: list[float] = []
    for given in (answer, ""):
        context = fake_text.tokenize(f"Question: what is it?\nAnswer: {given}\nThe facts are:")
        target = fake_text.tokenize(fact)
        prompt = [fake_text.token_id(piece) for piece in context + target]
        sent = prompt if as_ids else " ".join(context + target)
        body = {"model": "policy", "prompt": sent, "max_tokens": 1, "prompt_logprobs": 0}
        choice = post(FakeServer(Settings()), body, "/v1/completions").json()["choices"][0]
        positions = choice["prompt_logprobs"]
        assert positions[0] is None
        assert len(positions) == len(prompt)
        pairs = zip(prompt[-len(target) :], positions[-len(target) :], strict=True)
        means.append(sum(position[str(token)]["logprob"] for token, position in pairs) / len(target))
    return means[0] - means[1]


def test_a_fact_is_likelier_after_an_answer_that_holds_it() -> None:
    fact = "damages the optic nerve"
    full, part, none = (gain(fact, answer) for answer in (DOCUMENT, "It damages the ear", "A satellite system"))
    assert full > part > none == 0
    assert full > 1.5
    assert gain(fact, DOCUMENT, as_ids=True) == full


def test_completions_take_every_form_of_prompt(engine: FakeEngine) -> None:
    async def ask() -> list[Any]:
        async with client_of(engine) as client:
            prompts: list[Any] = ["a b a", ["a b a", "c"], [5, 6, 5], [[5, 6, 5], [7]]]
            asked: dict[str, Any] = {"model": "policy", "max_tokens": 1, "logprobs": 2}
            asked["extra_body"] = {"prompt_logprobs": 1}
            return [await client.completions.create(prompt=prompt, **asked) for prompt in prompts]

    answers = asyncio.run(ask())
    assert [len(answer.choices) for answer in answers] == [1, 2, 1, 2]
    assert [answer.usage.prompt_tokens for answer in answers] == [3, 4, 3, 4]
    for answer in answers:
        second, third = answer.choices[0].model_dump()["prompt_logprobs"][1:3]
        assert len(second) == 2
        (first_time, again) = (next(iter(entry.values())) for entry in (second, third))
        assert -6 <= first_time["logprob"] <= -3
        assert -1.5 <= again["logprob"] <= -0.5
        assert again["rank"] == 1 < first_time["rank"]


def test_tokens_are_counted_alike_everywhere(engine: FakeEngine) -> None:
    root = engine.url.removesuffix("/v1")
    body = chat_body("Two words, and a mark!")
    counted = httpx.post(f"{root}/tokenize", json=body | {"add_generation_prompt": True}).json()
    answer = httpx.post(f"{engine.url}/chat/completions", json=body).json()
    assert counted["count"] == len(counted["tokens"]) == answer["usage"]["prompt_tokens"]
    assert counted["max_model_len"] == 2048
    reply = answer["choices"][0]["message"]["content"]
    ids = httpx.post(f"{root}/tokenize", json={"model": "policy", "prompt": reply}).json()["tokens"]
    assert len(ids) == answer["usage"]["completion_tokens"]
    back = httpx.post(f"{root}/detokenize", json={"model": "policy", "tokens": [*ids, 3]}).json()["prompt"]
    assert back.split() == [*fake_text.tokenize(reply), "<3>"]


# Refusals


def test_the_official_client_meets_vllm_errors(engine: FakeEngine) -> None:
    async def ask() -> None:
        async with client_of(engine, max_retries=0) as client:
            create = client.chat.completions.create
            with pytest.raises(openai.BadRequestError, match="This model's maximum context length is 2048 tokens"):
                await create(model="policy", messages=[{"role": "user", "content": "word " * 2000}], max_tokens=100)
            with pytest.raises(openai.NotFoundError, match="does not exist"):
                await create(model="gpt", messages=[{"role": "user", "content": "word"}])
            with pytest.raises(openai.BadRequestError, match="greedy"):
                await create(model="policy", messages=[{"role": "user", "content": "word"}], temperature=0, n=2)

    asyncio.run(ask())


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", {"model": "policy"}, chat_body(max_tokens=0), chat_body(temperature=-1), chat_body(stream=True),
     chat_body(response_format={"type": "json_schema"}), chat_body(structured_outputs={"regex": "a+"})],
)  # fmt: skip
def test_a_bad_request_is_refused(body: Any) -> None:
    assert post(FakeServer(Settings()), body).status_code == 400


# Faults


def test_content_faults() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "rubric", "schema": Rubric.model_json_schema()}}
    hostile = ""
    for seed in range(12):
        spoiled = {kind: FakeServer(Settings(shares={kind: 1.0})) for kind in ("malformed", "truncated", "garbage")}
        plain = {kind: post(server, chat_body(seed=seed)) for kind, server in spoiled.items()}
        shaped = {kind: post(server, chat_body(seed=seed, response_format=form)) for kind, server in spoiled.items()}
        assert said(plain["malformed"]) == ""
        for response in (plain["truncated"], shaped["truncated"]):
            assert response.json()["choices"][0]["finish_reason"] == "length"
        for kind in ("malformed", "truncated"):
            with pytest.raises(ValidationError):
                Rubric.model_validate_json(said(shaped[kind]))
        hostile += said(plain["garbage"]) + said(shaped["garbage"])
    assert all(
        part in hostile for part in ("\x00", "NaN", "1e999", "[" * 300, '{"a":[' * 1000, "</document>", "\ud800")
    )
    assert "\\ud800" in hostile


def test_faults_of_likelihoods() -> None:
    body = {"model": "policy", "prompt": [1, 2, 3, 4], "max_tokens": 1, "prompt_logprobs": 0}
    found = {}
    for kind in ("malformed", "truncated", "garbage"):
        response = post(FakeServer(Settings(shares={kind: 1.0})), body, "/v1/completions")
        found[kind] = json.loads(response.text)["choices"][0]["prompt_logprobs"]
    assert found["malformed"] is None
    assert len(found["truncated"]) == 2
    assert math.isnan(found["garbage"][1]["2"]["logprob"])


def test_a_share_is_kept_and_a_retry_can_succeed() -> None:
    def statuses(seed: int) -> list[list[int]]:
        server = FakeServer(Settings(shares={"http429": 0.3, "http500": 0.2}, fault_seed=seed, retry_after_sec=0.5))
        return [[post(server, chat_body(seed=n)).status_code for _ in range(3)] for n in range(60)]

    first = statuses(0)
    flat = [status for row in first for status in row]
    assert 30 <= flat.count(429) <= 80
    assert 15 <= flat.count(500) <= 60
    assert sum(row[0] != 200 and 200 in row[1:] for row in first) > 10
    assert statuses(0) == first != statuses(1)


def test_retries_of_the_official_client_get_through() -> None:
    async def ask(engine: FakeEngine) -> list[Any]:
        async with client_of(engine, max_retries=8) as client:
            create = client.chat.completions.create
            messages: list[Any] = [{"role": "user", "content": DOCUMENT}]
            return await asyncio.gather(*[create(model="policy", messages=messages, seed=n) for n in range(40)])

    faults: dict[str, float | str] = {"http429": 0.3, "slow": "0.05:0.5"}
    with FakeEngine(faults=faults, retry_after_sec=0.01, latency_sec=0.02) as engine:
        answers = asyncio.run(ask(engine))
        counts = engine.counts()
        metrics = httpx.get(engine.url.removesuffix("/v1") + "/metrics").text
    assert all(answer.choices[0].message.content.startswith("[fake] ") for answer in answers)
    assert counts["endpoints"]["/v1/chat/completions"] == 40 + counts["faults"]["http429"] > 45
    assert counts["faults"]["slow"] > 5
    assert counts["peak_in_flight"] > 10
    read = sum(answer.usage.prompt_tokens for answer in answers)
    assert f'vllm:prompt_tokens_total{{engine="0",model_name="policy"}} {read}.0' in metrics
    assert 'vllm:num_requests_running{engine="0",model_name="policy"} 0.0' in metrics


def test_disconnect_and_hang() -> None:
    met: Counter[type[Exception]] = Counter()
    with FakeEngine(faults={"disconnect": 0.8, "hang": 0.2}) as engine:
        for seed in range(6):
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadTimeout)) as caught:
                httpx.post(f"{engine.url}/chat/completions", json=chat_body(seed=seed), timeout=2)
            met[caught.type] += 1
        counts = engine.counts()
    assert counts["endpoints"]["/v1/chat/completions"] == 6
    assert counts["faults"] == {"disconnect": met[httpx.RemoteProtocolError], "hang": met[httpx.ReadTimeout]}


def test_it_dies_on_request_and_comes_back_under_the_same_address() -> None:
    with FakeEngine(die_after=2) as engine:
        answers = [httpx.post(f"{engine.url}/chat/completions", json=chat_body()) for _ in range(2)]
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{engine.url}/chat/completions", json=chat_body())
        assert engine.process is not None
        assert engine.process.wait(30) == 1
        port = int(engine.url.removesuffix("/v1").rpartition(":")[2])
    started = time.monotonic()
    with FakeEngine(port=port, start_delay_sec=0.5) as engine:
        assert time.monotonic() - started > 0.5
        assert httpx.post(f"{engine.url}/chat/completions", json=chat_body()).content == answers[0].content
        assert engine.process is not None
        assert engine.process.stdin is not None
        engine.process.stdin.close()  # as when the starter dies
        assert engine.process.wait(30) == 0


@pytest.mark.parametrize("fault", ["typo=0.1", "hang=2", "slow=1:7", "hang=x"])
def test_a_wrong_switch_is_refused(fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--port=0", f"--fault={fault}"])
    assert ended.value.code == 2
    assert re.search("--fault|unknown fault|float", capsys.readouterr().err)


def test_an_engine_that_cannot_start_says_so() -> None:
    with pytest.raises(RuntimeError, match="exit code 2"):
        FakeEngine(faults={"typo": 1}).start()
