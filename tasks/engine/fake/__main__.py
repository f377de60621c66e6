"""The stand-in server as a command: `python -m tasks.engine.fake`."""

import argparse
import socket
import threading
import time
from collections.abc import Sequence

import uvicorn

from tasks.engine.fake.process import bound, end_with_starter
from tasks.engine.fake.server import FakeServer, Settings

FAULTS = ("http429", "http500", "disconnect", "hang", "malformed", "truncated", "garbage", "lying")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tasks.engine.fake", description="A fake OpenAI-compatible server.")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--port", type=int)
    parser.add_argument("--host", default="127.0.0.1", help="the address of --port")
    where.add_argument("--fd", type=int, help="a bound socket; ends when standard input closes (for FakeEngine)")
    parser.add_argument("--model", action="append", help="a served name; several are allowed (default: policy)")
    parser.add_argument("--latency-sec", type=float, default=0.0)
    parser.add_argument("--max-model-len", type=int, default=8192)
    parser.add_argument(
        "--fault", action="append", default=[], metavar="KIND=SHARE",
        help=f"{', '.join(FAULTS)}: share of requests from 0 to 1; or slow=SECONDS or slow=SECONDS:SHARE",
    )  # fmt: skip
    parser.add_argument("--fault-seed", type=int, default=0)
    parser.add_argument("--retry-after-sec", type=float, default=1.0)
    parser.add_argument("--die-after", type=int, metavar="N", help="answer N generation requests, exit at the next")
    parser.add_argument("--start-delay-sec", type=float, default=0.0)
    return parser


def _faults(given: Sequence[str]) -> tuple[dict[str, float], tuple[float, float]]:
    """Share by kind, and the seconds and share of slowness, from the command line's KIND=VALUE.

    Raises:
        ValueError: an unknown kind, or a value out of range.
    """
    shares, slow = {}, (0.0, 0.0)
    for one in given:
        kind, _, value = one.partition("=")
        if kind == "slow":
            seconds, _, share = value.partition(":")
            slow = (float(seconds), float(share or 1))
        elif kind in FAULTS:
            shares[kind] = float(value)
        else:
            raise ValueError(f"unknown fault {kind!r}; known: {', '.join(FAULTS)}, slow")
    if any(not 0 <= share <= 1 for share in (*shares.values(), slow[1])) or sum(shares.values()) > 1.000001:
        raise ValueError("each share of --fault must be from 0 to 1, and their sum at most 1")
    return shares, slow


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        shares, slow = _faults(given.fault)
    except ValueError as error:
        parser.error(str(error))
    settings = Settings(
        tuple(given.model or ("policy",)), given.latency_sec, given.max_model_len, shares, slow, given.fault_seed,
        given.retry_after_sec, given.die_after,
    )  # fmt: skip
    if given.fd is not None:
        threading.Thread(target=end_with_starter, daemon=True).start()
    time.sleep(given.start_delay_sec)
    config = uvicorn.Config(
        FakeServer(settings).app(), lifespan="off", access_log=False,
        log_level="critical",  # a connection closed on purpose is no error
        timeout_keep_alive=300,  # so that no client meets one closing just as it sends
        timeout_graceful_shutdown=1,  # hanging requests would keep it up
    )  # fmt: skip
    with socket.socket(fileno=given.fd) if given.fd is not None else bound(given.port, given.host) as sock:
        uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    main()
