"""A round asks its servers once what they can do, remembers it, shows it, and stops before anything is paid for."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from schemas.errors import UserError
from tasks.engine.fake import FakeEngine
from tasks.storage.manifests import servers_manifest, write_servers_manifest
from tasks.storage.store import Store
from tests.conftest import run_fake
from tests.engine.kinds import Kinds
from tests.engine.serving import serving

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    """A stand-in that somebody else has started."""
    with FakeEngine() as running:
        yield running


@pytest.fixture(scope="module")
def plain() -> Iterator[str]:
    """A server that can do nothing but chat."""
    with serving(Kinds) as address:
        yield f"{address}/plain/v1"


def at(url: str, name: str = "policy") -> tuple[str, ...]:
    """A small round whose policy runs there."""
    return f"models.policy={{base_urls=['{url}'], served_name='{name}'}}", "corpus.documents=2"


def listings(engine: FakeEngine) -> int:
    """How often a server was asked for its models."""
    requests = httpx.get(f"{engine.url.removesuffix('/v1')}/pop/requests").json()
    return int(requests["endpoints"]["/v1/models"])


def test_a_round_asks_once_and_one_that_goes_on_does_not_ask_again(
    engine: FakeEngine, tmp_path: Path, prefect_server: None, cli: Cli
) -> None:
    run_fake(tmp_path, "asks", *at(engine.url))
    asked = listings(engine)
    store = Store(str(tmp_path), "asks")
    assert servers_manifest(store, 0)["policy"]["able"]["choices"] == "choice"
    run_fake(tmp_path, "asks", *at(engine.url), "sampling.seed=3")
    assert listings(engine) == asked
    shown = cli("status", "--run", "asks", "--root", str(tmp_path))[1]
    assert "server of" in shown and "pointwise, logprob, likelihood, pairwise, anchor" in shown

    write_servers_manifest(store, 0, {"policy": {"able": 7}})  # damaged: asked again, and shown as nothing
    assert "server of" not in cli("status", "--run", "asks", "--root", str(tmp_path))[1]
    run_fake(tmp_path, "asks", *at(engine.url), "sampling.seed=4")
    assert listings(engine) == asked + 1


def test_a_server_of_the_rounds_own_in_a_dry_run_is_not_asked(fake_root: Path) -> None:
    assert servers_manifest(Store(str(fake_root), "fake"), 0) == {}


def test_a_mode_that_cannot_work_stops_a_round_before_its_first_call(
    plain: str, tmp_path: Path, prefect_server: None
) -> None:
    Kinds.asked.clear()
    with pytest.raises(UserError, match=r"set rating\.mode to one of pointwise, pairwise, anchor"):
        run_fake(tmp_path, "stops", *at(plain, "m"), "rating.mode=likelihood")
    assert all(body.get("max_tokens", 0) <= 48 for _, body in Kinds.asked)
    assert not Store(str(tmp_path), "stops").files("problems")


def test_check_models_shows_a_table_and_ends_with_what_is_wrong(engine: FakeEngine, plain: str, cli: Cli) -> None:
    both = f"models.judge={{base_urls=['{plain}'], served_name='m'}}"
    settings = [word for value in (*at(engine.url), both, "roles.judge=judge") for word in ("--set", value)]
    code, out, err = cli("check-models", "demo", *settings, "--set", "rating.mode=pointwise")
    assert code == 0 and "policy" in out and "judge" in out and "none: read as they come" in out
    code, out, err = cli("check-models", "demo", *settings, "--set", "rating.mode=likelihood")
    assert code == 2 and "judge" in out and "no /tokenize in vLLM's form" in err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--model", "nobody"), 2, "models has policy"),
        (("--set", "models.policy={base_urls=['http://127.0.0.1:9/v1'], served_name='m'}",
          "--set", "engine.max_retries=0"), 3, "http://127.0.0.1:9/v1"),
    ],
)  # fmt: skip
def test_check_models_says_what_it_cannot_reach(arguments: tuple[str, ...], code: int, says: str, cli: Cli) -> None:
    ended, _, err = cli("check-models", "demo", *arguments)
    assert ended == code and says in err and "Traceback" not in err


def test_check_models_starts_a_model_that_is_served_here(cli: Cli) -> None:
    code, out, _ = cli("check-models", "demo", "--set", "engine.kind=fake")
    assert code == 0 and "pop-fake-engine" in out
