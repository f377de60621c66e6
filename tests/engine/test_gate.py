"""The bound on requests: the oldest shard first, as wide as the servers have use for; slices of the loop's work."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tasks.engine.gate import PLACE, Gate
from tasks.engine.load import Load, Pulse, limit_of, read_metrics
from tasks.engine.replicas import Replica
from tasks.engine.server import free_port
from tasks.engine.turns import SLICE_SEC, together, turn
from tests.engine.test_wire import at, replied, request_of


def test_those_of_the_oldest_shard_go_first_and_then_as_they_came() -> None:
    async def run() -> list[tuple[int, int]]:
        gate, order = Gate(2), list[tuple[int, int]]()

        async def call(place: int, number: int) -> None:
            PLACE.set((place,))
            async with gate:
                order.append((place, number))
                assert gate.in_flight <= 2
                await asyncio.sleep(0)

        asked = [(2, 0), (1, 0), (2, 1), (0, 0), (1, 1), (0, 1)]
        await asyncio.gather(*(asyncio.create_task(call(*one)) for one in asked))
        assert gate.room == 2
        return order

    assert asyncio.run(run()) == [(2, 0), (1, 0), (0, 0), (0, 1), (1, 1), (2, 1)]


@pytest.mark.parametrize("let_in", [False, True])
def test_who_is_ended_while_it_waits_takes_no_place(let_in: bool) -> None:
    async def run() -> None:
        gate = Gate(1)

        async def wait() -> None:
            async with gate:
                pass

        async with gate:
            waiting = asyncio.create_task(wait())
            await asyncio.sleep(0)
            if not let_in:
                waiting.cancel()
        waiting.cancel()  # let in, but not there yet
        await asyncio.gather(waiting, return_exceptions=True)
        assert (gate.in_flight, gate.room) == (0, 1)
        await asyncio.wait_for(wait(), 1)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("in_flight", "limit", "running", "waiting", "seats", "then"),
    [
        (256, 256, 64, 192, 0, 80),  # most of them wait: those that run and a short queue
        (64, 64, 128, 384, 0, 20),  # each is several at the server
        (200, 200, 90, 110, 160, 200),  # 160 could run: those that wait, wait for prompts to be read
        (200, 80, 190, 10, 190, 250),  # all that are in flight run, though fewer were thought enough
        (80, 80, 78, 2, 0, 100), (256, 256, 250, 0, 0, 256), (40, 80, 40, 0, 0, 80), (80, 80, 64, 16, 0, 80),
        (0, 80, 0, 0, 0, 80),
    ],
)  # fmt: skip
def test_the_gate_is_as_wide_as_the_servers_have_use_for(
    in_flight: int, limit: int, running: int, waiting: int, seats: int, then: int
) -> None:
    gate = Gate(256)
    gate.set_limit(limit)
    gate.in_flight = in_flight
    gate.set_limit(limit_of(gate, running, waiting, seats))
    assert gate.limit == then


def metrics(running: int, waiting: int, hits: int = 0) -> bytes:
    """As vLLM writes them."""
    label = '{engine="0",model_name="policy"}'
    figures = {"num_requests_running": running, "num_requests_waiting": waiting, "prefix_cache_hits_total": hits,
               "prefix_cache_queries_total": 2 * hits}  # fmt: skip
    return "".join(f"# HELP x\nvllm:{name}{label} {value:.1f}\n" for name, value in figures.items()).encode()


def looked_at(*answers: bytes, most: int = 64, limit: int = 64, beside: bool | None = None) -> tuple[Pulse, Gate]:
    """What is known of a server that has given these metrics, a second apart.

    Args:
        beside: whether another one, where nobody is, was left out; None: there is no other.
    """
    left: Iterator[bytes] = iter(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await request_of(reader):
            writer.write(replied(next(left)))

    async def ask(where: str) -> tuple[Pulse, Gate]:
        replica, gate = Replica(f"http://{where}/v1", "none"), Gate(most)
        gate.in_flight = gate.limit = limit
        gone = Replica(f"http://127.0.0.1:{free_port()}/v1", "none")
        gone.left_out = beside is True
        pulse = Pulse(gate, {"m": [replica] if beside is None else [replica, gone]}, {})
        for _ in answers:
            await pulse.look(1.0)
        await replica.close()
        await gone.close()
        return pulse, gate

    found: tuple[Pulse, Gate] = at(serve, ask)
    return found


def test_how_full_a_server_was_is_added_up_over_the_time_in_which_it_had_work() -> None:
    pulse, _ = looked_at(metrics(0, 0, 100), metrics(16, 48, 300), metrics(16, 0, 50))
    assert pulse.loads["m"] == Load(
        seconds=2, full_seconds=1, running_seconds=32, waiting_seconds=48, prefix_hits=250, prefix_queries=500
    )  # the last one began anew: its server was started again


def test_what_waits_for_its_prompt_to_be_read_makes_the_gate_no_narrower() -> None:
    assert looked_at(metrics(16, 48), metrics(32, 32))[1].limit == 64  # more and more run
    assert looked_at(metrics(16, 48), metrics(16, 48))[1].limit == 20  # 16 seats, and a short queue
    assert looked_at(metrics(48, 0), metrics(16, 48))[1].limit == 64  # there are more seats than are taken
    gone = [metrics(48, 0), *[metrics(16, 48)] * 200]
    assert looked_at(*gone)[1].limit == 20  # 48 were there long ago


def test_a_server_that_tells_nothing_leaves_the_gate_open_and_is_left_alone() -> None:
    pulse, gate = looked_at(*[b"<html>no</html>"] * 3)
    assert (pulse.told, gate.limit) == (set(), 64)
    asyncio.run(asyncio.wait_for(pulse.beat(), 1))  # returns: there is nobody to ask


def test_one_that_is_lost_opens_the_gate_and_one_that_was_left_out_plays_no_part() -> None:
    pulse, gate = looked_at(metrics(8, 0), metrics(8, 0), limit=8, beside=False)
    assert gate.limit == 64
    pulse, gate = looked_at(metrics(16, 48), metrics(16, 48), beside=True)
    assert gate.limit == 20 and pulse.loads["m"].full_seconds == 2


def test_metrics_of_several_engines_are_one_figure() -> None:
    assert read_metrics('a:b{e="0"} 1\na:b{e="1"} 2.5e+01\na:c 7 1700000000\nnonsense\na:d NaN') == {
        "a:b": 26,
        "a:c": 7,
    }


def test_a_pass_of_the_loop_has_so_much_time_for_steps_and_all_are_made_in_order() -> None:
    a_step = SLICE_SEC / 4

    async def run() -> tuple[list[int], int]:
        made, most = list[int](), 0

        async def step(number: int) -> int:
            made.append(number)
            began = time.perf_counter()
            while time.perf_counter() < began + a_step:
                pass
            await turn()
            return number

        async def beat() -> None:
            nonlocal most
            while True:
                before = len(made)
                await asyncio.sleep(0)
                most = max(most, len(made) - before)

        beating = asyncio.create_task(beat())
        assert await together(step(n) for n in range(100)) == list(range(100))
        beating.cancel()
        return made, most

    made, most = asyncio.run(run())
    assert made == list(range(100)) and most <= 9, most


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [iter, list])
def test_what_had_no_turn_when_it_was_ended_leaves_nothing_behind(kind: Callable[[Iterator[Any]], Any]) -> None:
    async def run() -> None:
        async def work() -> None:
            await asyncio.sleep(1)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await together(kind(work() for _ in range(10_000)))

    asyncio.run(run())
