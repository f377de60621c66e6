"""HTTP as it goes wrong in the world: connections that end too soon, proxies, names, certificates, limits."""

import asyncio
import json
import os
import resource
import shutil
import socket
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import DependencyError, UserError
from tasks.engine.faults import Fault
from tasks.engine.wire import Answer, Wire, allow_connections, encoded, proxy_of

OK = b'{"choices": []}'
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def replied(body: bytes = OK, *headers: str) -> bytes:
    """A whole answer."""
    lines = ["HTTP/1.1 200 OK", "content-type: application/json", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def request_of(reader: asyncio.StreamReader) -> str:
    """The first line of a request, read to its end."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lengths = [line.split(":")[1] for line in head.split("\r\n") if line.lower().startswith("content-length")]
    await reader.readexactly(int(lengths[0]) if lengths else 0)
    return head.split("\r\n")[0]


def at(serve: Serve, ask: Callable[[str], Awaitable[Any]], host: str = "127.0.0.1", **options: Any) -> Any:
    """What `ask` gives, with the address of a server that does this with every connection."""

    async def run() -> Any:
        async with await asyncio.start_server(serve, host, 0, **options) as server:
            port = server.sockets[0].getsockname()[1]
            return await ask(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    return asyncio.run(run())


def posting(times: int = 1, scheme: str = "http") -> Callable[[str], Awaitable[list[Any]]]:
    """Ask a server so many times, one after the other."""

    async def ask(where: str) -> list[Any]:
        wire = Wire(f"{scheme}://{where}/v1", "none")
        try:
            return [await wire.ask("chat/completions", {"n": n}) for n in range(times)]
        finally:
            await wire.close()

    return ask


def sends(*parts: bytes) -> Serve:
    """These bytes to the first request, and no more."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"".join(parts))
        await writer.drain()
        writer.close()

    return serve


def test_a_kept_connection_that_the_server_closes_as_it_is_used_costs_nothing() -> None:
    connections = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await request_of(reader)
        writer.write(replied())
        await request_of(reader)  # takes the next one, and is gone
        writer.transport.abort()

    assert len(at(serve, posting(4))) == 4
    assert len(connections) == 4


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        ((b"",), "closed the connection without an answer"),
        ((replied()[:-4],), "in the middle of its answer"),
        ((CHUNKED, b'7\r\n{"choic\r\n'), "in the middle of its answer"),
        ((CHUNKED, b"zz\r\n"), "middle|Error"),
        ((b"SSH-2.0-OpenSSH_9.6\r\n",), "Error"),
        ((replied(b"[" * 100_000),), "it is not JSON"),
        ((replied(b"\xff\xfe"),), "it is not JSON"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_a_fault_in_one_line(sent: tuple[bytes, ...], says: str) -> None:
    with pytest.raises(Fault, match=says) as caught:
        at(sends(*sent), posting())
    assert caught.value.kind == "broken" and "\n" not in str(caught.value)


def test_headers_of_twenty_kilobytes_are_read() -> None:
    assert at(sends(replied(OK, f"x-trace: {'a' * 20_000}")), posting()) == [json.loads(OK)]


def test_an_address_of_version_six_is_asked() -> None:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 here")
    assert at(sends(replied()), posting(), "::1") == [json.loads(OK)]


def test_a_name_that_nobody_has_is_away() -> None:
    with pytest.raises(Fault, match=r"http://nowhere.invalid/v1 keeps failing: ConnectError: ") as caught:
        asyncio.run(posting()("nowhere.invalid"))  # type: ignore[arg-type]
    assert caught.value.kind == "away" and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("env", "url", "proxy"),
    [
        ({}, "http://gpu1/v1", None), ({"HTTP_PROXY": "http://p:1"}, "http://gpu1/v1", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, "https://gpu1/v1", None), ({"HTTPS_PROXY": "p:1"}, "https://gpu1/v1", "http://p:1"),
        ({"ALL_PROXY": "http://p:1"}, "http://gpu1/v1", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "gpu1,x"}, "http://gpu1/v1", None),
        *(({"HTTP_PROXY": "http://p:1"}, f"http://{host}:80/v1", None) for host in ("127.0.0.1", "localhost", "[::1]")),
    ],
)  # fmt: skip
def test_the_environments_proxy_is_taken_but_not_for_this_machine(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], url: str, proxy: str | None
) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    found = proxy_of(url)
    assert (str(found).rstrip("/") if found else None) == proxy


def test_a_request_goes_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append(await request_of(reader))
        writer.write(replied())

    async def ask(where: str) -> Any:
        monkeypatch.setenv("http_proxy", f"http://{where}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        return await posting()("gpu1.test")

    assert at(serve, ask) == [json.loads(OK)]
    assert lines == ["POST http://gpu1.test/v1/chat/completions HTTP/1.1"]


def test_a_proxy_of_another_kind_is_named_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1080")
    with pytest.raises(UserError, match=r"socks5://.*NO_PROXY"):
        Wire("http://gpu1/v1", "none")


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate with openssl")
def test_a_certificate_that_nobody_vouches_for_is_no_reason_to_try_again(tmp_path: Path) -> None:
    made = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-subj", "/CN=x", "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert"),
    ]  # fmt: skip
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    with pytest.raises(Fault, match=r"cannot be trusted .*SSL_CERT_FILE") as caught:
        at(sends(replied()), posting(scheme="https"), ssl=context)
    assert caught.value.kind == "unfit"


def test_too_many_open_files_is_said_with_the_limit_that_it_is() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def ask(where: str) -> None:
        wire = Wire(f"http://{where}/v1", "none")
        await wire.ask("x", {})  # what is opened only once is open
        await wire.close()
        os.close(free := os.dup(0))  # the next one that would be opened
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            await wire.ask("x", {})
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await wire.close()

    with pytest.raises(DependencyError, match=r"ulimit -n.*engine.max_in_flight") as caught:
        at(sends(replied()), ask)
    assert not isinstance(caught.value, Fault)  # no try would mend it


def test_the_limit_of_open_files_is_raised_or_said(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [(256, 4096)]
    monkeypatch.setattr("tasks.engine.wire.resource.getrlimit", lambda _: limits[-1])
    monkeypatch.setattr("tasks.engine.wire.resource.setrlimit", lambda _, both: limits.append(both))
    allow_connections(1024)
    assert limits[-1] == (1280, 4096)
    with pytest.raises(UserError, match=r"engine.max_in_flight=8192 .*lower it to 3840"):
        allow_connections(8192)


def test_what_servers_write_that_is_hardly_json_is_read() -> None:
    read = [Answer(200, {}, text).json() for text in (b'{"a": NaN}', b'{"a": "\\ud83d"}', b'\xef\xbb\xbf{"a": 1}')]
    assert [list(one) for one in read] == [["a"]] * 3
    assert json.loads(encoded({"content": "half \ud83d a pair"})) == {"content": "half \ud83d a pair"}
