"""The latency-modelled server speaks as vLLM does, and its answers are valid in every role."""

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.model_answers import LENGTHS, ModelAnswers, tokens_of
from benchmarks.model_server import ModelledEngine, Waited
from benchmarks.pipeline import busy_share, generation
from benchmarks.sampler import pattern
from schemas.outputs import MarkSheet, Output, ProposedProblem, Rubric, bounded_schema
from tests.samples import STRUCTURED, all_stages, config, document, plan_of


@pytest.fixture(scope="module")
def server() -> Iterator[ModelledEngine]:
    with ModelledEngine(card="h100", speed=500, kv_tokens=200_000) as engine:
        yield engine


def asked(server: ModelledEngine, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(server.url.removesuffix("/v1") + path, data, timeout=60) as answer:
        return json.loads(answer.read()) if path != "/metrics" else answer.read().decode()


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "policy", "messages": [{"role": "user", "content": text}], "max_tokens": 4000, **more}


@pytest.mark.parametrize("model", [ProposedProblem, Rubric, MarkSheet])
def test_structured_answers_fit_their_schemas(server: ModelledEngine, model: type[Output]) -> None:
    form = {"type": "json_schema", "json_schema": {"name": model.__name__, "schema": bounded_schema(model, 4)}}
    for seed in range(5):
        found = asked(server, "/v1/chat/completions", chat("Go on.", response_format=form, seed=seed))
        said = model.model_validate_json(found["choices"][0]["message"]["content"])
        assert all(len(value) <= 4 for value in vars(said).values() if isinstance(value, list))


def test_every_stage_of_a_shard_passes_its_checks(server: ModelledEngine, tmp_path: Path) -> None:
    tables = all_stages(server.url, plan_of(config(STRUCTURED, sampling={
        "propose": {"max_tokens": 4000}, "answer": {"max_tokens": 4000}, "rubric": {"max_tokens": 4000},
        "judge": {"max_tokens": 4000},
    })), [document(1), document(2)], tmp_path / "journal")  # fmt: skip
    for name in ("problems", "answers", "rubrics", "ratings"):
        assert {row["status"] for row in tables[name]} == {"ok"} and tables[name], name


def test_choices_log_probabilities_and_prompt_scores_have_vllms_shape(server: ModelledEngine) -> None:
    digits = chat("Mark it.", structured_outputs={"choice": ["0", "1", "2"]}, logprobs=True, top_logprobs=20)
    choice = asked(server, "/v1/chat/completions", digits)["choices"][0]
    assert choice["message"]["content"] in "012" and len(choice["logprobs"]["content"][0]["top_logprobs"]) == 3
    ids = asked(server, "/tokenize", {"model": "policy", "prompt": "a text of some tokens"})["tokens"]
    scored = asked(server, "/v1/completions", {"prompt": [ids, ids[:3]], "max_tokens": 1, "prompt_logprobs": 0})
    given = [one["prompt_logprobs"] for one in scored["choices"]]
    assert [len(one) for one in given] == [len(ids), 3] and given[0][0] is None and str(ids[1]) in given[0][1]


def test_what_it_cannot_do_is_refused(server: ModelledEngine) -> None:
    for body, status in (
        (chat("x", model="other"), 404),
        (chat("x", max_tokens=10**6), 400),
        ({"model": "policy"}, 400),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            asked(server, "/v1/chat/completions", body)
        assert refused.value.code == status


def test_the_metrics_are_vllms_and_the_steps_add_up(server: ModelledEngine) -> None:
    bodies = [json.dumps(chat(f"{'the same beginning ' * 50} and then {n}", seed=n)).encode() for n in range(8)]
    before = server.load()["written_tokens"]
    asyncio.run(pattern(server.url, [[[], bodies, [], []], [[], [], [], bodies[:2]]], workers=2))
    load, metrics = server.load(), asked(server, "/metrics")
    assert load["hits"] > 0 and load["written_tokens"] > before
    for name in ("num_requests_running", "num_requests_waiting", "prefix_cache_hits_total", "generation_tokens_total"):
        assert f"vllm:{name}{{" in metrics
    began, ended = generation(load)
    assert 0 <= began < ended and 0 <= busy_share(load) < 1  # eight never fill an H100


def test_lengths_follow_their_distribution_and_the_seed_alone() -> None:
    answers, other = (ModelAnswers("policy", 32_768, {"text": (100, 0.3)}, seed) for seed in (0, 1))
    bodies = [json.dumps(chat("Why?", seed=n)).encode() for n in range(200)]
    lengths = [answers.chat(body).costs[0][2] for body in bodies]
    assert lengths == [answers.chat(body).costs[0][2] for body in bodies]
    assert lengths != [other.chat(body).costs[0][2] for body in bodies]
    assert 90 < sorted(lengths)[100] < 110 and LENGTHS["text"][0] == 400
    cut = answers.chat(json.dumps(chat("Why?", max_tokens=20)).encode()).reply
    assert cut["choices"][0]["finish_reason"] == "length" and cut["usage"]["completion_tokens"] == 20
    assert tokens_of(cut["choices"][0]["message"]["content"]) == 20


def test_full_is_no_seat_left_or_somebody_waiting() -> None:
    # begin, seconds, running, waiting, KV tokens: an examination, then half a second short of seats, and two of waiting
    steps = [(0.0, 1.0, 1, 0, 9), (5.0, 0.5, 3, 0, 9), (5.5, 1.0, 4, 0, 9), (6.5, 1.0, 3, 2, 9), (8.0, 0.5, 2, 0, 9)]
    assert busy_share({"steps": steps, "seats": 4}) == pytest.approx(2.0 / 3.5)


def test_time_without_a_core_is_counted_of_a_process_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = Waited()
    assert waited.seconds == 0.0
    waited.watch(2**22 + 1)  # none has this number
    assert waited.seconds == 0.0
    told = iter([1e9, 3e9, None])  # nanoseconds; the last: it has ended
    monkeypatch.setattr(Waited, "_read", lambda *_: next(told))
    waited.watch(1)
    assert [waited.seconds, waited.seconds] == [2.0, 2.0]
