"""Several servers of one model: any of them may be away, refuse us, or fail, also at the start."""

import pytest

from tasks.engine.server import free_port
from tests.engine.odd_asking import outcome
from tests.engine.odd_server import OddServer
from tests.samples import Row


def asked(*urls: str, said: list[str] | None = None, **engine: object) -> tuple[str, list[Row] | str]:
    """What these servers give, with 8 answers asked for."""
    changes: Row = {"engine": engine, "sampling": {"answers": 8}}
    return outcome("answers", *urls, say=(said if said is not None else []).append, **changes)


def dead() -> str:
    """An address at which nobody is."""
    return f"http://127.0.0.1:{free_port()}/v1"


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("context", [8192, None])
def test_one_that_is_away_costs_nothing(order: int, context: int | None) -> None:
    with OddServer() as odd:
        kind, rows = asked(*[dead(), odd.url("good")][::order], max_model_len=context)
    assert kind == "ok" and len(rows) == 8


@pytest.mark.parametrize("face", ["http401", "http403", "http404"])
def test_one_that_will_not_have_us_is_left_out_aloud(face: str) -> None:
    said: list[str] = []
    with OddServer() as odd:
        bad = odd.url(face)
        kind, rows = asked(bad, odd.url("good"), said=said)
        assert kind == "ok", rows
        assert odd.counts[f"/{face}/v1/chat/completions"] <= 8
    assert [line for line in said if line.startswith(f"left out: {bad}")] and len(said) == 1


@pytest.mark.parametrize("face", ["http500", "half", "err200", "http429ra"])
def test_one_that_fails_is_not_preferred_because_it_fails_fast(face: str) -> None:
    with OddServer() as odd:
        kind, rows = asked(odd.url(face), odd.url("good+delay"))
        assert kind == "ok", rows
        assert odd.counts[f"/{face}/v1/chat/completions"] <= 10


def test_a_refused_key_is_one_odd_reply_where_others_were_taken() -> None:
    with OddServer() as odd:
        changes: Row = {"sampling": {"answers": 40}, "engine": {"max_failed_share": 0.5, "max_in_flight": 1}}
        kind, rows = outcome("answers", odd.url("http401@0.1"), **changes)
    assert kind in ("failed/ok", "ok"), rows
    assert sum(row["status"] != "ok" for row in rows if isinstance(row, dict)) < 12


def test_the_smallest_context_is_everyones() -> None:
    with OddServer() as odd:
        kind, rows = asked(odd.url("good"), odd.url("mod_small"), max_model_len=None)
    assert kind == "too_long" and "the context is 100" in str(rows)


def test_none_of_them_is_one_clear_line() -> None:
    kind, said = asked(dead(), dead(), max_retries=0)
    assert kind == "Fault" and "keeps failing: ConnectError" in said
    with OddServer() as odd:
        kind, said = asked(odd.url("http401"), odd.url("http404"))
    assert kind == "UserError" and "\n" not in said
