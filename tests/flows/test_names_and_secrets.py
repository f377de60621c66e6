"""A name cannot lead out of the root, whoever gives it; a key that a server repeats is kept nowhere."""

from pathlib import Path

import pytest
from prefect.utilities.callables import parameter_schema

from flows.audit import audit_flow
from flows.evaluate import evaluate_flow
from flows.round import round_flow
from flows.selfplay import selfplay_flow
from schemas.errors import UserError
from schemas.names import PATTERN
from tasks.engine.faults import Fault, Rejected
from tasks.storage.store import Store
from tasks.texts import secrets

PARTS = (
    "..",
    ".",
    "",
    "/",
    "a/b",
    "\\",
    "a\\b",
    "\0",
    "\n",
    "a\n",
    " ",
    "a b",
    "~",
    "*",
    "?",
    "[a]",
    "$(x)",
    "é/..",
    "%2e/",
)
EVIL = [f"{before}{part}{after}" for part in PARTS for before, after in (("", ""), ("../", ""), ("", "/.."), (".", ""))]
EVIL += [f"../{'../' * depth}etc" for depth in range(20)] + [f"/{name}" for name in "abcdefgh"] + ["x" * 101]


@pytest.mark.parametrize("number", range(len(EVIL)))
def test_a_hundred_names_that_lead_elsewhere_are_refused(tmp_path: Path, number: int) -> None:
    assert len(EVIL) >= 100
    with pytest.raises(UserError, match="--run"):
        Store(str(tmp_path / "root"), EVIL[number])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("root", ["", " ", "\n", "a\0b"])
def test_a_root_that_names_no_place_is_refused(root: str) -> None:
    with pytest.raises(UserError, match="--root"):
        Store(root, "run")


@pytest.mark.parametrize("name", ["demo", "a.b", "-x", "_y", "2026-11-26", "größe"])
def test_names_that_were_good_stay_good(tmp_path: Path, name: str) -> None:
    assert Store(str(tmp_path), name).base == f"{tmp_path}/{name}"


@pytest.mark.parametrize("flow", [round_flow, selfplay_flow, evaluate_flow, audit_flow])
def test_the_form_shows_the_pattern(flow: object) -> None:
    run = parameter_schema(flow).model_dump()["properties"]["run"]  # type: ignore[arg-type]
    assert PATTERN in [one.get("pattern") for one in (run, *run.get("anyOf", ()))]


ECHOES = (
    "Invalid header Authorization: Bearer {key}", "{{'Authorization': 'Bearer {key}'}}", '{{"x-api-key": "{key}"}}',
    "api-key={key} is wrong", "AUTHORIZATION: Basic {key}", "no such token: Bearer {key}", "api_key: '{key}'",
)  # fmt: skip


@pytest.mark.parametrize("echo", ECHOES)
def test_what_follows_a_header_that_carries_a_key_is_struck_out(echo: str) -> None:
    key = "c2VjcmV0LXZhbHVl.unknown"
    said = echo.format(key=key)
    for error in (Rejected("rejected", said), Fault("http://x/v1", "broken", said)):
        assert key not in str(error) + error.message and secrets.STRUCK in error.message


def test_a_known_key_is_struck_out_of_a_models_words_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_KNOWN", set[str]())
    secrets.keep_secret("sk-0123456789")
    secrets.keep_secret("none")
    assert secrets.struck_known("your key is sk-0123456789, none other") == f"your key is {secrets.STRUCK}, none other"
    plain = "Authorization is a header; the api key is missing"
    assert secrets.struck(plain.replace("none", "")) == plain
