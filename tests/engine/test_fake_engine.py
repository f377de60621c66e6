"""The fake engine keeps its promises: same request, same answer; valid instances; faults as asked for."""

import asyncio
import json
import math
from collections import Counter
from typing import Annotated, Any, Literal

import httpx
import openai
import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from tasks.engine.fake import FakeEngine, FakeServer, Settings

DOCUMENT = "Leber hereditary optic neuropathy damages the optic nerve and leads to sudden loss of central vision."


CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


def chat_body(prompt: str = DOCUMENT, **params: Any) -> dict[str, Any]:
    """A chat request of one message."""
    return {"model": "policy", "messages": [{"role": "user", "content": prompt}], **params}


def json_body(schema: dict[str, Any], **params: Any) -> dict[str, Any]:
    """A chat request for JSON."""
    form = {"type": "json_schema", "json_schema": {"name": "asked", "schema": schema}}
    return chat_body(response_format=form, **params)


def post(body: Any, path: str = CHAT, server: FakeServer | None = None) -> httpx.Response:
    """Ask a server in this process."""
    server = server or FakeServer(Settings())

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(server.app())
        async with httpx.AsyncClient(transport=transport, base_url="http://fake") as client:
            return await client.post(path, content=body if isinstance(body, bytes) else json.dumps(body).encode())

    return asyncio.run(ask())


def choice_of(body: Any, path: str = CHAT, fault: str = "") -> dict[str, Any]:
    """The first choice, of a server that has the fault always."""
    server = FakeServer(Settings(max_model_len=100_000, shares={fault: 1.0} if fault else {}))
    response = post(body, path, server)
    assert response.status_code == 200, response.text
    return dict(json.loads(response.text)["choices"][0])


def said(body: Any, fault: str = "") -> str:
    """The first choice's text."""
    return str(choice_of(body, fault=fault)["message"]["content"])


def test_the_answer_depends_on_the_request_alone() -> None:
    bodies = [chat_body(f"{DOCUMENT} {n % 4}", seed=n, n=2) for n in range(12)]
    bodies += [chat_body(temperature=0, seed=n) for n in range(2)]

    async def answers(order: list[int]) -> list[bytes]:
        with FakeEngine() as engine:
            async with httpx.AsyncClient() as client:
                sent = [client.post(f"{engine.url}/chat/completions", json=bodies[n]) for n in order]
                found = dict(zip(order, await asyncio.gather(*sent), strict=True))
        return [found[n].content for n in range(14)]

    first = asyncio.run(answers(list(range(14))))
    assert asyncio.run(answers(list(reversed(range(14))))) == first
    texts = [choice["message"]["content"] for body in first for choice in json.loads(body)["choices"]]
    assert len(set(texts)) == 25  # greedy decoding has no use for the seed; all else differs
    assert all(text.startswith("[fake] ") for text in texts)


def test_max_tokens_and_stop_cut() -> None:
    cut = post(chat_body(max_tokens=7)).json()
    assert (cut["choices"][0]["finish_reason"], cut["usage"]["completion_tokens"]) == ("length", 7)
    text = said(chat_body())
    assert text.startswith(cut["choices"][0]["message"]["content"])
    assert said(chat_body(stop=[".", "never"])) == text.partition(".")[0]


def test_a_choice_comes_with_probabilities_that_sum_to_one() -> None:
    body = chat_body(structured_outputs={"choice": ["0", "1", "2"]}, logprobs=True, top_logprobs=3)
    found = [choice_of(body | {"seed": seed}) for seed in range(30)]
    tops = [choice["logprobs"]["content"][0]["top_logprobs"] for choice in found]
    likely = {top["token"]: top["logprob"] for top in tops[0]}
    assert set(likely) == {"0", "1", "2"}
    assert math.isclose(sum(math.exp(value) for value in likely.values()), 1, abs_tol=1e-4)
    assert all(top == tops[0] for top in tops)
    assert len({choice["message"]["content"] for choice in found}) > 1
    assert said(body | {"temperature": 0}) == max(likely, key=lambda token: likely[token])


class Criterion(BaseModel):
    """Bounded."""

    name: str = Field(min_length=3, max_length=40)
    kind: Literal["fact", "style"]
    weight: int = Field(ge=1, le=5)
    share: float = Field(gt=0, lt=1)
    note: Annotated[str, Field(max_length=8)] | None = None


class Rubric(BaseModel):
    """Nested."""

    thoughts: str = Field(max_length=300)
    criteria: list[Criterion] = Field(min_length=3, max_length=6)


class Mixed(BaseModel):
    """All that pydantic's schemas have, and a type inside itself."""

    one: Criterion | int
    pair: tuple[int, Annotated[float, Field(ge=-2, le=-1)]]
    even: int = Field(multiple_of=2, gt=2, lt=9)
    tenths: float = Field(multiple_of=0.5, ge=1)
    names: set[Literal["a", "b", "c", "d"]] = Field(min_length=2)
    by_name: dict[str, Criterion]
    anything: Any
    slug: str = Field(pattern=r"^[a-z_]+$")
    version: Literal[3]
    parts: list["Mixed"] = Field(max_length=1)
    flag: bool


@pytest.mark.parametrize("model", [Rubric, Mixed, list[Criterion], int])
def test_instances_are_valid(model: Any) -> None:
    adapter = TypeAdapter[Any](model)
    texts = {said(json_body(adapter.json_schema(), seed=seed)) for seed in range(30)}
    assert len(texts) > 5
    for text in texts:
        adapter.validate_json(text)


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", {"model": "policy"}, chat_body(max_tokens=0), chat_body(stream=True),
     chat_body(structured_outputs={"regex": "a+"}), json_body({"type": "quantity"}), json_body({"$ref": "#"}),
     json_body({"type": "array", "minItems": 10**9}), json_body({"type": "integer", "minimum": "x"}),
     json_body({"enum": []}), json_body({"type": "string", "pattern": "("})],
)  # fmt: skip
def test_a_bad_request_is_refused(body: Any) -> None:
    assert post(body).json()["error"]["code"] == 400


def test_a_fact_is_likelier_after_an_answer_that_holds_it() -> None:
    fact = "damages the optic nerve"

    def mean(answer: str) -> float:
        prompt = f"Question what is it Answer {answer} The facts are {fact}"
        tokens = post({"prompt": prompt}, "/tokenize").json()["tokens"]
        body = {"max_tokens": 1, "prompt_logprobs": 0}
        as_text, as_ids = (choice_of(body | {"prompt": given}, COMPLETIONS) for given in (prompt, tokens))
        pairs = list(zip(tokens, as_text["prompt_logprobs"], strict=True))
        values = [entry[str(token)]["logprob"] for token, entry in pairs[1:]]
        assert values == [next(iter(entry.values()))["logprob"] for entry in as_ids["prompt_logprobs"][1:]]
        return float(sum(values[-4:]) / 4)

    nothing = mean("")
    assert mean(DOCUMENT) > mean("It damages the ear") > nothing == mean("A satellite system")
    assert mean(DOCUMENT) > nothing + 1.5


def test_content_faults() -> None:
    hostile = ""
    for seed in range(12):
        plain, shaped = chat_body(seed=seed), json_body(Rubric.model_json_schema(), seed=seed)
        assert said(plain, "malformed") == ""
        assert choice_of(plain, fault="truncated")["finish_reason"] == "length"
        for fault in ("malformed", "truncated"):
            with pytest.raises(ValidationError):
                Rubric.model_validate_json(said(shaped, fault))
        hostile += said(plain, "garbage") + said(shaped, "garbage")
    assert all(part in hostile for part in ("\x00", "NaN", "1e999", "[" * 300, "</document>", "\ud800"))


def test_faults_of_likelihoods() -> None:
    body = {"prompt": [1, 2, 3, 4], "max_tokens": 1, "prompt_logprobs": 0}
    faults = ("malformed", "truncated", "garbage")
    missing, half, bad = (choice_of(body, COMPLETIONS, fault)["prompt_logprobs"] for fault in faults)
    assert (missing, len(half)) == (None, 2)
    assert (bad[0], math.isnan(bad[1]["2"]["logprob"])) == (None, True)


def test_a_share_is_kept_and_a_retry_can_succeed() -> None:
    def statuses(seed: int) -> list[list[int]]:
        server = FakeServer(Settings(shares={"http429": 0.3, "http500": 0.2}, fault_seed=seed))
        return [[post(chat_body(seed=n), server=server).status_code for _ in range(3)] for n in range(60)]

    first = statuses(0)
    flat = [status for row in first for status in row]
    assert 30 <= flat.count(429) <= 80
    assert 15 <= flat.count(500) <= 60
    assert sum(row[0] != 200 and 200 in row[1:] for row in first) > 10
    assert statuses(0) == first != statuses(1)


def test_the_official_client_meets_vllm_errors_and_gets_through_faults() -> None:
    async def ask(engine: FakeEngine) -> list[Any]:
        async with openai.AsyncOpenAI(base_url=engine.url, api_key="none", max_retries=8) as client:
            create = client.chat.completions.create
            with pytest.raises(openai.BadRequestError, match="This model's maximum context length is 2048 tokens"):
                await create(model="policy", messages=[{"role": "user", "content": "word " * 2000}], max_tokens=100)
            with pytest.raises(openai.NotFoundError, match="does not exist"):
                await create(model="gpt", messages=[{"role": "user", "content": "word"}])
            messages: list[Any] = [{"role": "user", "content": DOCUMENT}]
            return await asyncio.gather(*[create(model="policy", messages=messages, seed=n) for n in range(40)])

    faults: dict[str, float | str] = {"http429": 0.3, "slow": "0.05:0.5"}
    with FakeEngine(faults=faults, retry_after_sec=0.01, latency_sec=0.02, max_model_len=2048) as engine:
        answers = asyncio.run(ask(engine))
        counts = engine.counts()
    assert all(answer.choices[0].message.content.startswith("[fake] ") for answer in answers)
    assert counts["endpoints"]["/v1/chat/completions"] == 42 + counts["faults"]["http429"] > 47
    assert counts["faults"]["slow"] > 5
    assert counts["peak_in_flight"] > 10


def test_disconnect_and_hang() -> None:
    met: Counter[type[Exception]] = Counter()
    with FakeEngine(faults={"disconnect": 0.6, "hang": 0.4}) as engine:
        for seed in range(6):
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadTimeout)) as caught:
                httpx.post(f"{engine.url}/chat/completions", json=chat_body(seed=seed), timeout=1)
            met[caught.type] += 1
        counts = engine.counts()
    assert len(met) == 2
    assert counts["faults"] == {"disconnect": met[httpx.RemoteProtocolError], "hang": met[httpx.ReadTimeout]}


def test_it_dies_on_request_and_with_its_starter() -> None:
    with FakeEngine(die_after=1) as engine:
        assert engine.process is not None
        httpx.post(f"{engine.url}/chat/completions", json=chat_body()).raise_for_status()
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{engine.url}/chat/completions", json=chat_body())
        assert engine.process.wait(30) == 1
    with FakeEngine() as engine:
        assert engine.process and engine.process.stdin
        engine.process.stdin.close()  # as when the starter dies
        assert engine.process.wait(30) == 0


def test_an_engine_that_cannot_start_says_so() -> None:
    with pytest.raises(RuntimeError, match="exit code 2"):
        FakeEngine(faults={"typo": 1}).start()
