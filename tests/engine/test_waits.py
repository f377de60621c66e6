"""Every wait ends and is seen: whatever a server asks for, and however slowly it answers."""

import asyncio
import time

import pytest

from schemas.config import EngineConfig
from tasks.engine import tries
from tasks.engine.faults import Fault, QuotaUsedUp, Rejected, refusal, retry_after
from tasks.engine.tries import LONGEST_WAIT_SEC, MOST_BUSY, Patience, Tries, wait_of
from tests.engine.odd_asking import outcome
from tests.engine.odd_server import OddServer


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("", None), ("0", None), ("-1", None), ("nan", None), ("inf", None), ("soon", None), ("1.5", 1.5),
     ("86400", 86400.0), ("Wed, 21 Oct 2015 07:28:00 GMT", None), ("Wed, 21 Oct 99999 07:28:00 GMT", None)],
)  # fmt: skip
def test_only_a_time_to_come_is_waited_for(header: str, seconds: float | None) -> None:
    assert retry_after(header) == seconds


@pytest.mark.parametrize("asked", [None, 0.001, 1.0, 59.0, 86400.0])
def test_waits_grow_up_to_a_minute_whatever_the_server_asks_for(asked: float | None) -> None:
    waits = [wait_of(Fault("u", "busy", "x", asked), n) for n in range(1, MOST_BUSY)]
    assert max(waits) <= 1.1 * LONGEST_WAIT_SEC
    assert min(waits[-10:]) > 0.7 * LONGEST_WAIT_SEC
    if asked and asked < LONGEST_WAIT_SEC:
        assert min(waits) >= asked
    assert len(set(waits[:5])) > 1  # those that failed together do not come back together
    assert wait_of(Fault("u", "broken", "x", 86400.0), 9) < 10


@pytest.mark.parametrize("asked", [None, 1e-3, 86400.0])
def test_a_server_that_is_always_busy_is_asked_some_dozens_of_times_at_most(
    asked: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking, slept, ticks = [0], [0.0], asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept[0] += seconds
        await ticks(0)

    async def send() -> None:
        asking[0] += 1
        raise Fault("u", "busy", "slow down", asked)

    monkeypatch.setattr("tasks.engine.tries.time.monotonic", lambda: slept[0])
    monkeypatch.setattr("tasks.engine.tries.asyncio.sleep", sleep)
    with pytest.raises(Fault) as caught:
        asyncio.run(Tries(EngineConfig(timeout_sec=1800))(send))
    assert 10 < asking[0] <= MOST_BUSY
    assert slept[0] <= 1800
    assert not caught.value.worth_another  # the stage is not tried again: that would cost as long


def test_ten_seconds_of_nothing_but_retries_are_said_once_and_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(tries, "QUIET_SEC", 0.05)
    patience, fault = Patience("m", said.append), Fault("u", "busy", "slow down")

    async def wait() -> None:
        await asyncio.gather(*(patience.wait(0.2, fault) for _ in range(20)))
        patience.answered()
        await patience.wait(0.01, fault)  # a wait among answers is not worth a line
        patience.answered()

    asyncio.run(wait())
    assert said[0].startswith("nothing but retries for ")
    assert "slow down" in said[0] and "next try in" in said[0]
    assert len(said) == 2 and "answers again" in said[1]


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}, "quota"),
        (429, {"error": {"message": "balance is too low", "type": "exceeded_current_quota_error"}}, "quota"),
        (402, {"error": {"message": "Insufficient Balance"}}, "quota"),
        (400, {"error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}}, "quota"),
        (403, {"error": {"message": "x", "code": "Arrearage"}}, "quota"),
        (429, [{"error": {"message": "Quota exceeded: requests per minute", "status": "RESOURCE_EXHAUSTED"}}], "busy"),
        (429, {"error": {"message": "Rate limit reached; see billing", "code": "rate_limit_exceeded"}}, "busy"),
        (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "busy"),
        (400, {"error": {"message": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, "filtered"),
        (400, {"error": {"message": "Your prompt was flagged", "code": "invalid_prompt"}}, "filtered"),
        (403, {"error": {"message": "this model requires moderation and your input was flagged"}}, "filtered"),
        (400, {"error": {"message": "data_inspection_failed", "code": "data_inspection_failed"}}, "filtered"),
        (400, {"error": {"message": "there is no model named policy"}}, "rejected"),
        (400, {"message": "This model's maximum context length is 10 tokens"}, "too_long"),
        (400, {"error": {"message": "prompt is too long: 20 tokens > 10"}}, "too_long"),
        (422, {"detail": [{"msg": "not a known field"}]}, "rejected"),
        (403, "<html>blocked by firewall</html>", "unfit"), (404, "", "unfit"), (401, "", "unfit"),
        (408, "", "broken"), (500, "", "broken"), (405, "", "rejected"), (418, "", "rejected"),
    ],
)  # fmt: skip
def test_what_a_refusal_means_is_told_by_what_it_says(status: int, body: object, kind: str) -> None:
    met = refusal("u", status, body)
    if isinstance(met, Fault):
        assert met.kind == kind
    elif isinstance(met, Rejected):
        assert met.status == kind
    else:
        assert isinstance(met, QuotaUsedUp) and kind == "quota"


def test_a_time_bounds_a_request_and_not_each_byte_of_its_answer() -> None:
    with OddServer() as server:
        started = time.monotonic()
        kind, said = outcome("answers", server.url("loris"), engine={"timeout_sec": 0.5})
    assert kind == "Fault" and "engine.timeout_sec" in said
    assert time.monotonic() - started < 4
