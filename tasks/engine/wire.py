"""HTTP to one model server: JSON there and back over connections that are kept, and faults in our own words.

Plain aiohttp: at a thousand requests in flight a call costs a tenth of a millisecond here, and seventeen times that in
the openai client, whose pools walk through all connections at each request.
"""

import asyncio
import errno
import json
import os
import resource
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
import certifi
import orjson
from yarl import URL

from schemas.errors import DependencyError, UserError
from schemas.version import package_version
from tasks.engine.faults import Fault, name_of, refusal
from tasks.engine.turns import turn

CONNECT_SEC = 30.0  # to reach a server at all; the answer has `engine.timeout_sec`
# Servers close a connection that idles: vLLM and uvicorn after 5 s. One that is closed just as it is used again costs a
# request, so ours are let go a little earlier.
_IDLE_SEC = 4.0
_LONGEST_HEADER = 2**16  # proxies and providers send longer ones than aiohttp's 8,190 bytes
ODD = "it does not answer as an OpenAI-compatible server does"
_OTHER_FILES = 256  # tables, journals, Prefect's and DuckDB's own
_FULL = (errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True)
class Answer:
    """What came over the wire, whole. `headers` are found by any case of letters."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """The content, read as servers write it: NaN, half surrogate pairs and a byte order mark are read too.

        Raises:
            ValueError: it is no JSON.
        """
        try:
            return orjson.loads(self.content)
        except orjson.JSONDecodeError:
            try:
                return json.loads(self.content)
            except RecursionError:
                raise ValueError("nested too deeply") from None

    @property
    def body(self) -> Any:
        """The content as JSON, or else as text."""
        try:
            return self.json()
        except ValueError:
            return self.content.decode(errors="replace")


class Wire:
    """The connections to one base URL. Made anywhere, used and closed in one event loop.

    Args:
        own: a server of ours, on this machine or a node of the cluster: no proxy would find it.

    Raises:
        UserError: a proxy of the environment is of a kind that cannot be used.
    """

    def __init__(self, base_url: str, api_key: str, own: bool = False) -> None:
        self.url = base_url.rstrip("/")
        self._headers = {
            "Authorization": f"Bearer {api_key}", "Content-Type": "application/json", "Accept": "application/json",
            "User-Agent": f"pop/{package_version()}",
        }  # fmt: skip
        self._proxy = None if own else proxy_of(self.url)
        self._addresses: dict[str, URL] = {}
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON that a generation endpoint answers with.

        Raises:
            Rejected: the request is refused as such.
            QuotaUsedUp: nothing more is to be had from this provider.
            Fault: it may be worth another try, or another server.
        """
        answer = await self.post(path, body)
        await turn()  # many may have come at once
        if not 200 <= answer.status < 300:
            raise refusal(self.url, answer.status, answer.body, answer.headers, name_of(answer.status))
        try:
            return answer.json()
        except ValueError:
            raise Fault(self.url, "broken", f"{ODD}: it is not JSON") from None

    async def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Send JSON to a path under the base URL; one that begins with `/` lies beside `/v1`.

        Raises:
            Fault: no answer came.
        """
        return await self._ask("POST", path, encoded(body))

    async def get(self, path: str) -> Answer:
        """See `post`; a whole address is taken as it is."""
        return await self._ask("GET", path, None)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
            await asyncio.sleep(0)  # a turn of the loop, in which the connections are really closed

    async def _ask(self, method: str, path: str, data: bytes | None) -> Answer:
        address = self._addresses.get(path) or self._address(path)
        session = self._session or self._opened()
        for last in (False, True):
            try:
                async with session.request(method, address, data=data, proxy=self._proxy) as response:
                    return Answer(response.status, response.headers, await response.read())
            except aiohttp.ClientConnectorError as error:
                raise self._unreached(error) from None
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                # Most likely a kept connection that the server closed just now. Nothing of an answer came, and asking
                # again says the same.
                if last or session.closed:  # by a move to another address
                    raise broken(self.url, error) from None
            except (aiohttp.ClientError, ValueError) as error:
                raise broken(self.url, error) from None
        raise AssertionError("the second time ends it")

    def _address(self, path: str) -> URL:
        if path.startswith(("http://", "https://")):
            return URL(path)
        base = self.url.removesuffix("/v1") if path.startswith("/") else f"{self.url}/"
        return self._addresses.setdefault(path, URL(base + path))

    def _opened(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,  # `engine.max_in_flight` is the limit
            keepalive_timeout=_IDLE_SEC, ttl_dns_cache=30, ssl=_trusted() if self.url.startswith("https:") else True,
        )  # fmt: skip
        self._session = aiohttp.ClientSession(
            connector=connector, headers=self._headers, cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SEC), max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
        )  # fmt: skip
        return self._session

    def _unreached(self, error: aiohttp.ClientConnectorError) -> Exception:
        """A connection that could not be made."""
        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
            return Fault(self.url, "unfit", f"cannot be trusted ({_words(error)}); name the certificate of who vouches "
                         "for it in the environment variable SSL_CERT_FILE")  # fmt: skip
        if error.os_error.errno in _FULL:
            return DependencyError(
                f"{self.url}: this process may hold no more files and connections open (ulimit -n): raise that limit, "
                "or lower engine.max_in_flight"
            )
        proxy = f" (proxy {self._proxy.host})" if self._proxy else ""
        return Fault(self.url, "away", f"ConnectError: {_words(error)}{proxy}")


def encoded(body: Mapping[str, Any]) -> bytes:
    """A request as JSON; half surrogate pairs, which UTF-8 has no form for, as escapes."""
    try:
        return orjson.dumps(body)
    except TypeError:  # also integers of more than 64 bits
        return json.dumps(body, allow_nan=False).encode()


def broken(url: str, error: BaseException) -> Fault:
    """A connection that broke before the answer was whole, or answered in no way that HTTP has."""
    if isinstance(error, aiohttp.ServerTimeoutError):
        return Fault(url, "away", f"ConnectTimeout: nobody took the connection in {CONNECT_SEC:.0f} s")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return Fault(url, "broken", "RemoteProtocolError: it closed the connection without an answer")
    if isinstance(error, aiohttp.ClientPayloadError):
        return Fault(url, "broken", "RemoteProtocolError: it closed the connection in the middle of its answer")
    name = "ReadError" if isinstance(error, OSError) else type(error).__name__
    return Fault(url, "broken", f"{name}: {_words(error)}")


def allow_connections(count: int) -> None:
    """Let this process hold as many connections at once, and the files that it needs beside them.

    Raises:
        UserError: more than the machine lets it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise UserError(
            f"engine.max_in_flight={count} needs {wanted} open files and connections, and this machine lets a process "
            f"have {hard} (ulimit -Hn): lower it to {max(1, hard - _OTHER_FILES)} at most, or raise that limit"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def proxy_of(url: str) -> URL | None:
    """The proxy that the environment names for an address (HTTPS_PROXY or HTTP_PROXY, ALL_PROXY; NO_PROXY names hosts
    that need none). Servers on this machine, as ours are, need none: no proxy would find them.

    Raises:
        UserError: it is no HTTP proxy.
    """
    where, proxies = URL(url), getproxies()
    proxy = proxies.get(where.scheme) or proxies.get("all")
    if not proxy or _is_here(where.host or "") or proxy_bypass(where.host or ""):
        return None
    found = URL(proxy if "://" in proxy else f"http://{proxy}")
    if found.scheme not in ("http", "https") or not found.host:
        raise UserError(
            f"the environment names a proxy of the kind {found.scheme}:// for {url} ({where.scheme.upper()}_PROXY or "
            f"ALL_PROXY), and only http:// and https:// can be used; or let NO_PROXY have {where.host}"
        )
    return found


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _trusted() -> ssl.SSLContext:
    """The system's authorities or those of SSL_CERT_FILE and SSL_CERT_DIR; without these, also those of certifi."""
    context = ssl.create_default_context()
    if not (os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")):
        context.load_verify_locations(certifi.where())
    return context


def _words(error: BaseException) -> str:
    """In one line; of a failed connection the system's own words."""
    told = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    words = getattr(told, "strerror", None) or str(told) or type(told).__name__
    return " ".join(words.split())
