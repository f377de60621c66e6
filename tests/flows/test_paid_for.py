"""A provider that gives no more answers, or refuses the key: one line, an exit code, and what was paid for is kept."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import FAKE
from tests.engine.odd_server import OddServer
from tests.samples import rows

Cli = Callable[..., tuple[int, str, str]]
TABLES = {
    "answers": "SELECT answer_id, final, status FROM answers ORDER BY 1",
    "ratings": "SELECT rating_id, score, status FROM ratings ORDER BY 1",
    "pairs": "SELECT pair_id, margin, status FROM pairs ORDER BY 1",
}


@pytest.fixture(scope="module")
def odd() -> Iterator[OddServer]:
    """The server."""
    with OddServer() as server:
        yield server


def round_at(cli: Cli, root: Path, run: str, url: str) -> tuple[int, list[str]]:
    """Exit code and what the last line says, of a round whose policy is at this address."""
    policy = f"models.policy={{base_urls=['{url}'], served_name='policy'}}"
    quick = ("corpus.documents=2", "engine.max_retries=1", "engine.timeout_sec=20", "engine.max_in_flight=4")
    changes = (*FAKE, "gate.audits=off", policy, *quick)
    sets = [part for change in changes for part in ("--set", change)]
    code, _, told = cli("round", "demo", "--root", str(root), "--run", run, *sets)
    return code, told.strip().splitlines()


@pytest.mark.parametrize(
    ("face", "code", "says"), [("quota", 3, "the quota is used up"), ("http401", 2, "refuses the API key")]
)
def test_at_the_start_it_is_one_line_before_anything_is_made(
    odd: OddServer, tmp_path: Path, cli_process: Cli, face: str, code: int, says: str
) -> None:
    found, lines = round_at(cli_process, tmp_path, "r", odd.url(face))
    assert found == code and says in lines[-1] and "Traceback" not in "".join(lines)
    assert sum(odd.counts.values()) < 10
    assert not list((tmp_path / "r").glob("problems/**/*.parquet"))


def test_in_the_middle_what_is_paid_for_is_kept_and_the_same_command_makes_the_rest(
    odd: OddServer, tmp_path: Path, cli_process: Cli
) -> None:
    assert round_at(cli_process, tmp_path / "whole", "r", odd.url("good"))[0] == 0
    whole = odd.counts["/good/v1/chat/completions"]
    found, lines = round_at(cli_process, tmp_path, "r", odd.url("quota_later"))
    assert found == 3 and "the quota is used up" in lines[-1] and "Traceback" not in "".join(lines)
    assert round_at(cli_process, tmp_path, "r", odd.url("good"))[0] == 0
    assert 0 < odd.counts["/good/v1/chat/completions"] < whole
    for query in TABLES.values():
        assert rows(tmp_path, "r", query) == rows(tmp_path / "whole", "r", query)
