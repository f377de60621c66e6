"""What a shell, a home or a pipe may look like: a right answer, or one line that names the mend."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.errors import DependencyError
from schemas.load import PROJECT
from tasks.processes.guarded import state_dir

Cli = Callable[..., tuple[int, str, str]]
ROUND = ("round", "smoke", "--set", "engine.kind=fake")


def pop(
    *arguments: str, text: str = "", cwd: Path = PROJECT, env: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """`pop …` as a process of its own, by the installed entry point, without the tests' Prefect server."""
    others = ("PREFECT_", "AWS_")  # which other tests have set
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    done = subprocess.run(
        [sys.executable, str(PROJECT / "pop_entry.py"), *arguments], env=kept | (env or {}), cwd=cwd, input=text,
        capture_output=True, text=True, encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_a_prefect_that_is_away_is_one_line_before_anything_is_begun(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/api"
    code, out, err = pop(*ROUND, "--root", str(tmp_path / "runs"), env={"PREFECT_API_URL": url})
    assert (code, out, err.count("\n")) == (3, "", 1) and "cannot be reached" in err and "make server" in err
    assert not list(tmp_path.iterdir())


def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home = str(tmp_path / "file/home")
    code, out, err = pop(*ROUND, "--root", str(tmp_path / "runs"), env={"HOME": home, "POP_CACHE": ""})
    assert (code, out, err.count("\n")) == (3, "", 1) and "set PREFECT_HOME" in err and "POP_CACHE" in err
    code, _, err = pop(
        *ROUND, "--root", str(tmp_path / "runs"), env={"HOME": home, "POP_CACHE": "", "PREFECT_HOME": str(tmp_path)}
    )
    assert code == 3 and err.count("\n") == 1 and "set POP_CACHE" in err


def test_no_home_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POP_CACHE", "~nobody-of-that-name/cache")
    with pytest.raises(DependencyError, match="set HOME, or POP_CACHE"):
        state_dir()
    code, _, err = pop("look", "~nobody-of-that-name/texts")
    assert (code, err.count("\n")) == (2, 1) and "no such corpus" in err
    code, _, err = pop("status", "--root", "~nobody-of-that-name/x", cwd=tmp_path)
    assert (code, err.count("\n")) == (2, 1) and "no such home" in err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "env", [{}, {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}]
)
def test_an_object_store_that_is_away_or_lets_nobody_in_is_one_line(tmp_path: Path, env: dict[str, str]) -> None:
    pytest.importorskip("s3fs")
    none = {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    code, out, err = pop("status", "--root", "s3://pop-nowhere/runs", env=none | env)
    assert (code, out, err.count("\n")) == (3, "", 1) and "the object store does not answer" in err


def test_a_proxy_is_not_asked_for_what_runs_here(tmp_path: Path) -> None:
    proxy = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    shown = "import flows.settings, os; print(os.environ['no_proxy'])"
    found = subprocess.run([sys.executable, "-c", shown], env=os.environ | proxy | {"no_proxy": "a.example"},
                           cwd=PROJECT, capture_output=True, text=True, check=True)  # fmt: skip
    assert found.stdout.strip() == "a.example,127.0.0.1,localhost,::1"
    code, _, err = pop("status", "--root", str(tmp_path), env={"ALL_PROXY": "socks5://127.0.0.1:9"})
    assert (code, err.count("\n")) == (2, 1)


@pytest.mark.parametrize("columns", ["0", "20"])
def test_a_narrow_terminal_loses_no_number(fake_root: Path, columns: str) -> None:
    code, out, _ = pop("sql", "select 123456 as a, 234567 as b", "--root", str(fake_root), env={"COLUMNS": columns})
    assert code == 0 and "123456" in out and "234567" in out


def test_an_empty_root_is_refused_and_nothing_is_written_where_one_stands(tmp_path: Path) -> None:
    for verb in (ROUND, ("status",), ("selfplay",)):
        code, _, err = pop(*verb, "--root", "", cwd=tmp_path)
        assert (code, err.count("\n")) == (2, 1) and "--root is empty" in err
    assert not list(tmp_path.iterdir())


def test_an_empty_cache_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POP_CACHE", "")
    assert state_dir() == Path("~/.cache/pop").expanduser()


def test_an_empty_address_of_prefect_is_none() -> None:
    code = "from flows import settings; from prefect.settings import PREFECT_API_URL; print(PREFECT_API_URL.value())"
    env = os.environ | {"PREFECT_API_URL": "", "PREFECT_HOME": ""}
    found = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert found.stdout == "None\n"


@pytest.mark.parametrize("env", [{"PYTHONIOENCODING": "ascii"},
                                 {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])  # fmt: skip
def test_a_terminal_that_speaks_ascii_is_shown_what_it_can_show(fake_root: Path, env: dict[str, str]) -> None:
    code, out, err = pop("sql", "select '…é中' as x", "--root", str(fake_root), env=env)
    assert (code, err) == (0, "") and "\\u2026\\xe9\\u4e2d" in out
    assert pop("sql", "select '…é中' as x", "--root", str(fake_root), "--format", "csv", env=env)[1] == "x\n…é中\n"


def test_packages_of_the_users_own_with_the_same_names_are_left_alone(tmp_path: Path) -> None:
    for name in ("tasks.py", "schemas.py", "flows/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('the wrong one')\n")
    code, out, err = pop("round", "--help", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert code == 0 and "One round of self-play" in out and not err


# Queries


def test_queries_are_read_from_a_pipe(fake_root: Path) -> None:
    text = "-- first\nselect 1 as a;\nselect 'a;b' as b; /* end */\n"
    assert pop("sql", "--format", "csv", "--root", str(fake_root), text=text) == (0, "a\n1\nb\na;b\n", "")
    assert pop("sql", "--root", str(fake_root), text="") == (0, "", "")


def test_a_column_that_is_a_word_of_sql_is_found_in_quotes(cli: Cli, fake_root: Path) -> None:
    at = ("--root", str(fake_root), "--format", "csv")
    assert cli("sql", 'select "by", d.by from decisions d', *at) == (0, "by,by_1\n", "")
    for query in ("select by, decision from decisions", "select by from decisions", "select max(by) from decisions"):
        code, _, err = cli("sql", query, *at)
        assert code == 2 and 'goes in quotes: "by"' in err
    assert "quotes" not in cli("sql", "select 1 from pairs group by,", *at)[2]


def test_a_hint_names_the_root_where_the_next_command_would_not_look(tmp_path: Path) -> None:
    from flows.views.outcome import _root_option

    assert _root_option(os.environ["POP_ROOT"]) == ""
    assert _root_option(str(tmp_path / "my runs")) == f" --root '{tmp_path}/my runs'"
