"""The modelled engine's arithmetic: what a step costs, who gets a seat, what the KV cache and its prefixes do."""

import pytest

from benchmarks.latency_model import BLOCK, CARDS, QWEN_7B, Engine, Job, Shape, kv_tokens, step_seconds

A100, H100 = CARDS["a100"], CARDS["h100"]


def ran(engine: Engine, *jobs: tuple[int, int, list[int]]) -> tuple[float, list[int]]:
    """Seconds until (prompt, completion, blocks) are all done, and the order in which they were."""
    order: list[int] = []
    for number, (prompt, completion, blocks) in enumerate(jobs):
        engine.add(Job(prompt, completion, lambda number=number: order.append(number), blocks))  # type: ignore[misc]
    seconds = 0.0
    while engine.has_work:
        seconds += engine.step()
    return seconds, order


def test_a_step_grows_with_the_batch_only_where_arithmetic_outweighs_the_weights() -> None:
    alone, few, many = (step_seconds(A100, QWEN_7B, tokens, 0) for tokens in (1, 64, 512))
    assert alone == few == pytest.approx(A100.overhead_sec + QWEN_7B.weight_bytes / (0.8 * A100.bytes_a_sec))
    assert many == pytest.approx(A100.overhead_sec + 512 * QWEN_7B.operations_a_token / (0.6 * 312e12))
    assert step_seconds(A100, QWEN_7B, 1, 100_000) > alone  # reading the KV cache
    assert step_seconds(H100, QWEN_7B, 512, 0) < many / 2


def test_what_was_measured_alone_on_real_cards_comes_out() -> None:
    llama = Shape("Llama-3.1-8B", 16.06e9, 131_072, 2 * 7.5e9, 4 * 32 * 4096)
    small = type(A100)(**{**vars(A100), "bytes_a_sec": 1555e9})  # the A100 with 40 GB
    assert 1 / step_seconds(small, llama, 1, 0) == pytest.approx(75, rel=0.02)
    assert 1000 * step_seconds(H100, llama, 1, 0) == pytest.approx(6.48, rel=0.02)


def test_every_token_is_written_once_and_everything_is_given_back() -> None:
    engine = Engine(A100)
    _, order = ran(engine, *[(300, 1 + n % 50, [n, n + 1000]) for n in range(600)])
    assert sorted(order) == list(range(600)) and engine.written_tokens == sum(1 + n % 50 for n in range(600))
    assert engine.used == 0 and engine.running == 0 and engine.preemptions == 0


def test_no_more_than_the_seats_run_and_the_others_wait_their_turn() -> None:
    engine = Engine(type(A100)(**{**vars(A100), "seats": 4}))
    for _ in range(10):
        engine.add(Job(10, 5, lambda: None))
    engine.step()
    assert (engine.running, len(engine.waiting)) == (4, 6)
    one, _ = ran(Engine(A100), (10, 5, []))
    assert ran(Engine(type(A100)(**{**vars(A100), "seats": 1})), *[(10, 5, [])] * 3)[0] == pytest.approx(3 * one)


def test_a_full_kv_cache_queues_and_preempts_but_loses_nothing() -> None:
    small, large = Engine(A100, capacity=2_000), Engine(A100)
    jobs = [(100, 300, [])] * 30  # type: list[tuple[int, int, list[int]]]
    (slow, order), (quick, _) = ran(small, *jobs), ran(large, *jobs)
    assert small.preemptions > 0 and large.preemptions == 0 and slow > 3 * quick
    assert sorted(order) == list(range(30)) and small.written_tokens == large.written_tokens == 30 * 300
    with pytest.raises(ValueError, match="2001 tokens do not fit"):
        small.add(Job(1_701, 300, lambda: None))


def test_a_shared_prefix_is_read_once() -> None:
    prefix = list(range(100))
    engine, apart = Engine(A100), Engine(A100)
    shared, _ = ran(engine, *[(101 * BLOCK, 1, [*prefix, 1000 + n]) for n in range(20)])
    distinct, _ = ran(apart, *[(101 * BLOCK, 1, [n * 1000 + one for one in range(101)]) for n in range(20)])
    assert engine.hits == 19 * 100 * BLOCK and apart.hits == 0
    assert engine.read_tokens == 101 * BLOCK + 19 * BLOCK and shared < distinct / 5


def test_prefixes_that_nobody_uses_make_room() -> None:
    engine = Engine(A100, capacity=40 * BLOCK)
    ran(engine, *[(10 * BLOCK, 8, [n * 100 + one for one in range(10)]) for n in range(12)])
    assert engine.cache.tokens <= 40 * BLOCK and engine.used == 0
    ran(engine, (10 * BLOCK + 1, 1, [1100 + one for one in range(10)]))  # the last one is still there
    assert engine.hits == 10 * BLOCK


def test_the_kv_cache_holds_what_is_left_of_the_memory() -> None:
    left = A100.memory_bytes * 0.9 - QWEN_7B.weight_bytes - A100.activation_bytes
    assert kv_tokens(A100, QWEN_7B) == int(left / 57_344)
