"""Is the Prefect server that a command is to use there, and does it fit? Asked once, before the flow starts.

Prefect itself would retry for minutes, and end in a traceback of a hundred lines.
"""

from pathlib import Path
from tempfile import TemporaryFile

import httpx

from flows.credentials import headers
from schemas.errors import DependencyError, PopError

PATIENCE_SEC = 8.0
_OR = "or unset PREFECT_API_URL, and the command starts a server of its own"


def require_prefect() -> None:
    """Raise one line with the mend where Prefect cannot be used.

    Raises:
        PopError: what is wrong with the server of PREFECT_API_URL, or, where none is named, with starting one.
    """
    import prefect
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if not settings.api.url:
        if not settings.server.ephemeral.enabled:
            raise DependencyError(
                "no Prefect server is named, and none may be started (PREFECT_SERVER_ALLOW_EPHEMERAL_MODE is false): "
                "name one in PREFECT_API_URL (`make server` starts one), or allow it"
            )
        require_writable(Path(settings.home))
        return
    url = str(settings.api.url).rstrip("/")
    if "api.prefect.cloud" not in url:
        _require_version(_shown(url), _asked(url), prefect.__version__)


def named() -> str | None:
    """The address of the server that Prefect was told to use, without a password; None where it was told of none."""
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    return _shown(str(url)) if url else None


def require_writable(home: Path) -> None:
    """A server of one's own keeps its database there.

    Raises:
        DependencyError: it cannot be written.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=home):
            return
    except OSError as error:
        raise DependencyError(
            f"Prefect cannot keep its database in {home} ({error.strerror}): set PREFECT_HOME to a folder that can be "
            "written, and POP_CACHE too where your home cannot"
        ) from None


def _asked(url: str) -> httpx.Response:
    """The server's answer to the question for its version.

    Raises:
        PopError: there is none.
    """
    from prefect.settings import get_current_settings

    api, shown = get_current_settings().api, _shown(url)
    verify = False if api.tls_insecure_skip_verify else (api.ssl_cert_file or True)
    try:
        with httpx.stream(
            "GET", f"{url}/admin/version", headers=headers(), timeout=PATIENCE_SEC, verify=verify
        ) as answer:
            answer.read()
            return answer
    except (httpx.UnsupportedProtocol, httpx.InvalidURL):
        raise DependencyError(
            f"PREFECT_API_URL={shown} is no address: it begins with http:// and ends with /api"
        ) from None
    except httpx.TimeoutException:
        raise _away(shown, f"does not answer within {PATIENCE_SEC:.0f} s: look at it, start it again") from None
    except httpx.HTTPError as error:
        if "SSL" in str(error) or "TLS" in str(error) or "certificate" in str(error):
            raise _away(shown, f"cannot be reached by https ({error}): is it http://") from None
        raise _away(shown, f"cannot be reached ({error}): start it (`make server`)") from None


def _require_version(shown: str, answer: httpx.Response, own: str) -> None:
    if answer.status_code in (401, 403):
        raise _away(shown, f"wants a password ({answer.status_code}): set PREFECT_API_AUTH_STRING (or PREFECT_API_KEY)")
    if answer.status_code >= 500:
        raise _away(shown, f"answers with {answer.status_code}: look at its log, start it again")
    try:
        theirs = answer.json() if answer.status_code == 200 else None
    except ValueError:
        theirs = None
    if not isinstance(theirs, str) or not theirs[:1].isdigit():
        raise _away(shown, "is no API of Prefect: its address ends with /api (http://127.0.0.1:4200/api): mend it")
    if _minor(theirs)[0] != _minor(own)[0] or _minor(theirs) < _minor(own):
        raise _away(shown, f"runs Prefect {theirs}, and this is Prefect {own}: use a server of that version")


def _minor(version: str) -> tuple[int, int]:
    numbers = [int(part) if part.isdigit() else 0 for part in version.split(".")]
    return numbers[0], numbers[1] if len(numbers) > 1 else 0


def _away(shown: str, what: str) -> PopError:
    return DependencyError(f"Prefect's server {shown} {what}, {_OR}")


def _shown(url: str) -> str:
    """The address without a password in it."""
    before, at, after = url.rpartition("@")
    return f"{before.partition('://')[0]}://{after}" if at else url
