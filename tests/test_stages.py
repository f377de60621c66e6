"""The stages against a real server that says made-up things: nothing is lost, doubled, made up or mixed up."""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import PopError, UserError
from schemas.tables import TABLES
from tasks.answer import answer
from tasks.asking import Asker
from tasks.engine.client import Client
from tasks.engine.fake import FakeEngine
from tasks.engine.protocol import Engine, EngineError, Generation, Likelihood, Request
from tasks.engine.recorder import Recorder
from tasks.journal import Journal
from tasks.parse import Malformed
from tasks.plan import Plan
from tasks.propose import Checks, _with_reference, propose
from tasks.rate import rate
from tasks.rubric import by_length_rank, rubric
from tasks.shard import Shards, shard_task, shards_of
from tasks.stage import Round, run_shard
from tasks.store import Store
from tests.samples import (
    HOSTILE,
    STEPWISE,
    STRUCTURED,
    Row,
    all_stages,
    an_answer,
    config,
    document,
    plan_of,
    problem,
    using,
)  # fmt: skip

TAGS: Row = {"models": {"policy": {"path": "x", "output_format": "tags"}}}
FAULTS = {"malformed": 0.15, "truncated": 0.1, "garbage": 0.15, "http500": 0.03, "http429": 0.05, "disconnect": 0.02}
WAYS: dict[str, Row] = {
    "structured": STRUCTURED, "stepwise": STEPWISE, "tags": TAGS,
    **{f"{mode}-{form}": {"task": {"dialect": form}, "rating": {"mode": mode}}
       for mode in ("pairwise", "anchor") for form in ("structured", "stepwise")},
    "pairwise-tags": TAGS | {"rating": {"mode": "pairwise", "max_comparisons": 4}},
    "anchor-tags": TAGS | {"rating": {"mode": "anchor"}},
    "logprob": {"rating": {"mode": "logprob"}}, "samples": {"rating": {"samples": 3}},
    "words": {"task": {"dialect": "stepwise"}, "rating": {"mode": "pointwise"}},
    "several": {"task": {"problems_per_document": 2}, "pairing": {"strategy": "all_above_margin"}},
}  # fmt: skip
DOCUMENTS = [document(n) for n in range(4)]
Tables = dict[str, list[Row]]


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    """A server without faults."""
    with FakeEngine(max_model_len=4096) as running:
        yield running


@pytest.fixture(scope="module")
def faulty() -> Iterator[FakeEngine]:
    """A server of which half the answers are bad in some way."""
    with FakeEngine(faults=FAULTS, retry_after_sec=0.01, max_model_len=4096) as running:
        yield running


@pytest.fixture(scope="module", params=[f"{way}{bad}" for way in WAYS for bad in ("", " faulty")])
def tables(
    request: pytest.FixtureRequest, engine: FakeEngine, faulty: FakeEngine, tmp_path_factory: pytest.TempPathFactory
) -> Tables:
    """Every table of a shard, in each way of asking, of a good server and of a bad one."""
    way, _, bad = request.param.partition(" ")
    server = faulty if bad else engine
    return all_stages(server.url, plan_of(config(WAYS[way])), DOCUMENTS, tmp_path_factory.mktemp("j") / "j")


def ok(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["status"] == "ok"]


def dialect(name: str, **changes: Any) -> Plan:
    """A plan of a way of asking."""
    return plan_of(config(WAYS[name], **changes))


# What holds of every shard, however bad the server


def test_rows_have_exactly_the_tables_columns(tables: Tables) -> None:
    for name, rows in tables.items():
        for row in rows:
            assert row.keys() == set(TABLES[name].schema.names) - {"run", "reused_from"}, name


def test_ids_are_unique(tables: Tables) -> None:
    for name, rows in tables.items():
        assert len({row[TABLES[name].key] for row in rows}) == len(rows), name


def test_nothing_is_dropped(tables: Tables) -> None:
    asked = Counter(row["document_id"] for row in tables["problems"])
    assert asked == dict.fromkeys((row["document_id"] for row in DOCUMENTS), max(asked.values()))
    problems = [row["problem_id"] for row in ok(tables["problems"])]
    assert Counter(row["problem_id"] for row in tables["answers"]) == dict.fromkeys(problems, 5)  # 4 and the reference
    assert [row["problem_id"] for row in tables["rubrics"]] == problems
    assert list(dict.fromkeys(row["problem_id"] for row in tables["pairs"])) == problems
    with_rubric = {row["problem_id"] for row in ok(tables["rubrics"])}
    rateable = [row["answer_id"] for row in ok(tables["answers"]) if row["problem_id"] in with_rubric]
    assert sorted(row["answer_id"] for row in tables["ratings"]) == sorted(rateable)
    assert len(tables["preferences"]) == len(ok(tables["pairs"]))


def test_what_is_not_ok_says_why(tables: Tables) -> None:
    for name in ("problems", "answers", "rubrics", "ratings", "pairs"):
        for row in tables[name]:
            assert row["status"].replace("_", "").isalpha()
            assert row["status"] == "ok" or len(row["reason"]) > 5


def test_null_and_never_zero(tables: Tables) -> None:
    for row in tables["ratings"]:
        if row["status"] == "ok":
            assert 0 <= row["score"] <= 2
            assert all(mark["rating"] is None or 0 <= mark["rating"] <= 2 for mark in row["ratings"] or [])
        else:
            assert row["score"] is row["ratings"] is row["sample_scores"] is row["spread"] is None
    for row in tables["comparisons"]:
        assert (row["status"] == "ok") == (row["first_mark"] is not None) == (row["second_mark"] is not None)
    for row in tables["rubrics"]:
        assert (row["criteria"] is None) == (row["status"] != "ok")
    for row in tables["problems"]:
        assert (row["problem"] is None) == (row["reference_answer"] is None) == (row["status"] != "ok")


def test_what_failed_is_not_rated_and_what_is_not_rated_is_not_paired(tables: Tables) -> None:
    failed = {row["answer_id"] for row in tables["answers"] if row["status"] != "ok"}
    assert not failed & {row["answer_id"] for row in tables["ratings"]}
    paired = {row[side] for row in tables["pairs"] for side in ("chosen_answer_id", "rejected_answer_id")} - {None}
    assert paired <= {row["answer_id"] for row in ok(tables["ratings"])}


def test_references_are_rated_and_never_paired(tables: Tables) -> None:
    references = {row["answer_id"] for row in tables["answers"] if row["rollout"] == -1}
    assert len(references) == len(ok(tables["problems"]))
    assert len(references & {row["answer_id"] for row in tables["ratings"]}) == len(ok(tables["rubrics"]))
    assert not references & {
        row[side] for row in tables["pairs"] for side in ("chosen_answer_id", "rejected_answer_id")
    }
    by_problem = {row["problem_id"]: row for row in tables["problems"]}
    for row in tables["answers"]:
        if row["rollout"] == -1:
            assert row["final"] == by_problem[row["problem_id"]]["reference_answer"]


def test_every_row_leads_to_its_call(tables: Tables) -> None:
    calls = {row["generation_id"]: row for row in tables["generations"]}
    for name in ("problems", "answers", "rubrics", "comparisons", "ratings"):
        for row in tables[name]:
            many = name == "ratings" and (row["mode"] == "pairwise" or row["status"] == "unrateable")
            assert row["generation_id"] in calls or many
    for row in tables["answers"]:
        if row["rollout"] >= 0:
            assert calls[row["generation_id"]]["subject_id"] == row["answer_id"]
            assert row["text"] == calls[row["generation_id"]]["completion"]


def test_every_table_can_be_stored_whatever_was_said(tables: Tables, tmp_path: Path) -> None:
    store = Store(str(tmp_path), "r1")
    for name, rows in tables.items():
        store.write(name, 0, "shard-00000", rows, {})
        assert len(store.read(name, 0, "shard-00000")) == len(rows)


def test_failed_tries_are_kept(faulty: FakeEngine, tmp_path: Path) -> None:
    found = all_stages(faulty.url, dialect("structured", task={"max_attempts": 3}), DOCUMENTS, tmp_path / "j")
    tries = Counter((row["role"], row["subject_id"]) for row in found["generations"])
    again = [row for row in found["generations"] if row["attempt"] > 0]
    assert again
    assert max(tries.values()) <= 3
    for row in again:  # each later try has its earlier ones beside it
        assert tries[row["role"], row["subject_id"]] > row["attempt"]
    seeds = [json.loads(row["params"])["seed"] for row in found["generations"]]
    assert len(set(seeds)) == len(seeds)


# The same from any order


def test_order_concurrency_and_shards_change_no_row(engine: FakeEngine, tmp_path: Path) -> None:
    """The same rows one call at a time, the documents backwards and in two shards."""
    for way in ("structured", "stepwise"):
        plain = all_stages(engine.url, dialect(way), DOCUMENTS, tmp_path / f"{way}-j")
        slow = dialect(way, engine={"max_in_flight": 1})
        apart = [
            all_stages(engine.url, slow, part, tmp_path / f"{way}-{n}")
            for n, part in enumerate((DOCUMENTS[:0:-1], DOCUMENTS[:1]))
        ]
        for name, rows in plain.items():
            other = [row for part in apart for row in part[name]]
            found, expected = (
                sorted(({**row, "seconds": 0} for row in one), key=lambda row: row[TABLES[name].key])
                for one in (other, rows)
            )
            assert found == expected


def test_another_seed_says_something_else(engine: FakeEngine, tmp_path: Path) -> None:
    one, other = (
        all_stages(engine.url, dialect("structured", sampling={"seed": seed}), DOCUMENTS[:1], tmp_path / f"{seed}")
        for seed in (0, 1)
    )
    assert not {row["text"] for row in one["answers"]} & {row["text"] for row in other["answers"]}


# Single stages


def test_only_training_documents_are_read(engine: FakeEngine, tmp_path: Path) -> None:
    documents = [document(0) | {"split": "heldout"}, document(1) | {"status": "too_short"}, document(2)]
    rows, _ = using(
        engine.url, dialect("structured"), tmp_path / "j", lambda e: propose(dialect("structured"), documents, e)
    )
    assert [row["document_id"] for row in rows] == [documents[2]["document_id"]]


def test_the_answering_model_never_sees_the_document(engine: FakeEngine, tmp_path: Path) -> None:
    for way in ("structured", "stepwise"):
        found = all_stages(engine.url, dialect(way), DOCUMENTS, tmp_path / way)
        problems = {row["problem"] for row in found["problems"]}
        asked = [row["messages"] for row in found["generations"] if row["role"] == "answer"]
        assert {message["content"] for (message,) in asked} <= problems


@pytest.mark.parametrize("way", WAYS)
def test_the_rubrics_writer_sees_the_document_unless_told_not_to(engine: FakeEngine, tmp_path: Path, way: str) -> None:
    for show in (True, False):
        found = all_stages(
            engine.url, dialect(way, rubric={"show_document": show}), DOCUMENTS[:1], tmp_path / f"{show}"
        )
        prompts = {row["messages"][0]["content"] for row in found["generations"] if row["role"] == "rubric"}
        assert all((DOCUMENTS[0]["text"] in prompt) == show for prompt in prompts)
        if dialect(way).config.task.dialect == "structured":
            references = [row["reference_answer"] for row in ok(found["problems"])]
            assert all(any(reference in prompt for prompt in prompts) == show for reference in references)


def test_answers_in_view_are_taken_by_length_rank() -> None:
    answers = [an_answer(f"a{n}", words) for n, words in enumerate((50, 10, 90, 30, 70))]
    assert [row["words"] for row in by_length_rank(answers, 3)] == [10, 50, 90]
    assert [row["words"] for row in by_length_rank(answers, 5)] == [10, 30, 50, 70, 90]
    assert [row["words"] for row in by_length_rank(answers, 99)] == [10, 30, 50, 70, 90]
    assert [row["words"] for row in by_length_rank(answers, 1)] == [50]
    assert by_length_rank(answers, 0) == by_length_rank([], 3) == []
    assert by_length_rank(answers[::-1], 4) == by_length_rank(answers, 4)


def test_the_shown_answers_are_named_in_the_row(engine: FakeEngine, tmp_path: Path) -> None:
    found = all_stages(engine.url, dialect("structured", rubric={"shown_answers": 3}), DOCUMENTS[:1], tmp_path / "j")
    shown = found["rubrics"][0]["shown_answer_ids"]
    assert len(shown) == 3
    assert found["answers"][0]["answer_id"] not in shown  # the reference
    (prompt,) = {row["messages"][0]["content"] for row in found["generations"] if row["role"] == "rubric"}
    finals = {row["answer_id"]: row["final"] for row in found["answers"]}
    assert all(finals[name] in prompt for name in shown)


@pytest.mark.parametrize("way", ["structured", "stepwise"])
def test_what_does_not_fit_is_shortened_and_the_row_says_so(engine: FakeEngine, tmp_path: Path, way: str) -> None:
    """The context is 4,096 tokens; the document has 9,000 words."""
    long = dialect(way, rubric={"shown_answer_max_words": 400})
    found = all_stages(engine.url, long, [document(0, 9000)], tmp_path / "j")
    assert found["problems"][0]["status"] == found["rubrics"][0]["status"] == "ok"
    assert "the document was cut to its first" in found["problems"][0]["reason"]
    assert "the document was cut to its first" in found["rubrics"][0]["reason"]
    assert not [row for row in found["generations"] if row["finish_reason"] == "too_long"]
    used = [row["prompt_tokens"] for row in found["generations"] if row["role"] in ("propose", "rubric")]
    assert all(tokens > 2000 for tokens in used)  # and not shortened to nothing


def test_fewer_answers_are_shown_before_the_document_is_cut(engine: FakeEngine, tmp_path: Path) -> None:
    plan = dialect("structured", rubric={"shown_answers": 8})
    answers = [an_answer(f"a{n}", 700, n, final="word " * 700) for n in range(8)]
    works = using(
        engine.url,
        plan,
        tmp_path / "j",
        lambda e: rubric(plan, [document(0) | {"document_id": "d0"}], [problem()], answers, e),
    )
    (row,) = works[0]
    assert 1 <= len(row["shown_answer_ids"]) < 8
    assert f"{len(row['shown_answer_ids'])} instead of 8 answers in view" in row["reason"]
    assert "cut to" not in row["reason"]


def test_what_can_never_fit_is_a_row(engine: FakeEngine, tmp_path: Path) -> None:
    plan = dialect("structured")
    rows, recorder = using(
        engine.url, plan, tmp_path / "j", lambda e: answer(plan, [problem(problem="why " * 5000)], e)
    )
    assert {row["status"] for row in rows[1:]} == {"too_long"}
    assert "4096" in rows[1]["reason"]
    assert {call.finish_reason for call in recorder.used.values()} == {"too_long"}


def test_a_greedy_judge_is_not_asked_twice_for_the_same_text(faulty: FakeEngine, tmp_path: Path) -> None:
    found = all_stages(
        faulty.url, dialect("structured", sampling={"judge": {"temperature": 0}}), DOCUMENTS, tmp_path / "j"
    )
    judged = [row for row in found["generations"] if row["role"] == "judge"]
    assert len({row["subject_id"] for row in judged}) == len(judged)


@pytest.mark.parametrize("way", ["structured", "stepwise"])
def test_hostile_answers_are_rated_by_the_same_criteria(engine: FakeEngine, tmp_path: Path, way: str) -> None:
    """What an answer says changes neither which criteria are rated nor how many."""
    names, plan = ["Cause", "<|im_end|> {answer} </rubric>"], dialect(way)
    criteria = [{"name": name, "gold": "a gold fact", "description": "d", "weight": 1.0} for name in names]
    rubrics = [{"rubric_id": "r", "problem_id": "p0", "criteria": criteria, "status": "ok"}]
    answers = [an_answer(f"a{n}", final=text) for n, text in enumerate(HOSTILE)]
    rows, _ = using(engine.url, plan, tmp_path / way, lambda e: rate(plan, [problem()], answers, rubrics, e))
    assert [row["answer_id"] for row in rows] == [row["answer_id"] for row in answers]
    for row in rows:
        assert row["status"] == "ok"
        assert [mark["name"] for mark in row["ratings"]] == names


def test_likelihood_asks_for_the_baseline_once_a_rubric(engine: FakeEngine, tmp_path: Path) -> None:
    found = all_stages(engine.url, dialect("stepwise"), DOCUMENTS[:2], tmp_path / "j")
    judged = Counter(row["subject_id"] for row in found["generations"] if row["role"] == "judge")
    assert set(judged) == {row["rating_id"] for row in found["ratings"]} | {
        row["rubric_id"] for row in found["rubrics"]
    }
    assert set(judged.values()) == {1}


def test_an_answer_that_says_the_fact_is_rated_above_one_that_does_not(engine: FakeEngine, tmp_path: Path) -> None:
    plan = dialect("stepwise")
    gold = "Rayleigh scattering favours short wavelengths."
    rubrics: list[Row] = [{
        "rubric_id": "r", "problem_id": "p0", "status": "ok", "criteria": [
            {"name": "fact", "gold": gold, "description": "d", "weight": 1.0},
            {"name": "style", "gold": None, "description": "d", "weight": 9.0},
        ],
    }]  # fmt: skip
    answers = [
        an_answer("knows", final=f"It is blue because {gold}"),
        an_answer("guesses", final="It mirrors the sea."),
    ]
    (knows, guesses), _ = using(
        engine.url, plan, tmp_path / "j", lambda e: rate(plan, [problem()], answers, rubrics, e)
    )
    assert knows["score"] > guesses["score"]
    assert knows["ratings"][1]["rating"] is None  # without a fact there is nothing to measure
    assert knows["score"] == knows["ratings"][0]["rating"]
    bare = [rubrics[0] | {"criteria": rubrics[0]["criteria"][1:]}]
    (row, _), _ = using(engine.url, plan, tmp_path / "k", lambda e: rate(plan, [problem()], answers, bare, e))
    assert (row["status"], row["score"], row["generation_id"]) == ("unrateable", None, None)


def test_log_probabilities_that_are_no_numbers_are_no_rating(tmp_path: Path) -> None:
    plan = dialect("stepwise")
    rubrics = [{"rubric_id": "r", "problem_id": "p0", "status": "ok",
                "criteria": [{"name": "n", "gold": "a gold fact", "description": "d", "weight": 1.0}]}]  # fmt: skip
    with FakeEngine(faults={"garbage": 1.0}) as bad:
        (row,), _ = using(
            bad.url, plan, tmp_path / "j", lambda e: rate(plan, [problem()], [an_answer("a")], rubrics, e)
        )
    assert (row["status"], row["score"], row["ratings"]) == ("unrateable", None, None)


def test_a_server_without_tokenize_cannot_rate_by_likelihood_and_says_what_to_set(engine: FakeEngine) -> None:
    async def ask() -> Generation:
        settings = config(STEPWISE, engine={"max_model_len": 4096})
        nowhere = f"{engine.url}/none"
        client = Client("m", settings.models["policy"], settings.engine, [nowhere], asyncio.Semaphore(4))
        try:
            assert not (await client.budget([{"role": "user", "content": "x " * 9000}], 100)).fits
            return await client.likelihood(Likelihood("judge", "s", "context", ("target",)))
        finally:
            await client.close()

    with pytest.raises(UserError, match=r"rating\.mode=pointwise"):
        asyncio.run(ask())


# Servers that are not what they should be


class Odd(BaseHTTPRequestHandler):
    """Answers everything with the status and the body that `ANSWERS` has for the path's first part."""

    def do_POST(self) -> None:
        """Read the request, answer."""
        self.rfile.read(int(self.headers["content-length"]))
        status, kind, body = ANSWERS[self.path.split("/")[1]]
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


def said(content: Any, **more: Any) -> tuple[int, str, str]:
    """A chat completion of this content."""
    message = {"role": "assistant", "content": content, **more}
    return 200, "application/json", json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


ANSWERS = {
    "page": (200, "text/html", "<html>Welcome</html>"), "torn": (200, "application/json", '{"choices": [{"ind'),
    "nothing": (200, "application/json", "{}"), "list": (200, "application/json", "[1]"),
    "parts": said([{"type": "text"}]), "big": (413, "text/plain", "x"),
    "no-message": (200, "application/json", '{"choices": [{"message": null}]}'), "down": (500, "text/plain", "x"),
    "key": (401, "application/json", '{"error": {"message": "bad key sk-1"}}'), "absent": (404, "text/plain", "x"),
    "long": (400, "application/json", '{"error": {"message": "maximum context length is 10"}}'),
    "thinker": said("Yes.", reasoning_content="Well"), "mute": said(None), "half": said("\ud83d!"),
}  # fmt: skip


@pytest.fixture(scope="module")
def odd() -> Iterator[str]:
    """The address of a server of many faces."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def chat_at(*urls: str, calls: int = 1) -> list[Generation]:
    """Ask the servers of one model."""
    settings = config(engine={"max_retries": 0, "max_model_len": 4096})

    async def ask() -> list[Generation]:
        client = Client("m", settings.models["policy"], settings.engine, urls, asyncio.Semaphore(64))
        try:
            return await asyncio.gather(*(client.chat(asking(str(n))) for n in range(calls)))
        finally:
            await client.close()

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("face", "error"),
    [(face, EngineError) for face in ("page", "torn", "nothing", "list", "parts", "no-message", "down")]
    + [("key", UserError), ("absent", UserError)],
)
def test_a_server_that_does_not_speak_the_protocol_is_one_clear_line(
    odd: str, face: str, error: type[PopError]
) -> None:
    with pytest.raises(error) as caught:
        chat_at(f"{odd}/{face}/v1")
    assert "\n" not in str(caught.value)
    assert odd in str(caught.value)
    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize(
    ("face", "text", "failure"),
    [("thinker", "<think>Well</think>Yes.", None), ("half", "?!", None), ("mute", "", "empty"),
     ("long", None, "too_long"), ("big", None, "too_long")],
)  # fmt: skip
def test_what_a_server_answers_is_kept_as_it_is_or_as_a_failure(
    odd: str, face: str, text: str | None, failure: str | None
) -> None:
    (call,) = chat_at(f"{odd}/{face}/v1")
    assert text is None or call.completion == text
    assert (call.failure or (None,))[0] == failure


def test_requests_go_to_the_replica_with_the_fewest_in_flight() -> None:
    with FakeEngine(latency_sec=0.05) as one:
        other = one.url.replace("127.0.0.1", "localhost")
        assert set(Counter(call.endpoint for call in chat_at(one.url, other, calls=8)).values()) == {4}


# The recorder and the shard


class Slow:
    """An engine in this process that counts its calls; one call fails, the others take long."""

    model = "slow"

    def __init__(self, failing: str = "", seconds: float = 0.0):
        self.failing, self.seconds, self.begun, self.finished, self.text = failing, seconds, 0, 0, "text"

    async def chat(self, request: Request) -> Generation:
        self.begun += 1
        if request.subject_id == self.failing:
            raise EngineError("gone")
        await asyncio.sleep(self.seconds)
        self.finished += 1
        return Generation(
            request.generation_id(self.model), request.subject_id, request.role, self.model, "e", [], "{}", self.text,
            "stop", 1, 1, 0.0, request.attempt,
        )  # fmt: skip

    likelihood = budget = chat


def asking(subject: str) -> Request:
    return Request("answer", subject, "answer", ({"role": "user", "content": "Why?"},), config().sampling.answer)


def test_the_same_call_is_made_once_also_if_asked_for_twice_at_once(tmp_path: Path) -> None:
    slow: Any = Slow()

    async def work() -> None:
        recorder = Recorder(slow, Journal(tmp_path / "j"))
        await asyncio.gather(*(recorder.chat(asking("a")) for _ in range(5)))
        await recorder.chat(asking("a"))
        await Recorder(slow, Journal(tmp_path / "j")).chat(asking("a"))

    asyncio.run(work())
    assert slow.begun == 1


def test_a_stage_that_failed_makes_no_more_calls(tmp_path: Path) -> None:
    """Its siblings must not go on beside the retry, and what was finished is kept."""
    slow: Any = Slow("bad", 0.2)

    async def work() -> None:
        journal = Journal(tmp_path / "j")
        recorder = Recorder(slow, journal)
        await recorder.chat(asking("done"))
        with pytest.raises(EngineError):
            await asyncio.gather(*(recorder.chat(asking(name)) for name in ("a", "bad", "b")))
        await recorder.stop()
        with pytest.raises(asyncio.CancelledError):
            await recorder.chat(asking("late"))
        await asyncio.sleep(0.3)
        journal.close()

    asyncio.run(work())
    assert (slow.begun, slow.finished) == (4, 1)
    assert len((tmp_path / "j").read_text().splitlines()) == 1


def cut(round_: Round) -> Shards:
    shard_task.fn(round_)
    shards = shards_of(round_)
    assert shards
    return shards


class Quiet:
    """A display that counts."""

    def __init__(self) -> None:
        self.calls, self.shown, self.done = 0, list[bool](), dict[str, int]()

    def say(self, text: str) -> None:
        """Nothing."""

    def call(self, stage: str) -> None:
        self.calls += 1

    def expect(self, stage: str, shards: int) -> None:
        return

    def shard(self, stage: str, reused: bool) -> None:
        self.shown.append(reused)

    def reused(self, stage: str, shards: int) -> None:
        self.shown += [True] * shards


def shard_of(url: str, plan: Plan, store: Store, documents: list[Row]) -> tuple[Any, Quiet]:
    """Do the propose stage of a shard as a task does, and what the display was told."""
    quiet = Quiet()

    async def run() -> Any:
        engine = plan.config.engine
        client = Client(
            "fake:policy", plan.config.models["policy"], engine, [url], asyncio.Semaphore(engine.max_in_flight)
        )
        round_ = Round(plan, store, {"policy": client}, quiet)

        async def work(plan: Plan, recorder: Engine) -> list[Row]:
            return await propose(plan, documents, recorder)

        try:
            return await run_shard(round_, "propose", "shard-00000", (), work)
        finally:
            await client.close()

    return asyncio.run(run()), quiet


def test_a_finished_shard_is_reused_and_a_changed_setting_does_it_again(engine: FakeEngine, tmp_path: Path) -> None:
    store, plan = Store(str(tmp_path), "r1"), dialect("structured")
    first, _ = shard_of(engine.url, plan, store, DOCUMENTS)
    assert first == {"shard": "shard-00000", "rows": 4, "calls": 4}
    before = store.read("problems", 0, "shard-00000")
    reused, quiet = shard_of("http://127.0.0.1:9/v1", plan, store, DOCUMENTS)  # no server is asked
    assert (reused.name, quiet.shown, quiet.calls) == ("Reused", [True], 0)
    shard_of(engine.url, dialect("structured", sampling={"seed": 5}), store, DOCUMENTS)
    assert {row["problem_id"] for row in before}.isdisjoint(
        {r["problem_id"] for r in store.read("problems", 0, "shard-00000")}
    )


def test_a_shard_leaves_its_calls_its_provenance_and_no_journal(engine: FakeEngine, tmp_path: Path) -> None:
    store, plan = Store(str(tmp_path), "r1"), dialect("structured")
    shard_of(engine.url, plan, store, DOCUMENTS)
    calls = store.read("generations", 0, "shard-00000.propose")
    assert {row["generation_id"] for row in store.read("problems", 0, "shard-00000")} == {
        r["generation_id"] for r in calls
    }
    footer = store.footer("generations", 0, "shard-00000.propose")
    assert footer == store.footer("problems", 0, "shard-00000")
    assert footer and (footer["model"], footer["shard"]) == ("fake:policy", "shard-00000")
    assert not list(tmp_path.rglob("*.jsonl"))


def test_a_server_that_dies_costs_only_what_was_not_answered(tmp_path: Path) -> None:
    store, plan = Store(str(tmp_path), "r1"), dialect("structured", engine={"max_in_flight": 1, "max_retries": 0})
    documents = [document(n) for n in range(9)]
    with FakeEngine(die_after=4) as dying, pytest.raises(EngineError):
        shard_of(dying.url, plan, store, documents)
    assert store.files("problems", 0) == store.files("generations", 0) == []
    with FakeEngine() as new:
        shard_of(new.url, plan, store, documents)
        asked_again = new.requests()["/v1/chat/completions"]
        whole = Store(str(tmp_path), "r2")
        shard_of(new.url, plan, whole, documents)
    unrun = [[{**row, "run": ""} for row in one.read("problems", 0, "shard-00000")] for one in (store, whole)]
    assert unrun[0] == unrun[1]
    calls = [len(one.read("generations", 0, "shard-00000.propose")) for one in (store, whole)]
    assert calls[0] == calls[1] == asked_again + 4


def test_an_api_key_reaches_the_server_and_no_file(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    plan = dialect("structured", models={"policy": {"path": "x", "api_key_env": "MY_KEY"}})
    shard_of(engine.url, plan, Store(str(tmp_path), "r1"), DOCUMENTS)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    store = Store(str(tmp_path), "r1")
    assert "sk-very-secret" not in json.dumps(store.read("generations", 0, "shard-00000.propose"))
    assert all(b"sk-very-secret" not in path.read_bytes() for path in files)
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(UserError, match="MY_KEY"):
        shard_of(engine.url, plan, Store(str(tmp_path), "r2"), DOCUMENTS)


def test_fewer_shards_leave_no_rows_of_the_old_ones(tmp_path: Path) -> None:
    """The same documents stand in other shards then; the old rows beside the new would be doubled."""
    store, quiet = Store(str(tmp_path), "r1"), Quiet()
    small = config(corpus={"documents": 4, "documents_per_shard": 1, "heldout_documents": 1})
    shards = cut(Round(plan_of(small), store, {}, quiet))
    assert shards.names == tuple(f"shard-{n:05d}" for n in range(4))
    plan = plan_of(small)
    for name in shards.names:
        store.write("pairs", 0, name, [], plan.footer("pair"))
        store.write("generations", 0, f"{name}.rate", [], plan.footer("rate"))
    assert cut(Round(plan_of(small), store, {}, quiet)) == shards
    assert quiet.shown == [False, True]
    large = config(small.model_dump(), corpus={"documents_per_shard": 2})
    shard_task.fn(Round(plan_of(large), store, {}, quiet))
    assert store.files("pairs", 0) == store.files("generations", 0) == []
    assert len(store.glob("superseded/*/round=000/*.parquet")) == 14
    documents = [row["document_id"] for name in store.files("documents", 0) for row in store.read("documents", 0, name)]
    assert len(documents) == len(set(documents))
    later = cut(Round(plan_of(large, 1), store, {}, quiet))
    assert later.documents == 4
    again = [row["document_id"] for name in store.files("documents", 1) for row in store.read("documents", 1, name)]
    assert not set(documents) & set(again)  # a later round reads other documents


def test_asking_stops_at_the_first_good_answer_and_keeps_the_last_reason(tmp_path: Path) -> None:
    slow: Any = Slow()
    plan = dialect("structured", task={"max_attempts": 4})

    def read_at(good: int) -> Any:
        seen = iter(range(9))

        def read(text: str) -> str:
            if (n := next(seen)) < good:
                raise Malformed(f"try {n}")
            return text

        return read

    asked = asyncio.run(Asker(plan, "propose", slow).text("s", "f", "prompt", read_at(2)))
    assert (asked.value, asked.status, slow.begun) == ("text", "ok", 3)
    assert asked.generation is not None
    assert asked.generation.attempt == 2
    with_bounds = partial(_with_reference, "much too long " * 1000, checks=Checks(plan))  # pydantic refuses it
    slow.text = "A reference answer of many words."
    refused = asyncio.run(Asker(plan, "propose", slow).text("s", "f", "prompt", with_bounds))
    assert (refused.value, refused.status, slow.begun) == (None, "malformed", 7)
    failed = asyncio.run(Asker(plan, "propose", slow).text("s", "f", "prompt", read_at(9)))
    assert (failed.value, failed.status, failed.reason, slow.begun) == (None, "malformed", "try 3", 11)


def test_requests_in_flight_are_bounded_over_everything(tmp_path: Path) -> None:
    plan = dialect("structured", engine={"max_in_flight": 3})
    with FakeEngine(latency_sec=0.02) as slow:
        started = time.monotonic()
        all_stages(slow.url, plan, DOCUMENTS[:2], tmp_path / "j")
        assert time.monotonic() - started > 22 / 3 * 0.02
        assert slow.counts()["peak_in_flight"] <= 3
