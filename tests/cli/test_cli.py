"""The command line as a person meets it: one clear line for a mistake, the right exit code, nothing half-written."""

import asyncio
import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from flows import settings
from flows.round import round_flow
from schemas.errors import PopError, UserError
from schemas.load import load_config
from tasks.models.resolve import resolve
from tasks.prompts import Prompts

Cli = Callable[..., tuple[int, str, str]]
FAKE = ("--set", "engine.kind=fake")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("round", "dmo"), "did you mean 'demo'"),
        (("round", "nothing.toml"), "no such config file"),
        (("round", "demo", "--set", "corpus.docs=3"), "did you mean 'documents'"),
        (("round", "demo", "--set", "sampling.answer.temprature=1"), "did you mean 'temperature'"),
        (("round", "demo", "--set", "corpus.documents=0"), "greater than or equal to 1 (got 0)"),
        (("round", "demo", "--set", "corpus.documents"), "--set wants key.sub=value"),
        (("round", "demo", "--set", "roles.judge=teacher"), "roles.judge names the model 'teacher'"),
        (("round", "demo", "--run", "a/b"), "use letters, digits"),
        (("round", "demo", "--set", "corpus.min_words=9000"), "min_words (9000) is above max_words"),
    ],
)
def test_a_mistake_in_the_settings_is_one_line_and_exit_code_2(
    cli: Cli, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    code, out, err = cli(*arguments, "--root", str(tmp_path))
    assert code == 2 and says in err and len(err.strip().splitlines()) == 1 and not out
    assert not list(tmp_path.iterdir())


def test_a_missing_input_is_one_line_and_leaves_no_table(
    cli_process: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:  # fmt: skip
    (tmp_path / "empty").mkdir()
    source = f"corpus.source={tmp_path / 'empty'}"
    code, _, err = cli_process("round", "demo", *FAKE, "--set", source, "--root", str(tmp_path / "runs"))
    assert code == 2 and "no file that can be read" in err.strip().splitlines()[-1] and "Traceback" not in err
    assert not [path for path in (tmp_path / "runs").rglob("*") if path.name != "runs"]


@pytest.mark.usefixtures("prefect_server")
def test_what_is_missing_taken_or_closed_is_named_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("not a folder")

    def refused(*overrides: str, root: str = "runs", code: int = 2) -> str:
        with pytest.raises(PopError) as caught:
            asyncio.run(round_flow(load_config("demo", [*overrides]), run="x", root=str(tmp_path / root)))
        assert caught.value.exit_code == code
        return str(caught.value)

    assert "folder without weights" in refused(f"models.policy.path={tmp_path / 'empty'}")
    assert not list(tmp_path.glob("runs/*/*"))
    assert "cannot write" in refused("engine.kind=fake", root="file", code=3)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        assert f"port {port}" in refused("engine.kind=fake", f"engine.port={port}")


def test_a_model_or_task_type_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"there is no folder \./gone"):
        resolve("policy", load_config("demo", ["models.policy.path=./gone"]), print)
    with pytest.raises(UserError, match="no task type is called 'poetry'"):
        Prompts("poetry")


def test_sql_in_every_format(cli: Cli, fake_root: Path) -> None:
    query = ("sql", "SELECT stage, total FROM funnel ORDER BY step", "--run", "fake", "--root", str(fake_root))
    code, table, _ = cli(*query)
    assert code == 0 and "documents" in table
    parsed = list(csv.DictReader(io.StringIO(cli(*query, "--format", "csv")[1])))
    assert parsed == [{k: str(v) for k, v in row.items()} for row in json.loads(cli(*query, "--format", "json")[1])]
    stages = ["documents", "problems", "answers", "rubrics", "rated answers", "problems with a signal", "pairs"]
    assert [row["stage"] for row in parsed] == stages


def test_sql_spans_all_runs(cli: Cli, fake_root: Path) -> None:
    code, out, _ = cli("sql", "SELECT DISTINCT run FROM pairs", "--all", "--root", str(fake_root), "--format", "csv")
    assert code == 0 and out.split() == ["run", "fake"]
    code, _, err = cli("sql", "SELECT 1", "--all", "--run", "fake", "--root", str(fake_root))
    assert code == 2 and "give one of them" in err


def test_what_a_text_says_to_the_terminal_is_shown_and_not_done(cli: Cli, fake_root: Path) -> None:
    query = "SELECT '[red]a[/red] :smile:' || chr(27) || '[2J' || chr(8238) AS text"
    code, out, _ = cli("sql", query, "--run", "fake", "--root", str(fake_root))
    assert code == 0 and "[red]a[/red] :smile:␛[2J\\u202e" in out and "\x1b" not in out


def test_ctrl_c_ends_a_query_in_one_line(fake_root: Path) -> None:
    endless = "select count(*) from range(1000000000000) t(a) where a % 7 = 3"
    command = [sys.executable, "-m", "flows.cli", "sql", endless, "--run", "fake", "--root", str(fake_root)]
    query = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    busy = psutil.Process(query.pid)
    while busy.num_threads() < 2 or busy.cpu_times().user < 4:  # the query is at work
        time.sleep(0.2)
    query.send_signal(signal.SIGINT)
    _, err = query.communicate(timeout=60)
    assert query.returncode == 130 and len(err.strip().splitlines()) <= 1 and "Traceback" not in err


def test_columns_of_the_same_name_keep_their_values_in_every_format(cli: Cli, fake_root: Path) -> None:
    query = ("sql", "SELECT 1 AS a, 2 AS a, 3 AS b", "--run", "fake", "--root", str(fake_root))
    assert cli(*query, "--format", "csv")[1].split() == ["a,a_1,b", "1,2,3"]
    assert json.loads(cli(*query, "--format", "json")[1]) == [{"a": 1, "a_1": 2, "b": 3}]


@pytest.mark.parametrize("query", ["SELECT cast('a' AS INT)", "SELECT 1; SELECT 2", "", "CREATE TABLE t (a INT)"])
def test_a_query_that_fails_or_is_none_is_one_line(cli: Cli, fake_root: Path, query: str) -> None:
    code, out, err = cli("sql", query, "--run", "fake", "--root", str(fake_root))
    assert code == 2 and len(err.strip().splitlines()) == 1 and not out


def test_a_mistake_in_sql_is_one_line(cli: Cli, fake_root: Path) -> None:
    code, _, err = cli("sql", "SELECT * FROM pars", "--run", "fake", "--root", str(fake_root))
    assert code == 2 and "pairs" in err and len(err.strip().splitlines()) == 1


def test_status_names_what_is_done_and_what_is_owed(cli: Cli, fake_root: Path) -> None:
    code, out, _ = cli("status", "--root", str(fake_root))
    assert code == 0 and "fake, round 0: finished" in out
    assert ["answer", "2", "0", "0"] in [line.split() for line in out.splitlines()]


def test_an_unknown_run_is_answered_with_the_nearest(cli: Cli, fake_root: Path, tmp_path: Path) -> None:
    assert "did you mean 'fake'" in cli("status", "--run", "fakr", "--root", str(fake_root))[2]
    code, _, err = cli("status", "--root", str(tmp_path))
    assert code == 2 and "there is no run" in err


def test_no_verb_is_tracked(fake_root: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name not in settings.DEFAULTS}
    query = ["status", "--run", "fake", "--root", str(fake_root)]
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *query], env=env, capture_output=True, text=True, timeout=120, check=True
    )
    assert "usage data" not in done.stdout + done.stderr
